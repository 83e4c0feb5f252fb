"""Time of a step of three folds in one program, on a mesh or under vmap, beside three steps one after another.

On accelerators seconds, ResNet101 at 400x500x4, bfloat16, batch 8; the mesh where there are three. On the CPU
core-seconds, on three virtual devices: ResNet34 at 96x128x4, batch 8. Sequential steps run on the first device. Quick:
`tiny` at 64x80x4, batch 4.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.harness import Measurement, Options, interleave, ratio_interval
from benchmarks.several import Sizes, has_accelerator, run_on_devices
from benchmarks.training import Training
from bonemet_jax.config import Config, EngineConfig, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.train.parallel import Engine

_ACCELERATORS = Config("folds", model=ModelConfig(network="resnet101", compute_dtype="bfloat16"),
                       train=TrainConfig(batch_size=8))  # fmt: skip
_FULL = Config("folds", records=RecordsConfig(height=96, width=128), model=ModelConfig(network="resnet34"),
               train=TrainConfig(batch_size=8))  # fmt: skip
_QUICK = replace(_FULL, records=RecordsConfig(height=64, width=80), model=ModelConfig(network="tiny"),
                 train=TrainConfig(batch_size=4))  # fmt: skip
SIZES = Sizes(_FULL, _QUICK, _ACCELERATORS)
N_FOLDS = 3


def measure(options: Options) -> list[Measurement]:
    """Time of a step of every fold, its ratio to the sequential sum, compilations and their seconds."""
    config, clock, unit = SIZES.choose(options.quick), *(("s", "s") if has_accelerator() else ("core_s", "core-s"))
    found = run_on_devices(time_ways, N_FOLDS, options.quick)
    parameters: dict[str, Any] = {
        "network": config.model.network, "height": config.records.height, "width": config.records.width,
        "batch_size": config.train.batch_size, "folds": N_FOLDS, "warm_up": 1,
    }  # fmt: skip
    made = []
    for way, seen in found.items():
        told = parameters | {name: seen[name] for name in ("devices", "n_traces", "compile_s")}
        made.append(Measurement("folds", f"{way}_{clock}", unit, "lower", seen[clock], told, config))
    base = np.array(found["sequential"][clock])
    for way in [way for way in found if way != "sequential"]:
        own = np.array(found[way][clock])
        made.append(Measurement("folds", f"{way}_over_sequential", "1", "lower", list(own / base), parameters, config,
                                ratio=ratio_interval(own, base), compared=(f"{way}_{clock}", f"sequential_{clock}")))
    return made


def time_ways(quick: bool) -> dict[str, Any]:
    """On the devices that jax sees: figures of each way."""
    config, n, ways = SIZES.choose(quick), 2 if quick else 7, [("sequential", 1, 1), ("vmap", N_FOLDS, 1)]
    if jax.device_count() >= N_FOLDS:
        ways.insert(1, ("mesh", N_FOLDS, N_FOLDS))
    engines, calls = {}, {}
    for way, n_members, n_devices in ways:
        own = replace(config, engine=EngineConfig(folds=way))  # type: ignore[arg-type]
        engines[way] = engine = Engine(own, n_members, jax.devices()[:n_devices])
        calls[way] = _all_folds(engine, own)
    timings = interleave(calls, n)
    return {
        way: {"s": list(timings[way].wall_s), "core_s": list(timings[way].cpu_s), "devices": engine.spread.mesh.size,
              "n_traces": engine.train.n_traces, "compile_s": engine.train.compile_s}
        for way, engine in engines.items()
    }  # fmt: skip


def _all_folds(engine: Engine, config: Config) -> Callable[[], None]:
    """A step of every fold, however many the engine takes at once."""
    folds = list(range(N_FOLDS))
    waves = [folds[i : i + engine.n_members] for i in range(0, N_FOLDS, engine.n_members)]
    trainings = [Training(engine, config, wave) for wave in waves]

    def call() -> None:
        for training in trainings:
            training.step()

    return call


if __name__ == "__main__":
    print(json.dumps(time_ways("--quick" in sys.argv)))
