"""Batch normalisation whose statistics count real examples only, on one device or over several."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from bonemet_jax.models.lowering import parameter_dtype
from bonemet_jax.models.moments import Maps, Moments, sum_over

#: torch's defaults, so that imported weights and statistics mean the same here.
EPSILON = 1e-5
MOMENTUM = 0.9
Chan = Float[Array, " chan"]


class Normaliser(NamedTuple):
    """What normalises feature maps: (x - mean) / sqrt(var + EPSILON) * gain + bias, by channel."""

    gain: Chan
    bias: Chan
    mean: Chan
    var: Chan
    count: Float[Array, ""]
    """Values a channel behind mean and variance; 0: they are the running ones, and no gradient flows through them."""

    @property
    def scale(self) -> Chan:
        """What multiplies x."""
        return self.gain / jnp.sqrt(self.var + EPSILON)

    @property
    def shift(self) -> Chan:
        """What is added to x times `scale`."""
        return self.bias - self.mean * self.scale


class MaskedBatchNorm(nn.Module):
    """Parameters and running statistics of one normalisation; examples of weight 0 (padding) never enter them.

    All are float32 whatever the compute dtype. The running variance is the unbiased one, as in torch; the batch is
    normalised with the biased one. Where no example counts, the running statistics stand in: an image of zeros
    normalised with its own would leave the range of float32 within a dozen layers.
    """

    dtype: jnp.dtype = jnp.float32
    mode: Literal["sync", "local", "frozen"] = "sync"
    """Statistics in training: of the whole batch; of this device's rows; the running ones, which then never change."""
    axis: str | None = None
    """Mesh axis over which the batch is split; None where it is whole."""

    @nn.compact
    def __call__(self, chan: int, compute_moments: Callable[[str | None, Chan], Moments], train: bool) -> Normaliser:
        """The normaliser of maps of `chan` channels; updates the running statistics.

        Args:
            chan: Channels.
            compute_moments: Of the maps, from the axis over which they are taken and the running mean; called only
                where they are needed.
            train: Whether the maps' own statistics are asked for.
        """
        dtype = parameter_dtype(self.dtype)
        gain = self.param("scale", nn.initializers.ones, (chan,), dtype)
        bias = self.param("bias", nn.initializers.zeros, (chan,), dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (chan,), dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, (chan,), dtype)
        mean, var = running_mean.value, running_var.value
        if self.is_fixed(train):
            return Normaliser(gain, bias, mean, var, jnp.zeros((), dtype))
        own_mean, own_var, count = compute_moments(self.within, mean)
        mean, var = jnp.where(count > 0, own_mean, mean), jnp.where(count > 0, own_var, var)
        if not self.is_initializing():
            unbiased = var * count / jnp.maximum(count - 1, 1)
            if self.mode == "local":
                own_mean, unbiased = _average((own_mean, unbiased), count, self.axis)
            running_mean.value = MOMENTUM * running_mean.value + (1 - MOMENTUM) * own_mean
            running_var.value = MOMENTUM * running_var.value + (1 - MOMENTUM) * unbiased
        return Normaliser(gain, bias, mean, var, count)

    @property
    def within(self) -> str | None:
        """Mesh axis over which a batch's statistics are taken."""
        return self.axis if self.mode == "sync" else None

    @nn.nowrap
    def is_fixed(self, train: bool) -> bool:
        """Whether the running statistics normalise."""
        return not train or self.mode == "frozen"


def normalise(x: Maps, norm: Normaliser) -> Maps:
    """Normalised `x`, in its dtype."""
    return (x * norm.scale + norm.shift).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalise_lean(
    x: Maps, weight: Float[Array, " batch"], norm: Normaliser, clip: bool = False, axis: str | None = None
) -> Maps:
    """`normalise`, then a ReLU where `clip`; its gradient, that of the statistics with it, reads x and dy twice each.

    Where no statistics depend on x it is the plain gradient. What a ReLU lets pass is computed again from x rather than
    kept, and sums over devices are taken once a pass.

    Args:
        x: Feature maps.
        weight: 1 for an example in the statistics, 0 for padding.
        norm: Made of `x` without a gradient: it is this function's own.
        clip: Whether values below 0 become 0.
        axis: Mesh axis over which the statistics were taken.
    """
    y = normalise(x, norm)
    return jnp.maximum(y, 0) if clip else y


def _normalise_forward(
    x: Maps, weight: Float[Array, " batch"], norm: Normaliser, clip: bool, axis: str | None
) -> tuple[Maps, tuple[Maps, Float[Array, " batch"], Normaliser]]:
    return normalise_lean(x, weight, norm, clip, axis), (x, weight, norm)


def _normalise_backward(
    clip: bool, axis: str | None, saved: tuple[Maps, Float[Array, " batch"], Normaliser], dy: Maps
) -> tuple[Maps, None, Normaliser]:
    x, weight, norm = saved
    inverse = 1 / jnp.sqrt(norm.var + EPSILON)

    def read(x: Maps) -> tuple[Maps, Maps]:
        """x without mean and spread, and the gradient that the ReLU lets pass."""
        standard = (x - norm.mean) * inverse
        passed = dy.astype(standard.dtype)
        return standard, jnp.where(normalise(x, norm) > 0, passed, 0) if clip else passed

    standard, passed = read(x)
    gain_grad, bias_grad = (passed * standard).sum((0, 1, 2)), passed.sum((0, 1, 2))
    along, level = sum_over(axis, (gain_grad, bias_grad))
    # Behind the barrier x is another array to the compiler: else it writes `passed` to memory to read it here.
    standard, passed = read(jax.lax.optimization_barrier(x))
    share = jnp.where(norm.count > 0, 1 / jnp.maximum(norm.count, 1), 0)
    w = weight.astype(standard.dtype)[:, None, None, None]
    dx = norm.gain * inverse * (passed - w * share * (level + standard * along))
    zero = jnp.zeros_like
    return dx.astype(x.dtype), None, Normaliser(gain_grad, bias_grad, *map(zero, norm[2:]))


normalise_lean.defvjp(_normalise_forward, _normalise_backward)


def _average(values: tuple[Array, Array], count: Array, axis: str | None) -> tuple[Array, Array]:
    """Means over devices, each weighing its count, so that devices of padding alone say nothing."""
    *sums, total = sum_over(axis, (*(count * value for value in values), count))
    mean, var = (value / jnp.maximum(total, 1) for value in sums)
    return mean, var
