"""The checks of a device, most valuable first, and what each is thought to take on one H100."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import checkpoint, dispatch, embed
from benchmarks.harness import Measurement, Options
from benchmarks.on_device import exact, steps
from bonemet_jax.config import Config, ModelConfig, RecordsConfig, TrainConfig


class Found(NamedTuple):
    """What a check brings back."""

    measurements: list[Measurement]
    facts: dict[str, Any]


class Check(NamedTuple):
    """One check; `run(quick, folder)` may leave files in the folder."""

    seconds: float
    """On one H100, compilation included; with less than half of it left it does not start."""
    run: Callable[[bool, Path], Found]


def make_config(quick: bool, dtype: str = "bfloat16", batch_size: int = 32, **engine: str) -> Config:
    """ResNet101 at the paper's size, or `tiny` at 64 x 80."""
    base = Config("device")
    batch_size = min(batch_size, 4) if quick else batch_size
    return replace(
        base, model=ModelConfig(network="tiny" if quick else "resnet101", compute_dtype=dtype),  # type: ignore[arg-type]
        records=RecordsConfig(height=64, width=80) if quick else base.records,
        train=TrainConfig(batch_size=batch_size), engine=replace(base.engine, **engine),  # type: ignore[arg-type]
    )


def _time(
    dtype: str = "bfloat16", batch_size: int = 32, peer: str = "", **engine: str
) -> Callable[[bool, Path], Found]:
    def run(quick: bool, _folder: Path) -> Found:
        return Found(*steps.time_variant(make_config(quick, dtype, batch_size, **engine), quick, peer))

    return run


def _trace(quick: bool, folder: Path) -> Found:
    return Found([], steps.trace(make_config(quick), folder))


def _epoch(quick: bool, folder: Path) -> Found:
    return Found(*steps.time_epoch(make_config(quick), quick))


def _benchmark(measure: Callable[[Options], list[Measurement]]) -> Callable[[bool, Path], Found]:
    return lambda quick, folder: Found(measure(Options(quick=quick, peers=frozenset())), {})


CHECKS: dict[str, Check] = {
    "channels": Check(20, lambda quick, folder: Found([], exact.check_channels())),
    "parity": Check(40, lambda quick, folder: Found([], exact.check_parity())),
    "step": Check(70, _time()),
    "trace": Check(25, _trace),
    "torch": Check(45, _time(peer="eager")),
    "torch_compiled": Check(90, _time(peer="compiled")),
    "plain_normalisation": Check(60, _time(normalise="plain")),
    "batch_128": Check(70, _time(batch_size=128)),
    "float32": Check(70, _time("float32")),
    "epoch": Check(80, _epoch),
    "dispatch": Check(20, _benchmark(dispatch.measure)),
    "embed": Check(90, _benchmark(embed.measure)),
    "shard_map": Check(60, _time(parallel="shard_map")),
    "pmap": Check(60, _time(parallel="pmap")),
    "batch_64": Check(60, _time(batch_size=64)),
    "float32_128": Check(70, _time("float32", 128)),
    "checkpoint": Check(90, _benchmark(checkpoint.measure)),
}
