"""Cohorts in which nothing predicts anything: what mode `honest` says of them, and mode `paper` of itself."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bonemet_jax.config import Config, load_config
from bonemet_jax.progress import say
from tests.studies.runs import SMOKE, mean_of_seeds, measure_once, run_to_stats


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
        config = change(make_null_config(seed, epochs))
        found.append(measure_once(
            folder, f"seed_{seed}", config, lambda at, config=config: run_to_stats(at, config, "leakage")))
        say(f"null cohort {seed}: " + ", ".join(
            f"{row['feature_set']} {row['honest']['test_auc']:.3f}" for row in found[-1]["rows"]))
    rows = [{(row["feature_set"], row["classifier"]): row for row in one["rows"]} for one in found]
    return {
        "n_seeds": len(found),
        "rows": [
            {"feature_set": key[0], "classifier": key[1],
             "honest_test_auc": mean_of_seeds([row[key]["honest"]["test_auc"] for row in rows]),
             "paper_test_auc": mean_of_seeds([row[key]["paper"]["test_auc"] for row in rows]),
             "honest_optimism": mean_of_seeds([row[key]["honest"]["optimism"] for row in rows]),
             "paper_optimism": mean_of_seeds([row[key]["paper"]["optimism"] for row in rows])}
            for key in rows[0]
        ],
    }
