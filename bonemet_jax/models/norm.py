"""Batch normalisation whose statistics count real examples only, on one device or over several."""

from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from bonemet_jax.models.lowering import parameter_dtype

#: torch's defaults, so that imported weights and statistics mean the same here.
EPSILON = 1e-5
MOMENTUM = 0.9
Tree = TypeVar("Tree")


class MaskedBatchNorm(nn.Module):
    """Normalise over batch, height and width; examples of weight 0 (padding) never enter the statistics.

    Statistics and parameters are float32 whatever the compute dtype. The running variance is the unbiased one, as in
    torch; the batch is normalised with the biased one. Where no example counts, the running statistics stand in: an
    image of zeros normalised with its own would leave the range of float32 within a dozen layers.
    """

    dtype: jnp.dtype = jnp.float32
    mode: Literal["sync", "local", "frozen"] = "sync"
    """Statistics in training: of the whole batch; of this device's rows; the running ones, which then never change."""
    axis: str | None = None
    """Mesh axis over which the batch is split; None where `x` is the whole batch."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], train: bool
    ) -> Float[Array, "batch height width chan"]:
        """Normalised `x` in the compute dtype; `weight` is 1 for a real example and 0 for padding."""
        chan, dtype = x.shape[-1], parameter_dtype(self.dtype)
        gain = self.param("scale", nn.initializers.ones, (chan,), dtype)
        shift = self.param("bias", nn.initializers.zeros, (chan,), dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (chan,), dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, (chan,), dtype)
        mean, var = running_mean.value, running_var.value
        if train and self.mode != "frozen":
            within = self.axis if self.mode == "sync" else None
            own_mean, own_var, count = compute_masked_moments(x.astype(dtype), weight, within)
            mean, var = jnp.where(count > 0, own_mean, mean), jnp.where(count > 0, own_var, var)
            if not self.is_initializing():
                unbiased = var * count / jnp.maximum(count - 1, 1)
                if self.mode == "local":
                    own_mean, unbiased = _average((own_mean, unbiased), count, self.axis)
                running_mean.value = MOMENTUM * running_mean.value + (1 - MOMENTUM) * own_mean
                running_var.value = MOMENTUM * running_var.value + (1 - MOMENTUM) * unbiased
        scale = gain / jnp.sqrt(var + EPSILON)
        return (x * scale + (shift - mean * scale)).astype(self.dtype)


def compute_masked_moments(
    x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], axis: str | None = None
) -> tuple[Float[Array, " chan"], Float[Array, " chan"], Float[Array, ""]]:
    """Mean, biased variance and count of values per channel over the examples of weight 1, zero when there are none.

    Two passes, over devices too: the one-pass formula cancels where the mean is large beside the spread.

    Args:
        x: Feature maps.
        weight: 1 for a real example, 0 for padding.
        axis: Mesh axis over which the batch is split; None for the moments of `x` alone.
    """
    w = weight.astype(x.dtype)[:, None, None, None]
    total, n = _sum_over(axis, ((w * x).sum((0, 1, 2)), weight.astype(x.dtype).sum()))
    count = n * (x.shape[1] * x.shape[2])
    mean = total / jnp.maximum(count, 1)
    # Moving the mean does not change the variance (deviations sum to zero), so its gradient needs no further sum.
    deviation = x - jax.lax.stop_gradient(mean)
    var = _sum_over(axis, (w * jnp.square(deviation)).sum((0, 1, 2))) / jnp.maximum(count, 1)
    return mean, var, count


def _average(values: tuple[Array, Array], count: Array, axis: str | None) -> tuple[Array, Array]:
    """Means over devices, each weighing its count, so that devices of padding alone say nothing."""
    *sums, total = _sum_over(axis, (*(count * value for value in values), count))
    mean, var = (value / jnp.maximum(total, 1) for value in sums)
    return mean, var


def _sum_over(axis: str | None, values: Tree) -> Tree:
    """Sums over the devices of `axis`, in one collective; as they are without an axis."""
    return values if axis is None else jax.lax.psum(values, axis)
