"""Seconds to trace and compile a training step, unrolled and with equal blocks in a loop; cold, and from the cache.

Full size: ResNet101 at 400x500x4, batch 4. Quick: `tiny` at 64x80x4. Each sample is a process of its own; cold: with an
empty cache folder; warm: a second process with the folder that the first one filled. Imports and weights do not count.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks.harness import Measurement, Options, ratio_interval
from bonemet_jax.config import Config, EngineConfig, ModelConfig, RecordsConfig, TrainConfig, from_dict

FULL = Config("compile", model=ModelConfig(network="resnet101"), train=TrainConfig(batch_size=4))
QUICK = replace(FULL, model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80))
#: What is compared: the engine's options, by name.
ENGINES = {"unrolled": EngineConfig(), "scanned": EngineConfig(scan_blocks=True)}


def measure(options: Options) -> list[Measurement]:
    """Seconds of each way and their ratios to the cold compile of the unrolled network, process by process in turn."""
    config, n = (QUICK, 1) if options.quick else (FULL, 3)
    rounds = [time_round(config) for _ in range(n)]
    seconds = {name: np.array([found[name] for found in rounds]) for name in rounds[0]}
    parameters = {
        "network": config.model.network, "height": config.records.height, "width": config.records.width,
        "batch_size": config.train.batch_size, "compute_dtype": config.model.compute_dtype, "warm_up": 0,
    }  # fmt: skip
    plain = seconds["unrolled_cold"]
    found = [Measurement("compile", f"{name}_s", "s", "lower", list(values), parameters, config)
             for name, values in seconds.items()]  # fmt: skip
    return found + [
        Measurement("compile", f"{name}_over_unrolled_cold", "1", "lower", list(values / plain), parameters, config,
                    ratio=ratio_interval(values, plain), compared=(f"{name}_s", "unrolled_cold_s"))
        for name, values in seconds.items() if name != "unrolled_cold"
    ]  # fmt: skip


def time_round(config: Config) -> dict[str, float]:
    """One cold and one warm compile of each way, seconds."""
    found = {}
    for name, engine in ENGINES.items():
        with tempfile.TemporaryDirectory() as cache:
            for start in ("cold", "warm"):
                found[f"{name}_{start}"] = time_process(replace(config, engine=engine), Path(cache))
    return found


def time_process(config: Config, cache: Path) -> float:
    """Seconds of tracing and compiling in a new process. Raises: RuntimeError when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile", json.dumps(asdict(config))], capture_output=True, encoding="utf-8",
        check=False, cwd=Path(__file__).parents[1], env=make_environment(cache),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"compiling failed ({done.returncode}): {done.stderr[-500:]}")
    return float(done.stdout.splitlines()[-1])


def make_environment(cache: Path) -> Mapping[str, str]:
    """This process's, with jax's cache in `cache`, everything kept."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }  # fmt: skip


def compile_step(config: Config) -> float:
    """Trace and compile the training step in this process; seconds."""
    from benchmarks.training import Training
    from bonemet_jax.train.parallel import Engine

    engine = Engine(config)
    Training(engine, config).compile()
    return engine.train.seconds


if __name__ == "__main__":
    print(compile_step(from_dict(Config, json.loads(sys.argv[1]))))
