"""Does the network see the planted texture, and in which channel: the same cohorts with it and without."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bonemet_jax.config import Channel, Config, MaskBiasConfig, load_config
from bonemet_jax.progress import say
from bonemet_jax.stats.roc_results import NETWORK
from tests.studies.runs import SMOKE, mean_of_seeds, measure_once, run_to_stats

#: What a network is given. The mask is the same file with and without texture, so it is no row of its own.
INPUTS: dict[str, tuple[Channel, ...]] = {
    "all": ("ct", "lbp", "hog", "mask"), "ct": ("ct",), "lbp": ("lbp",), "hog": ("hog",),
}


def make_texture_config(seed: int, strength: float, epochs: int) -> Config:
    """The smoke run on one cohort: imaging alone, gradient boosting beside the network's own score."""
    config = load_config(SMOKE)
    return replace(
        config, phantom=replace(config.phantom, seed=seed, texture_strength=strength),
        train=replace(config.train, epochs=epochs),
        fusion=replace(config.fusion, classifiers=("gbdt",), feature_sets=("imaging",)),
    )


def study_texture(
    seeds: Iterable[int], folder: Path, epochs: int = 15, change: Callable[[Config], Config] = lambda config: config
) -> dict[str, Any]:
    """Test AUC of imaging with the texture less that without, over cohorts that differ in nothing else.

    Patients, outcomes, clinical data, masks and folds of a pair are equal; only the places of the fat's values are not.

    Args:
        folder: for the runs; what is done is not done again, and of each only its figures stay.
        change: makes a smaller config of each.
    Returns: for each input and score, both mean AUCs and their difference with its 95 % interval over seeds.
    """
    found = [{strength: _measure(seed, strength, folder, epochs, change) for strength in (1, 0)} for seed in seeds]
    return {"n_seeds": len(found), "epochs": epochs, "rows": [
        {"input": name, "score": score,
         "with": mean_of_seeds([one[1][name][score] for one in found]),
         "without": mean_of_seeds([one[0][name][score] for one in found]),
         "difference": mean_of_seeds([one[1][name][score] - one[0][name][score] for one in found])}
        for name in INPUTS for score in (NETWORK, "gbdt")
    ]}


def _measure(
    seed: int, strength: int, folder: Path, epochs: int, change: Callable[[Config], Config]
) -> dict[str, dict[str, float]]:
    """Pooled test AUC of each input's network and of gradient boosting on its features."""
    config = change(make_texture_config(seed, float(strength), epochs))
    found = measure_once(folder, f"seed_{seed}_strength_{strength}", config, lambda directory: {
        name: _run(directory, config, channels) for name, channels in INPUTS.items()})
    say(f"cohort {seed}, texture {strength}: " + ", ".join(f"{name} {row[NETWORK]:.3f}" for name, row in found.items()))
    return found


def _run(directory: Path, config: Config, channels: tuple[Channel, ...]) -> dict[str, float]:
    """Records and folds are those of the input before: a run trains anew where only the network changes."""
    bias = config.model.mask_bias if "mask" in channels else MaskBiasConfig(enabled=False)
    config = replace(config, model=replace(config.model, channels=channels, mask_bias=bias))
    rows = run_to_stats(directory, config, "roc")["rows"]
    return {row["classifier"]: row["auc"] for row in rows if row["split"] == "test"}
