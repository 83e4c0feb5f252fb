"""What two ways of computing one network are compared by: loss, gradients and statistics of a step, in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bonemet_jax.models.resnet import Depth, JointModel, PerChannelModel

#: Every kind of block, few channels. Stage 2 has three equal blocks after its first, two when the mask is added inside
#: its last; stage 1 has none.
SHORT = Depth((1, 4), widths=(4, 6), stem=8, bottleneck=True)


def make_images(n: int) -> np.ndarray:
    """Images of odd size in float64 whose last channel is a coded mask."""
    x = np.random.default_rng(0).normal(size=(n, 37, 43, 4))
    x[..., -1] = np.where(x[..., -1] > 0, 0.5, -0.5)
    return x


def compute_step(model: JointModel | PerChannelModel, variables: Any, x: Any, weight: Any) -> tuple[Any, Any, Any]:
    """A loss that feels every logit, its gradients, the statistics afterwards; padding rows take no part."""

    def loss(params: Any) -> tuple[jax.Array, Any]:
        out, updated = model.apply({**variables, "params": params}, x, weight, train=True, mutable=["batch_stats"])
        per_example = jnp.square(out.logits - jnp.arange(1.0, 3.0)).sum((0, 2))
        return (per_example * weight).sum(), updated["batch_stats"]

    (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return value, grads, stats


def compute_spread(got: Any, want: Any) -> float:
    """The largest difference between arrays of two trees, each over the wanted one's largest value."""

    def spread(a: Any, b: Any) -> float:
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape and a.dtype == b.dtype == np.float64
        return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))

    assert jax.tree.structure(got) == jax.tree.structure(want)
    return max(jax.tree.leaves(jax.tree.map(spread, got, want)))
