"""Batch normalisation whose statistics count real examples only."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

#: torch's defaults, so that imported weights and statistics mean the same here.
EPSILON = 1e-5
MOMENTUM = 0.9


class MaskedBatchNorm(nn.Module):
    """Normalise over batch, height and width; examples of weight 0 (padding) never enter the statistics.

    Statistics and parameters are float32 whatever the compute dtype. The running variance is the unbiased one, as in
    torch; the batch is normalised with the biased one.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], train: bool
    ) -> Float[Array, "batch height width chan"]:
        """Normalised `x` in the compute dtype; `weight` is 1 for a real example and 0 for padding."""
        chan = x.shape[-1]
        gain = self.param("scale", nn.initializers.ones, (chan,), self.param_dtype)
        shift = self.param("bias", nn.initializers.zeros, (chan,), self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (chan,), self.param_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, (chan,), self.param_dtype)
        if not train:
            mean, var = running_mean.value, running_var.value
        else:
            mean, var, count = compute_masked_moments(x.astype(self.param_dtype), weight)
            if not self.is_initializing():
                unbiased = var * count / jnp.maximum(count - 1, 1)
                running_mean.value = MOMENTUM * running_mean.value + (1 - MOMENTUM) * mean
                running_var.value = MOMENTUM * running_var.value + (1 - MOMENTUM) * unbiased
        scale = gain / jnp.sqrt(var + EPSILON)
        return (x * scale + (shift - mean * scale)).astype(self.dtype)

    @property
    def param_dtype(self) -> jnp.dtype:
        """float32, or float64 when the network computes in float64 (parity tests)."""
        return jnp.promote_types(self.dtype, jnp.float32)


def compute_masked_moments(
    x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"]
) -> tuple[Float[Array, " chan"], Float[Array, " chan"], Float[Array, ""]]:
    """Mean, biased variance and count of values per channel over the examples of weight 1.

    Two passes: the one-pass formula cancels where the mean is large beside the spread.
    """
    w = weight.astype(x.dtype)[:, None, None, None]
    count = jnp.maximum(weight.astype(x.dtype).sum(), 1) * (x.shape[1] * x.shape[2])
    mean = (w * x).sum((0, 1, 2)) / count
    var = (w * jnp.square(x - mean)).sum((0, 1, 2)) / count
    return mean, var, count
