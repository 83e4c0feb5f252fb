"""The scoring of patients as one StableHLO program for every platform, its weights given at each call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array

from bonemet_jax import schema
from bonemet_jax.channels.stack import make_channels
from bonemet_jax.config import Config
from bonemet_jax.jax_workarounds import serialize_for_oldest
from bonemet_jax.models.initial import variable_shapes
from bonemet_jax.models.resnet import compute_embedding, compute_score, make_model
from bonemet_jax.readout.named_weights import make_variables, name_tensors
from bonemet_jax.train.step import needed_arrays

PLATFORMS = ("cpu", "cuda", "tpu")
Shapes = dict[str, jax.ShapeDtypeStruct]


def export_program(config: Config, batch: int | None = None) -> export.Exported:
    """`call(weights, arrays) -> {"logits", "score", "embedding"}`, for PLATFORMS, every layer as it stands.

    Args:
        config: The run; the image's size is its records'.
        batch: Patients a call; None: any number.
    """
    weights, arrays = weight_shapes(config), array_shapes(config, batch)
    with _no_source_places():
        program = export.export(jax.jit(make_score(config)), platforms=PLATFORMS)(weights, arrays)
    return serialize_for_oldest(program)


def make_score(config: Config) -> Callable[[dict[str, Array], dict[str, Array]], dict[str, Array]]:
    """`score(weights, arrays)`: tensors and stored arrays, each by name, to what a network says of every patient."""
    model = make_model(config.model)

    def score(weights: dict[str, Array], arrays: dict[str, Array]) -> dict[str, Array]:
        n = arrays["ct"].shape[0]
        hog = arrays["hog"][:, None] if "hog" in arrays else None
        x = make_channels(arrays["ct"], arrays.get("lbp"), hog, arrays.get("mask"), jnp.zeros((n, 2), bool),
                          config.model.channels, "none")
        out: Any = model.apply(make_variables(weights, model), x, jnp.ones(n), train=False)
        return {"logits": jnp.moveaxis(out.logits, 0, 1), "score": compute_score(out.logits),
                "embedding": compute_embedding(out, config.model)}

    return score


def weight_shapes(config: Config) -> Shapes:
    """Tensors that the program wants, by name."""
    model = make_model(config.model)
    return jax.eval_shape(lambda variables: name_tensors(variables, model), variable_shapes(model))


def array_shapes(config: Config, batch: int | None = None) -> Shapes:
    """Stored arrays that the program wants, by name: as in the records, of hog the picture as it stands alone.

    LBP and HOG are among them unless the run computes them on the device.
    """
    n = export.symbolic_shape("batch")[0] if batch is None else batch
    height, width = config.records.height, config.records.width
    shapes = {
        "ct": ((height, width), np.uint8),
        "lbp": ((height, width, 3), np.uint8),
        "hog": ((height // schema.HOG_CELL, width // schema.HOG_CELL, schema.HOG_ORIENTATIONS), np.float32),
        "mask": ((height, width), np.uint8),
    }
    return {name: jax.ShapeDtypeStruct((n, *shapes[name][0]), shapes[name][1]) for name in needed_arrays(config)}


@contextmanager
def _no_source_places() -> Iterator[None]:
    """Programs lowered inside name no line of source: they are handed on, and paths may tell who made them."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
