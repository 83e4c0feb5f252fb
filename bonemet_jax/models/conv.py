"""Convolutions of a ResNet, and the ways to compute them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from bonemet_jax.models.lowering import PLAIN, Lowering, parameter_dtype
from bonemet_jax.models.winograd import convolve_3x3

HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
#: Channels from which on Winograd's way pays: with fewer, bringing tiles to its form costs more than it saves.
WINOGRAD_CHAN = 64
Image = Float[Array, "batch height width chan"]
Kernel = Float[Array, "rows columns chan features"]
Fold = Callable[[Kernel], tuple[Kernel, Float[Array, " features"]]]
"""Kernel to the kernel that is applied instead and what is added to its output."""


class Conv(nn.Module):
    """Convolution without bias, symmetric padding of kernel // 2, he-normal weights over the fan-out as torchvision."""

    features: int
    kernel: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32
    lowering: Lowering = PLAIN

    @nn.compact
    def __call__(self, x: Image, fold: Fold | None = None) -> Float[Array, "batch h w features"]:
        """Feature maps in the compute dtype."""
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", HE_NORMAL, shape, parameter_dtype(self.dtype))
        kernel, shift = (kernel, None) if fold is None else fold(kernel)
        y = self._choose(x.shape[-1])(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)
        return y if shift is None else _add_shift(y, shift)

    def _choose(self, chan: int) -> Callable[[Image, Kernel, int], Array]:
        if self.kernel == 1 and self.lowering.pointwise == "matmul":
            return multiply_pixels
        if (self.kernel, self.stride) == (7, 2) and self.lowering.stem == "space_to_depth":
            return convolve_blocks
        if (self.kernel, self.stride) == (3, 1) and self._takes_short_way(chan):
            return lambda x, kernel, _: convolve_3x3(x, kernel)
        return convolve

    def _takes_short_way(self, chan: int) -> bool:
        exact = jnp.finfo(self.dtype).bits >= 32  # tiles in bfloat16 are five times further off than the plain sum
        return self.lowering.conv3x3 == "winograd" and chan >= WINOGRAD_CHAN and exact


@jax.custom_vjp
def _add_shift(y: Image, shift: Float[Array, " features"]) -> Image:
    """In the maps' dtype, its gradient summed in the shift's."""
    return y + shift.astype(y.dtype)


def _shift_gradient(shift: Array, grad: Image) -> tuple[Image, Array]:
    return grad, grad.astype(shift.dtype).sum((0, 1, 2))


_add_shift.defvjp(lambda y, shift: (_add_shift(y, shift), shift), _shift_gradient)


def convolve(x: Image, kernel: Kernel, stride: int) -> Float[Array, "batch h w features"]:
    """The convolution as it stands, padded by half the kernel on every side."""
    pad = len(kernel) // 2
    return _convolve(x, kernel, stride, (pad, pad))


def multiply_pixels(x: Image, kernel: Kernel, stride: int) -> Float[Array, "batch h w features"]:
    """A 1x1 convolution as a matrix product."""
    return x[:, ::stride, ::stride] @ kernel[0, 0]


def convolve_blocks(x: Image, kernel: Kernel, stride: int = 2) -> Float[Array, "batch h w features"]:
    """A 7x7 convolution of stride 2 as a 4x4 one of stride 1 over blocks of 2x2 pixels.

    Four times the channels and a quarter of the positions: units that multiply many channels at once are busier. Output
    row i of the 7x7 sees pixels 2i - 3 to 2i + 3; with a row of zeros before the kernel's first they are the blocks
    i - 2 to i + 1, hence padding of 2 before and 1 after.
    """
    batch, height, width, chan = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    x = x.reshape(batch, (height + 1) // 2, 2, (width + 1) // 2, 2, chan).transpose(0, 1, 3, 2, 4, 5)
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(4, 2, 4, 2, chan, -1).transpose(0, 2, 1, 3, 4, 5)
    return _convolve(x.reshape(*x.shape[:3], -1), kernel.reshape(4, 4, 4 * chan, -1), 1, (2, 1))


def _convolve(x: Array, kernel: Array, stride: int, pad: tuple[int, int]) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
