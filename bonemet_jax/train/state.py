"""What training carries from step to step."""

import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int32

from bonemet_jax.models.resnet import JointModel, PerChannelModel


class TrainState(NamedTuple):
    """A pytree: saved whole, donated to every step."""

    step: Int32[Array, ""]
    """Updates done."""
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """As the model's `apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def make_state(
    model: JointModel | PerChannelModel, optimizer: optax.GradientTransformation, seed: int, fold: int
) -> TrainState:
    """he-normal weights, zero moments: a pure function of (seed, fold). Pure, for use in jit."""
    key = jax.random.fold_in(jax.random.key(seed), fold)
    x = jnp.zeros((1, 64, 64, len(model.config.channels)), jnp.float32)
    variables = model.init(key, x, jnp.ones(1))
    params = variables["params"]
    return TrainState(jnp.int32(0), params, variables["batch_stats"], optimizer.init(params))


def params_sha256(variables: dict[str, Any]) -> str:
    """Hex sha256 over name, dtype, shape and bytes of every parameter and running statistic, sorted by name."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(variables)}
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves.items()):
        array = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
