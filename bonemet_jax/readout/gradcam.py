"""Grad-CAM: where in a slice a fold's network finds its score, at every residual stage (figure 6).

A stage's map is the sum of its feature maps, each weighted with the mean gradient of the class score (the logit of bone
metastasis, before the softmax) over that map. What is positive speaks for metastasis; what is negative speaks against
it, which the same paper calls the counterfactual explanation.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
sections 3 and 3.3.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from bonemet_jax.config import N_STAGES, Config, ModelConfig
from bonemet_jax.errors import NumericsError, UsageError
from bonemet_jax.input_pipeline.order import eval_batches, place_plan
from bonemet_jax.input_pipeline.records import Records, name_patients
from bonemet_jax.input_pipeline.source import take_batch
from bonemet_jax.models.resnet import JointModel, PerChannelModel, find_stride, make_model
from bonemet_jax.readout.embeddings import load_state
from bonemet_jax.train.loop import get_fed_engine
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.platform import choose_lowering, compiler_options
from bonemet_jax.train.program import Program, over_members
from bonemet_jax.train.state import TrainState
from bonemet_jax.train.step import Batch, make_batch_channels
from bonemet_jax.train.watchdog import Watchdog

Evidence = Literal["for", "against"]
#: What a map shows: where the score is raised (Grad-CAM), where it is lowered (its counterfactual).
EVIDENCE: tuple[Evidence, ...] = ("for", "against")
#: Class whose logit is explained: bone metastasis.
_POSITIVE = 1
#: Patients a device takes at once where nothing is trained: their feature maps wait for the backward pass.
_AT_ONCE = 4


class CamBatch(NamedTuple):
    """Maps of some patients, on the host."""

    position: Int[np.ndarray, " patient"]
    """In the records."""
    cam: Float32[np.ndarray, "evidence stage patient height width"]
    """At least 0, logit a pixel of the stage's own map; EVIDENCE and the stages in order."""


def compute_gradcam(
    records: Records, config: Config, run_dir: Path, fold: int, positions: Sequence[int] | None = None,
    stages: Sequence[str] = (), evidence: Evidence = "for",
) -> Float32[np.ndarray, "stage patient height width"]:
    """Grad-CAM of these patients by one fold's network, on the records' grid, at least 0.

    Args:
        records: Of the trained size; patients whom the network has never seen will do.
        config: The run.
        run_dir: Where the fold was trained.
        fold: Whose network, at its chosen epoch.
        positions: Of the patients in the records; all when None.
        stages: Of `find_stages`; all when empty.
        evidence: What speaks for bone metastasis, or what against it.

    Raises:
        CorruptFileError: the fold is not trained or its checkpoint is damaged.
        NumericsError: a map is not finite.
        UsageError: the network has no such stage.
    """
    which = EVIDENCE.index(evidence)
    at = range(len(records)) if positions is None else positions
    state = load_state(config, run_dir, fold, get_fed_engine(records, config).engine.state_template())
    batches = read_gradcam(records, config, state, at, stages, run_dir)
    return np.concatenate([batch.cam[which] for batch in batches], axis=1)


def read_mean_gradcam(records: Records, config: Config, run_dir: Path) -> Iterator[CamBatch]:
    """Maps of every patient at every stage, of the mean logit of all folds' networks: for patients whom none has seen.

    A few patients at a time, for a machine that could not train. Errors as `compute_gradcam`.
    """
    size = min(config.train.batch_size, _AT_ONCE * jax.device_count())
    config = replace(config, train=replace(config.train, batch_size=size))
    template = get_fed_engine(records, config).engine.state_template()
    states = [load_state(config, run_dir, fold, template) for fold in range(config.folds.n_folds)]
    everyone = range(len(records))
    for batches in zip(*(read_gradcam(records, config, s, everyone, run_dir=run_dir) for s in states), strict=True):
        yield CamBatch(batches[0].position, np.mean([batch.cam for batch in batches], axis=0))


def read_gradcam(
    records: Records, config: Config, state: TrainState, positions: Sequence[int], stages: Sequence[str] = (),
    run_dir: Path | None = None,
) -> Iterator[CamBatch]:
    """Maps of these patients, a batch at a time, by the network of `state` with its running statistics.

    Images are never flipped, so that maps lie on them. Args and errors as `compute_gradcam`; `run_dir` is where the
    stacks of a stuck process are left.
    """
    engine, source, _ = get_fed_engine(records, config)
    program = get_cam_program(engine, config, _check_stages(config.model, stages))
    variables, hyper = engine.put_states([state]).variables, engine.plain_hyper()
    watchdog = Watchdog(run_dir, lambda: program.is_compiling)
    watchdog.place = "Grad-CAM"
    at = np.asarray(positions, np.int32)
    batch_size = config.train.batch_size
    plan = engine.arrange([place_plan(eval_batches(len(at), batch_size), at)])
    with source.feeds([plan]) as feeds, watchdog:
        for step in range(len(plan.index)):
            with jax.transfer_guard("disallow"), watchdog.watching():
                watchdog.begin_step("batch", step + 1)
                rows = engine.fetch_rows([program(variables, source.resident, next(feeds), hyper)])
                watchdog.beat()
            own = at[step * batch_size : (step + 1) * batch_size]
            yield CamBatch(own, _check_finite(np.moveaxis(rows[0, : len(own)], 0, 2), records, own))


@lru_cache(maxsize=2)
def get_cam_program(engine: Engine, config: Config, stages: tuple[str, ...]) -> Program:
    """The program of these stages, compiled once for all folds of a run."""
    platform = engine.spread.mesh.devices.flat[0].platform
    model = make_model(config.model, choose_lowering(platform, config.engine), engine.spread.axis)
    cam_step = make_cam_step(model, config, stages)

    def gradcam(variables: Any, resident: Any, feed: Any, hyper: Any) -> Array:
        return cam_step(variables, take_batch(resident, feed))

    takes = ("member", "resident", "rows", "member")
    return Program("gradcam", over_members(gradcam), engine.spread, takes, "rows", options=compiler_options(platform))


def make_cam_step(
    model: JointModel | PerChannelModel, config: Config, stages: Sequence[str]
) -> Callable[[Any, Batch], Float32[Array, "batch evidence stage height width"]]:
    """`cam_step(variables, batch)`: maps of a batch, one pass forward and one backward for all stages."""

    def cam_step(variables: Any, batch: Batch) -> Float32[Array, "batch evidence stage height width"]:
        x = make_batch_channels(batch, config)
        shapes = jax.eval_shape(model.apply, variables, x, batch["weight"]).taps
        zeros = {name: jnp.zeros(shapes[name].shape, shapes[name].dtype) for name in stages}

        def score(added: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            """Summed over patients, who do not touch each other with running statistics, and over branches."""
            out: Any = model.apply(variables, x, batch["weight"], train=False, added=added)
            return out.logits[..., _POSITIVE].sum(), out.taps

        grads, taps = jax.grad(score, has_aux=True)(zeros)
        maps = [weigh_maps(taps[name], grads[name]) for name in stages]
        signed = [jnp.maximum(jnp.stack([m, -m], axis=1), 0) for m in maps]
        height, width = x.shape[1:3]
        return jnp.stack([upsample(m, find_stride(n), height, width) for m, n in zip(signed, stages, strict=True)], 2)

    return cam_step


def weigh_maps(
    tap: Float[Array, "batch height width chan"], grad: Float[Array, "batch height width chan"]
) -> Float32[Array, "batch height width"]:
    """Feature maps, each times its mean gradient, summed: Grad-CAM before its ReLU."""
    weight = grad.astype(jnp.float32).mean((1, 2))
    return jnp.einsum("bhwc,bc->bhw", tap.astype(jnp.float32), weight, precision=jax.lax.Precision.HIGHEST)


def upsample(
    maps: Float[Array, "... height width"], stride: int, height: int, width: int
) -> Float32[Array, "... new_height new_width"]:
    """Bilinear interpolation of a stage's maps to the image, `stride` times finer; the border's value goes on outwards.

    Cell (i, j) of a map looks at pixels around (i * stride, j * stride), as every layer pads alike on both sides. The
    usual resizing would set it stride / 2 further, 7 mm in stage 2 at 2 mm a pixel: half the width of subcutaneous fat.
    """
    rows = _linear_weights(maps.shape[-2], stride, height)
    columns = _linear_weights(maps.shape[-1], stride, width)
    return jnp.einsum("ph,...hw,qw->...pq", rows, maps, columns, precision=jax.lax.Precision.HIGHEST)


def _linear_weights(n_in: int, stride: int, n_out: int) -> Float32[np.ndarray, "n_out n_in"]:
    """Rows sum to 1."""
    place = np.minimum(np.arange(n_out) / stride, n_in - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(n_in)), 0).astype(np.float32)


def find_stages(model: ModelConfig) -> tuple[str, ...]:
    """Names of all residual stages: stage1 to the last (`ct/stage1` and so on with a network a channel)."""
    own = tuple(f"stage{stage}" for stage in range(1, N_STAGES[model.network] + 1))
    if model.branches == "joint":
        return own
    return tuple(f"{channel}/{stage}" for channel in model.channels for stage in own)


def _check_stages(model: ModelConfig, stages: Sequence[str]) -> tuple[str, ...]:
    known = find_stages(model)
    if unknown := [name for name in stages if name not in known]:
        raise UsageError(f"the network has no stage {', '.join(unknown)}", "", f"use some of {', '.join(known)}")
    return tuple(stages) or known


def _check_finite(cam: np.ndarray, records: Records, positions: np.ndarray) -> np.ndarray:
    if len(bad := np.flatnonzero(~np.isfinite(cam).all((0, 1, 3, 4)))):
        raise NumericsError("a Grad-CAM is not finite", name_patients(records, positions[bad]),
                            "look at these patients' records")
    return cam
