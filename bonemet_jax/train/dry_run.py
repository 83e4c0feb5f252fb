"""Does this config run at all: the real network, one real step, no data."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bonemet_jax import schema
from bonemet_jax.config import Config
from bonemet_jax.errors import NumericsError
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import eval_batches
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.models.flops import compute_train_gflop_per_image, count_parameters
from bonemet_jax.telemetry.device import describe_device
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import needed_arrays


def dry_run(config: Config, dump_hlo: Path | None = None) -> dict[str, Any]:
    """Two training steps of the real network at the config's image size, batch 2 (or one image a device).

    Args:
        config: The run.
        dump_hlo: Folder for the compiled program's texts.

    Returns: parameters; analytic GFLOP of one image's training step and the compiled program's count; seconds of
        compilation and of the second step; the loss of the first; the device.

    Raises: NumericsError when the loss is not finite.
    """
    batch_size = max(2, len(jax.devices()))
    height, width = config.records.height, config.records.width
    config = replace(config, train=replace(config.train, batch_size=batch_size))
    engine = Engine(config)
    records = make_random_records(batch_size, height, width, config.train.seed)
    source = make_source("resident", records, engine.split, needed_arrays(config))
    feed = next(source.feeds([engine.arrange([eval_batches(batch_size, batch_size)])]))
    args = (engine.make_state([(config.train.seed, 0)]), source.resident, feed, engine.plain_hyper())
    if dump_hlo is not None:
        engine.dump_programs(dump_hlo)
    compiled = engine.train.compile(*args)
    state, metrics = engine.train(*args)
    loss = float(metrics.loss_sum[0]) / batch_size
    began = time.perf_counter()
    jax.block_until_ready(engine.train(state, *args[1:]))
    step_s = time.perf_counter() - began
    if not np.isfinite(loss):
        raise NumericsError("the loss of one step on random records is not finite", config.name, "lower optim.lr")
    return {
        "network": config.model.network,
        "image": [height, width, len(config.model.channels)],
        "batch_size": batch_size,
        "parameters": count_parameters(config.model),
        "train_gflop_per_image": compute_train_gflop_per_image(config.model, height, width),
        "compiled_gflop_per_image": count_compiled_flop(compiled) / (batch_size / engine.n_data) / 1e9,
        "compile_s": engine.train.seconds,
        "step_s": step_s,
        "loss": loss,
        "device": describe_device(),
    }


def count_compiled_flop(compiled: jax.stages.Compiled) -> float:
    """FLOP of one call of a compiled program on one device, as XLA counts them; NaN where XLA does not say."""
    analysis = compiled.cost_analysis() or {}
    return float(analysis.get("flops", np.nan))


def make_random_records(n: int, height: int, width: int, seed: int = 0) -> RecordArrays:
    """Records of the stored dtypes and shapes with random content and alternating labels, for dry runs and timing."""
    random = np.random.default_rng(seed)

    def image(*tail: int) -> np.ndarray:
        return random.integers(0, 256, (n, height, width, *tail), dtype=np.uint8)

    cells = (height // schema.HOG_CELL, width // schema.HOG_CELL, schema.HOG_ORIENTATIONS)
    return RecordArrays(
        patient_id=tuple(f"R{i:05d}" for i in range(n)), ct=image(), lbp=image(3),
        hog=random.random((n, len(schema.HOG_FLIPS), *cells), dtype=np.float32) * schema.HOG_FULL_SCALE,
        mask=image() & 1, label=(np.arange(n) % 2).astype(np.int32),
    )
