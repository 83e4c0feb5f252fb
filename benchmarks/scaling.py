"""Seconds of a step of one global batch over 1, 2, 4 and 8 devices, by jit, shard_map and pmap.

On accelerators: ResNet101 at 400x500x4, bfloat16, batch 32, on as many as there are. On the CPU devices are virtual and
share its cores, so that above one only overhead is seen, never a speed-up: ResNet34 at 96x128x4, batch 16. Quick:
`tiny` at 64x80x4, batch 8, on 1 and 2 devices.
"""

import json
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.compiled.collectives import find_collectives
from benchmarks.compiled.hlo import read_module
from benchmarks.harness import Measurement, Options, interleave, ratio_interval
from benchmarks.several import Sizes, run_on_devices
from benchmarks.training import Training
from bonemet_jax.config import Config, EngineConfig, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.train.parallel import Engine

_ACCELERATORS = Config("scaling", model=ModelConfig(network="resnet101", compute_dtype="bfloat16"),
                       train=TrainConfig(batch_size=32))  # fmt: skip
_FULL = Config("scaling", records=RecordsConfig(height=96, width=128), model=ModelConfig(network="resnet34"),
               train=TrainConfig(batch_size=16))  # fmt: skip
_QUICK = replace(_FULL, records=RecordsConfig(height=64, width=80), model=ModelConfig(network="tiny"),
                 train=TrainConfig(batch_size=8))  # fmt: skip
SIZES = Sizes(_FULL, _QUICK, _ACCELERATORS)
N_DEVICES = 8


def measure(options: Options) -> list[Measurement]:
    """Step time of each wrapper on each number of devices, its ratio to jit's on one, and the step's collectives."""
    config = SIZES.choose(options.quick)
    found = run_on_devices(time_ways, N_DEVICES, options.quick)
    base = np.array(found["jit_1"]["wall_s"])
    made = []
    for way, seen in found.items():
        samples = seen.pop("wall_s")
        parallel, n_devices = way.rsplit("_", 1)
        parameters = {
            "network": config.model.network, "height": config.records.height, "width": config.records.width,
            "batch_size": config.train.batch_size, "parallel": parallel, "devices": int(n_devices),
            "warm_up": 1, **seen,
        }  # fmt: skip
        made.append(Measurement("scaling", f"step_time_{way}_s", "s", "lower", samples, parameters, config))
        if way == "jit_1":
            continue
        made.append(Measurement("scaling", f"{way}_over_jit_1", "1", "lower", list(np.array(samples) / base),
                                parameters, config, ratio=ratio_interval(np.array(samples), base),
                                compared=(f"step_time_{way}_s", "step_time_jit_1_s")))  # fmt: skip
    return made


def time_ways(quick: bool) -> dict[str, Any]:
    """On the devices that jax sees: seconds of each way, its collectives."""
    config, n, counts = SIZES.choose(quick), 2 if quick else 7, (1, 2) if quick else (1, 2, 4, 8)
    engines, calls = {}, {}
    for n_devices in (count for count in counts if count <= jax.device_count()):
        for parallel in ("jit", "shard_map", "pmap") if n_devices > 1 else ("jit",):
            own = replace(config, engine=EngineConfig(parallel=parallel))  # type: ignore[arg-type]
            way = f"{parallel}_{n_devices}"
            engines[way] = Engine(own, 1, jax.devices()[:n_devices])
            calls[way] = Training(engines[way], own).step
    timings = interleave(calls, n)
    return {way: {"wall_s": list(timings[way].wall_s), **count(engine)} for way, engine in engines.items()}


def count(engine: Engine) -> dict[str, Any]:
    """Collectives of one step: how many of each kind and dtype, and their bytes a device."""
    found = find_collectives(read_module(engine.train.compiled.as_text()))
    return {"collectives": Counter("/".join((c.kind, *c.dtypes)) for c in found),
            "collective_bytes": sum(c.n_bytes for c in found)}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(time_ways("--quick" in sys.argv)))
