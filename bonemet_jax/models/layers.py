"""A convolution and the normalisation behind it: as they stand, or with less traffic to and from memory.

The lean way, for devices that memory limits:

- Where the statistics can be had without the convolution's output, they go into its kernel and a bias, and the output
  is written once, normalised: with frozen statistics always; else behind 1x1 convolutions that do not narrow, whose
  output's moments follow from those of their input (moments.compute_product_moments).
- Else mean and spread come from one read of the output, and the gradient from two reads (norm.normalise_lean).
- A ReLU's gradient looks at its output, so that the compiler can put the ReLU into the convolution.

All in training alone. Evaluation is computed as it stands: folded in bfloat16 its error would be up to 1.8 times as
large, most of it an offset a channel that no later statistics take out (docs/decisions/0022).
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from bonemet_jax.models.conv import Conv, Kernel
from bonemet_jax.models.lowering import PLAIN, Lowering, parameter_dtype
from bonemet_jax.models.moments import (
    Maps,
    Moments,
    compute_masked_moments,
    compute_moments_around,
    compute_product_moments,
)
from bonemet_jax.models.norm import Chan, MaskedBatchNorm, normalise, normalise_lean


@dataclass(frozen=True)
class Layers:
    """Makes a network's layers, in the scope of the module that calls it."""

    dtype: jnp.dtype = jnp.float32
    lowering: Lowering = PLAIN
    norm: Literal["sync", "local", "frozen"] = "sync"
    axis: str | None = None

    def conv_norm(
        self, x: Maps, weight: Float[Array, " batch"], train: bool, features: int, kernel: int, stride: int,
        names: tuple[str, str], clip: bool,
    ) -> Float[Array, "batch h w features"]:
        """Convolved and normalised `x`, values below 0 clipped if asked; `names` of the two layers.

        Rows of weight 0 hold whatever the way of computing leaves in them.
        """
        norm = MaskedBatchNorm(self.dtype, self.norm, self.axis, name=names[1])
        make_conv = partial(Conv, features, kernel, dtype=self.dtype, lowering=self.lowering, name=names[0])
        if self.lowering.norm == "lean" and train:
            if norm.is_fixed(train):
                return self._fold(make_conv(stride), norm, x, weight, clip)
            if kernel == 1 and x.shape[-1] <= features:
                x = x[:, ::stride, ::stride] * weight.astype(x.dtype)[:, None, None, None]
                return self._fold(make_conv(1), norm, x, weight, clip)
            return _normalise_lean(make_conv(stride)(x), norm, weight, clip)
        x = make_conv(stride)(x)

        def compute_moments(axis: str | None, _: Chan) -> Moments:
            return compute_masked_moments(x.astype(parameter_dtype(x.dtype)), weight, axis)

        x = normalise(x, norm(features, compute_moments, train))
        return self.relu(x) if clip else x

    def relu(self, x: Array) -> Array:
        """Values below 0 become 0."""
        return _relu_by_output(x) if self.lowering.norm == "lean" else nn.relu(x)

    def _fold(self, conv: Conv, norm: MaskedBatchNorm, x: Maps, weight: Float[Array, " batch"], clip: bool) -> Array:
        """The normalisation inside the convolution, in training."""

        def fold(kernel: Kernel) -> tuple[Kernel, Chan]:
            # Statistics of the kernel that evaluation will apply.
            kernel = _round_to(kernel, self.dtype)

            def compute_moments(axis: str | None, _: Chan) -> Moments:
                return compute_product_moments(x, kernel[0, 0], weight, axis)

            normaliser = norm(kernel.shape[-1], compute_moments, train=True)
            return kernel * normaliser.scale, normaliser.shift

        x = conv(x, fold)
        return self.relu(x) if clip else x


def _normalise_lean(x: Maps, norm: MaskedBatchNorm, weight: Float[Array, " batch"], clip: bool) -> Maps:
    """The normalisation behind the convolution, in training."""

    def compute_moments(axis: str | None, near: Chan) -> Moments:
        high = x.astype(parameter_dtype(x.dtype))
        return compute_moments_around(*jax.lax.stop_gradient((high, weight, near)), axis)

    return normalise_lean(x, weight, norm(x.shape[-1], compute_moments, train=True), clip, norm.within)


def _round_to(kernel: Kernel, dtype: jnp.dtype) -> Kernel:
    """To the values that `dtype` has. A cast there and back the compiler would leave out."""
    if kernel.dtype == dtype:
        return kernel
    return jax.lax.reduce_precision(kernel, jnp.finfo(dtype).nexp, jnp.finfo(dtype).nmant)


@jax.custom_vjp
def _relu_by_output(x: Array) -> Array:
    return jnp.maximum(x, 0)


# Not `> 0`: the compiler would look through the maximum, at the input, which must then be written too.
_relu_by_output.defvjp(lambda x: (_relu_by_output(x),) * 2, lambda y, grad: (jnp.where(y != 0, grad, 0),))
