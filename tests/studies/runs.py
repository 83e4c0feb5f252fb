"""What studies over whole runs share: the run, figures that are kept, means over seeds."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bonemet_jax import artifacts
from bonemet_jax.config import Config
from bonemet_jax.study.run import Run
from bonemet_jax.study.runner import run_stages

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.py"
_STAGES = ("cohort", "build", "near_duplicates", "folds", "cv", "embed", "cross", "fuse", "stats")


def run_to_stats(directory: Path, config: Config, name: str) -> dict[str, Any]:
    """Run up to the statistics, anew only where the config differs; stats/<name>.json."""
    run_stages(Run(directory, config), _STAGES)
    return artifacts.load_json(directory / "stats" / f"{name}.json")


def measure_once(folder: Path, name: str, config: Config, measure: Callable[[Path], Any]) -> Any:
    """What `measure` says of runs in a directory, which then goes; what was measured with this config stays."""
    file = folder / f"{name}_{config.fingerprint}.json"
    if not file.is_file():
        directory = folder / f"run_{name}"
        artifacts.write_json(file, measure(directory))
        shutil.rmtree(directory)
    return artifacts.load_json(file)


def mean_of_seeds(values: list[float]) -> dict[str, Any]:
    """Mean over seeds with the 95 % interval of Student's t."""
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return {"mean": mean, "ci95": None, "values": values}
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return {"mean": mean, "ci95": [mean - half, mean + half], "values": values}
