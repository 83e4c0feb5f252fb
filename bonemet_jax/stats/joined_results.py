"""Several runs on the same folds, side by side: Table 3 and the channel ablation, with paired tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pandas as pd

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import load_folds
from bonemet_jax.errors import CorruptFileError, LeakageError, UsageError
from bonemet_jax.patient_ids import describe_pairs, find_alike
from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.roc_results import NETWORK, describe_paired
from bonemet_jax.stats.run import load_run_scores
from bonemet_jax.strict_json import find_mismatch

#: Models compared between runs: (feature set, classifier).
MODELS = (("imaging", NETWORK), ("imaging", "gbdt"), ("both", "gbdt"))
_FACTS = ("network", "channels", "mask_bias", "mode")


class _MaskBias(TypedDict):
    enabled: bool


class _Model(TypedDict):
    network: str
    channels: list[str]
    mask_bias: _MaskBias


class _Fusion(TypedDict):
    mode: NotRequired[str]


class _Config(TypedDict):
    """What sets runs apart, of a config of any version."""

    cohort_dir: NotRequired[str | None]
    model: _Model
    fusion: _Fusion


_Interval = tuple[float | None, float | None] | None


class _Share(TypedDict):
    value: float | None
    ci95: _Interval


class _Row(TypedDict):
    """A row of roc.json: one model on one split."""

    feature_set: str
    classifier: str
    split: Literal["train", "val", "test"]
    auc: float | None
    auc_ci95_delong: _Interval
    auc_ci95_bootstrap: _Interval
    auc_fold_mean: float | None
    auc_fold_sd: float | None
    acc: _Share
    sens: _Share
    spec: _Share


class _RocFile(TypedDict):
    rows: list[_Row]


@dataclass(frozen=True)
class JoinedRun:
    """One run: its name, its config, its rows of roc.json and its scores."""

    name: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    scores: pd.DataFrame
    folds: Mapping[str, tuple[str, ...]]


def load_joined(directories: list[Path]) -> list[JoinedRun]:
    """Read finished runs.

    Raises: UsageError for fewer than two, or one that has no statistics yet; LeakageError when their folds or labels
        differ.
    """
    if len(directories) < 2:
        raise UsageError("one run alone has nothing to be joined with", "", "give two or more behind --runs")
    names = [d.name for d in directories] if len({d.name for d in directories}) == len(directories) else [
        str(d) for d in directories]
    runs = [_load(name, directory) for name, directory in zip(names, directories, strict=True)]
    for run, directory in zip(runs[1:], directories[1:], strict=True):
        if run.folds != runs[0].folds:
            alike = describe_pairs(find_alike(run.folds, runs[0].folds))
            what = f"its folds are not those of {directories[0]}"
            raise LeakageError(f"{what}; ids {alike}" if alike else what, directory / "folds.json",
                               f"run it again with --folds.file {directories[0] / 'folds.json'}")
        if other := _find_other_labels(runs[0], run):
            what = f"{len(other)} patients have another label than in {directories[0]}, the first {other[0]}"
            raise LeakageError(what, directory, "join runs on one cohort")
    return runs


def _find_other_labels(a: JoinedRun, b: JoinedRun) -> list[str]:
    """Patients whose label differs."""
    labels = [dict(zip(run.scores[schema.PATIENT_ID], run.scores["label"], strict=True)) for run in (a, b)]
    return sorted(patient for patient, label in labels[0].items() if labels[1][patient] != label)


def _load(name: str, directory: Path) -> JoinedRun:
    roc = directory / "stats" / "roc.json"
    if not roc.is_file():
        raise UsageError("the run has no statistics yet", directory, "finish it with `bonemet run`")
    config = artifacts.load_config_values(directory / "config.json")
    if mismatch := find_mismatch(config, _Config):
        raise CorruptFileError(f"not a config of ours ({mismatch})", directory / "config.json", "run it again")
    rows = artifacts.load_json(roc, _RocFile)["rows"]
    folds = load_folds(directory / "folds.json")
    return JoinedRun(name, config, rows, load_run_scores(directory, folds), folds.splits)


def compute_joined(runs: list[JoinedRun]) -> dict[str, Any]:
    """Rows of every run for the models compared, and DeLong's paired test of every two runs on the test patients."""
    return make_plain({
        "runs": [
            {"name": run.name, **_describe(run.config),
             "rows": [row for row in run.rows if (row["feature_set"], row["classifier"]) in MODELS]}
            for run in runs
        ],
        "paired": [_compare(model, a, b) for model in MODELS for a, b in combinations(runs, 2)
                   if all(len(_pick_test(run, model)) for run in (a, b))],
    })


def _describe(config: dict[str, Any]) -> dict[str, Any]:
    """What sets runs apart."""
    model = config["model"]
    return dict(zip(_FACTS, (model["network"], model["channels"], model["mask_bias"]["enabled"],
                             config["fusion"].get("mode", "paper")), strict=True))


def _pick_test(run: JoinedRun, model: tuple[str, str]) -> pd.DataFrame:
    scores = run.scores
    chosen = (scores["feature_set"] == model[0]) & (scores["classifier"] == model[1]) & (scores["split"] == "test")
    return scores[chosen].set_index(schema.PATIENT_ID).sort_index()


def _compare(model: tuple[str, str], a: JoinedRun, b: JoinedRun) -> dict[str, Any]:
    base = {"feature_set": model[0], "classifier": model[1], "a": a.name, "b": b.name}
    first, second = _pick_test(a, model), _pick_test(b, model)
    return base | describe_paired(first["label"], first["score"], second["score"])
