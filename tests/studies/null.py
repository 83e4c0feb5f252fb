"""Cohorts in which nothing predicts anything: what mode `honest` says of them, and mode `paper` of itself."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bonemet_jax import artifacts
from bonemet_jax.cli.stages import Run, run_stages
from bonemet_jax.config import Config, load_config
from bonemet_jax.progress import say

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.py"
_STAGES = ("cohort", "build", "near_duplicates", "folds", "cv", "embed", "cross", "fuse", "stats")


def make_null_config(seed: int, epochs: int) -> Config:
    """The smoke run on a null cohort in mode `honest`, gradient boosting alone, fewer epochs."""
    config = load_config(SMOKE)
    return replace(
        config, phantom=replace(config.phantom, seed=seed, null=True), train=replace(config.train, epochs=epochs),
        fusion=replace(config.fusion, mode="honest", classifiers=("gbdt",)),
    )


def study_null(
    seeds: Iterable[int], folder: Path, epochs: int = 8, change: Callable[[Config], Config] = lambda config: config
) -> dict[str, Any]:
    """Test AUC of every feature set in mode `honest`, and both modes' optimism, over cohorts of one seed each.

    Args:
        folder: for the runs, one after another; what is done is not done again, and of each only its figures stay.
        change: makes a smaller config of each.
    Returns: mean test AUC with its 95 % interval over seeds, and mean optimism of each mode, by feature set.
    """
    found: list[dict[str, Any]] = []
    for seed in seeds:
        file = folder / f"seed_{seed}.json"
        if not file.is_file():
            run = Run(folder / f"run_{seed}", change(make_null_config(seed, epochs)))
            run_stages(run, _STAGES)
            artifacts.write_json(file, artifacts.load_json(run.directory / "stats" / "leakage.json"))
            shutil.rmtree(run.directory)
        found.append(artifacts.load_json(file))
        say(f"null cohort {seed}: " + ", ".join(
            f"{row['feature_set']} {row['honest']['test_auc']:.3f}" for row in found[-1]["rows"]))
    rows = [{(row["feature_set"], row["classifier"]): row for row in one["rows"]} for one in found]
    return {
        "n_seeds": len(found),
        "rows": [
            {"feature_set": key[0], "classifier": key[1],
             "honest_test_auc": _mean([row[key]["honest"]["test_auc"] for row in rows]),
             "paper_test_auc": _mean([row[key]["paper"]["test_auc"] for row in rows]),
             "honest_optimism": _mean([row[key]["honest"]["optimism"] for row in rows]),
             "paper_optimism": _mean([row[key]["paper"]["optimism"] for row in rows])}
            for key in rows[0]
        ],
    }


def _mean(values: list[float]) -> dict[str, Any]:
    """Mean over seeds with the 95 % interval of Student's t."""
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return {"mean": mean, "ci95": None, "values": values}
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return {"mean": mean, "ci95": [mean - half, mean + half], "values": values}
