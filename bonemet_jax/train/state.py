"""What training carries from step to step."""

import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Int32


class TrainState(NamedTuple):
    """A pytree: saved whole, donated to every step. In a program each leaf has one more axis in front, the member's."""

    step: Int32[Array, ""]
    """Updates done."""
    sound: Bool[Array, ""]
    """False from the first input, loss or gradient on that was not finite: nothing else changes any more."""
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """As the model's `apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def make_state(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step: given weights, zero moments."""
    params = variables["params"]
    return TrainState(jnp.int32(0), jnp.bool(True), params, variables["batch_stats"], optimizer.init(params))


def params_sha256(variables: dict[str, Any]) -> str:
    """Hex sha256 over name, dtype, shape and bytes of every parameter and running statistic, sorted by name."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(variables)}
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves.items()):
        array = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
