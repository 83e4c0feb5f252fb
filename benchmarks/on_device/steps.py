"""Training steps on random records held on the device: time alone or compared with PyTorch's, a profile, an epoch."""

import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.harness import Measurement, interleave, is_installed, ratio_interval, time_once
from benchmarks.training import Training
from bonemet_jax.config import Config
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import epoch_batches
from bonemet_jax.input_pipeline.resident import ResidentSource
from bonemet_jax.models.flops import compute_train_gflop_per_image
from bonemet_jax.telemetry.device import compute_mbu, compute_mfu
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import needed_arrays

_TRACED_STEPS = 3
_EPOCH_STEPS = 10


class MissingPeerError(Exception):
    """What a check compares with is not installed."""


def time_variant(config: Config, quick: bool, peer: str = "") -> tuple[list[Measurement], dict[str, Any]]:
    """Seconds a step, images/s, utilisation; with a peer (PyTorch, `eager` or `compiled`), steps of both in turn.

    Raises: MissingPeerError when PyTorch is asked for and not installed.
    """
    n, warm_up = (3, 1) if quick else (20, 5)
    training = Training(Engine(config), config)
    if peer and not is_installed("torch"):
        raise MissingPeerError("PyTorch is not installed")
    facts: dict[str, Any] = {"warm_up": warm_up, "compile_s": round(time_once(training.compile)[0], 2)}
    ways: dict[str, Callable[[], Any]] = {"ours": training.step}
    if peer:
        from benchmarks.peers.torch_resnet import make_step

        ways["torch"] = make_step(config, is_compiled=peer == "compiled")
        facts["torch"] = metadata.version("torch")
    timings = interleave(ways, n, warm_up)
    memory = jax.local_devices()[0].memory_stats() or {}
    facts |= {"peak_memory_gb": memory.get("peak_bytes_in_use", 0) / 1e9 or None,
              "gb_a_step": training.engine.gb_accessed()}
    return _describe(config, timings["ours"].wall_s, timings["torch"].wall_s if peer else None, peer, facts), facts


def _describe(
    config: Config, ours: np.ndarray, theirs: np.ndarray | None, peer: str, facts: dict[str, Any]
) -> list[Measurement]:
    batch_size, model = config.train.batch_size, config.model
    gflop = compute_train_gflop_per_image(model, config.records.height, config.records.width)
    parameters = {
        "network": model.network, "height": config.records.height, "width": config.records.width,
        "batch_size": batch_size, "compute_dtype": model.compute_dtype, "parallel": config.engine.parallel,
        "normalise": config.engine.normalise, "train_gflop_per_image": round(gflop, 4), "torch": peer,
        "warm_up": facts.pop("warm_up"),
    }  # fmt: skip

    def measurement(metric: str, unit: str, samples: Any, better: str = "higher", **more: Any) -> Measurement:
        return Measurement("step_time", metric, unit, better, list(samples), parameters, config, **more)  # type: ignore[arg-type]

    kind = jax.local_devices()[0].device_kind
    median = float(np.median(ours))
    facts["mfu"] = compute_mfu(kind, model.compute_dtype, gflop, batch_size / median)
    facts["mbu"] = compute_mbu(kind, facts["gb_a_step"], median)
    found = [measurement("step_time_s", "s", ours, "lower"), measurement("images_per_s", "images/s", batch_size / ours)]
    if theirs is not None:
        found += [measurement("step_time_s_torch", "s", theirs, "lower"),
                  measurement("speedup_vs_torch", "1", theirs / ours, ratio=ratio_interval(theirs, ours),
                              compared=("step_time_s", "step_time_s_torch"))]  # fmt: skip
    return found


def trace(config: Config, folder: Path) -> dict[str, Any]:
    """A profile of three steps in `folder`, for xprof and Perfetto."""
    training = Training(Engine(config), config)
    for _ in range(3):
        training.step()
    began = time.perf_counter()
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        for i in range(_TRACED_STEPS):
            with jax.profiler.StepTraceAnnotation("train", step_num=i):
                training.step()
    return {"steps": _TRACED_STEPS, "seconds": round(time.perf_counter() - began, 2)}


def time_epoch(config: Config, quick: bool) -> tuple[list[Measurement], dict[str, Any]]:
    """Seconds a step of an epoch in one program, and of the same steps called one by one, in turn."""
    batch_size = config.train.batch_size
    engine = Engine(config)
    records = make_random_records(batch_size * _EPOCH_STEPS, config.records.height, config.records.width)
    source = make_source("resident", records, engine.split, needed_arrays(config))
    assert isinstance(source, ResidentSource)
    plan = engine.arrange([epoch_batches(len(records), batch_size, 0, 0, 1)])
    feeds, whole, hyper = list(source.feeds([plan])), source.stack(plan), engine.plain_hyper()
    states = {name: engine.make_state([(0, 0)]) for name in ("one_program", "step_by_step")}

    def one_program() -> None:
        states["one_program"], _ = engine.train_epoch(states["one_program"], source.resident, whole, hyper)
        jax.block_until_ready(states["one_program"])

    def step_by_step() -> None:
        for feed in feeds:
            states["step_by_step"], _ = engine.train(states["step_by_step"], source.resident, feed, hyper)
        jax.block_until_ready(states["step_by_step"])

    timings = interleave({"one_program": one_program, "step_by_step": step_by_step}, 3 if quick else 6)
    parameters = {"network": config.model.network, "batch_size": batch_size, "steps": len(feeds),
                  "compute_dtype": config.model.compute_dtype, "warm_up": 1}  # fmt: skip
    found = [Measurement("epoch", f"step_s_{name}", "s", "lower", list(timing.wall_s / len(feeds)), parameters, config)
             for name, timing in timings.items()]  # fmt: skip
    return found, {}
