"""Core-seconds of a step of three folds in one program, on a mesh or under vmap, beside three steps one after another.

Three virtual devices on this machine's cores; sequential steps run on the first of them. Full size: ResNet34 at
96x128x4, batch 8. Quick: `tiny` at 64x80x4, batch 4.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.harness import Measurement, Options, interleave, ratio_interval
from benchmarks.virtual import make_step, run_there
from bonemet_jax.config import Config, EngineConfig, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.train.parallel import Engine

FULL = Config("folds", records=RecordsConfig(height=96, width=128), model=ModelConfig(network="resnet34"),
              train=TrainConfig(batch_size=8))  # fmt: skip
QUICK = replace(FULL, records=RecordsConfig(height=64, width=80), model=ModelConfig(network="tiny"),
                train=TrainConfig(batch_size=4))  # fmt: skip
N_FOLDS = 3


def measure(options: Options) -> list[Measurement]:
    """Core-seconds of a step of every fold, their ratio to the sequential sum, compilations and their seconds."""
    config = QUICK if options.quick else FULL
    found = run_there("benchmarks.folds", N_FOLDS, options.quick)
    parameters: dict[str, Any] = {
        "network": config.model.network, "height": config.records.height, "width": config.records.width,
        "batch_size": config.train.batch_size, "folds": N_FOLDS, "virtual_devices": N_FOLDS, "warm_up": 1,
    }  # fmt: skip
    made = []
    for way, seen in found.items():
        told = parameters | {name: seen[name] for name in ("n_traces", "compile_s")}
        made.append(Measurement("folds", f"{way}_core_s", "core-s", "lower", seen["cpu_s"], told, config))
    base = np.array(found["sequential"]["cpu_s"])
    for way in ("mesh", "vmap"):
        own = np.array(found[way]["cpu_s"])
        made.append(Measurement("folds", f"{way}_over_sequential", "1", "lower", list(own / base), parameters, config,
                                ratio=ratio_interval(own, base), compared=(f"{way}_core_s", "sequential_core_s")))
    return made


def _main(quick: bool) -> None:
    """On the virtual devices: one line of JSON, figures of each way."""
    config, n = (QUICK, 2) if quick else (FULL, 7)
    engines, calls = {}, {}
    for way, n_members, n_devices in (("sequential", 1, 1), ("mesh", N_FOLDS, N_FOLDS), ("vmap", N_FOLDS, 1)):
        own = replace(config, engine=EngineConfig(folds=way))  # type: ignore[arg-type]
        engines[way] = engine = Engine(own, n_members, jax.devices()[:n_devices])
        calls[way] = _all_folds(engine, own)
    timings = interleave(calls, n)
    print(json.dumps({
        way: {"cpu_s": list(timings[way].cpu_s), "n_traces": engine.train.n_traces, "compile_s": engine.train.compile_s}
        for way, engine in engines.items()
    }))  # fmt: skip


def _all_folds(engine: Engine, config: Config) -> Callable[[], None]:
    """A step of every fold, however many the engine takes at once."""
    folds = list(range(N_FOLDS))
    waves = [folds[i : i + engine.n_members] for i in range(0, N_FOLDS, engine.n_members)]
    steps = [make_step(engine, config, wave) for wave in waves]

    def call() -> None:
        for step in steps:
            step()

    return call


if __name__ == "__main__":
    _main("--quick" in sys.argv)
