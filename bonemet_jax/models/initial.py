"""Initial weights, drawn on the host.

The modules' own initialisers say the same, but compiling them costs more than a training run's first epochs: 9
CPU-seconds for `tiny`, minutes for ResNet101. Drawn here, equal seeds also give equal weights on every platform.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bonemet_jax.models.lowering import PLAIN
from bonemet_jax.models.resnet import JointModel, PerChannelModel
from bonemet_jax.models.stacking import stack_blocks


def make_variables(model: JointModel | PerChannelModel, seed: int, fold: int) -> dict[str, Any]:
    """Parameters and running statistics as numpy arrays: a pure function of (seed, fold), however `model` is lowered.

    Convolutions are he-normal over the fan-out, linear layers normal with variance 1 / fan-in (lecun); gains and
    variances are one, everything else is zero.
    """
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, fold])))
    plain = model.clone(lowering=PLAIN)
    drawn = jax.tree.map_with_path(lambda path, leaf: _draw(random, path[-1].key, leaf), variable_shapes(plain))
    return stack_blocks(drawn, model)


def variable_shapes(model: JointModel | PerChannelModel) -> dict[str, Any]:
    """ShapeDtypeStructs of the variables; nothing is compiled or allocated."""
    x = jax.ShapeDtypeStruct((1, 64, 64, len(model.config.channels)), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x, jax.ShapeDtypeStruct((1,), jnp.float32))


def _draw(random: np.random.Generator, name: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    if name == "kernel":
        variance = 2 / math.prod((*leaf.shape[:2], leaf.shape[3])) if len(leaf.shape) == 4 else 1 / leaf.shape[0]
        return (random.standard_normal(leaf.shape) * math.sqrt(variance)).astype(leaf.dtype)
    return np.ones(leaf.shape, leaf.dtype) if name in ("scale", "var") else np.zeros(leaf.shape, leaf.dtype)
