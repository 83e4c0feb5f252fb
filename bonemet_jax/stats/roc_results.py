"""roc.json: discrimination and decisions of every model in the pooled train, validation and test rows.

Pooling (docs/paper.md): the test rows of all folds hold each patient once, so DeLong and Wilson apply; train and
validation rows repeat patients, so only the patient-level bootstrap gives intervals. Each fold's own threshold decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bonemet_jax import schema
from bonemet_jax.errors import LeakageError
from bonemet_jax.stats.bca import BootstrapInterval, compute_auc_interval, compute_fraction_intervals
from bonemet_jax.stats.bootstrap import Draws, draw_patients
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.intervals import Proportion
from bonemet_jax.stats.permutation import compute_auc_permutation_p, compute_paired_permutation_p, permute_labels
from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.roc import (
    compute_auc,
    compute_auc_delong,
    compute_auc_or_none,
    compute_paired_delong,
    compute_roc_curve,
)
from bonemet_jax.stats.threshold import MEASURES, choose_balanced_threshold, compute_confusion

NETWORK = "network"
#: Bootstrap draws and permutations; BCa reads percentiles far out in the tails.
N_DRAWS = 10_000
_NOTES = (
    "Test: the folds' test parts are pooled and hold each patient once; intervals are DeLong's for the AUC and "
    "Wilson's for proportions.",
    "Train and validation: pooled over folds, so patients repeat; intervals are those of a patient-level bootstrap "
    "stratified by outcome, and DeLong's is not given.",
    "Bootstrap intervals, of all splits: patients are drawn with replacement, each outcome class on its own "
    "(stratified by outcome); bias-corrected and accelerated (BCa; Efron 1987), where that is not defined percentiles.",
    "Permutation p values are two-sided and hold the models fixed. AUC: labels dealt anew between patients. Paired: "
    "each patient's two ranks swapped at random (Bandos 2005); the null is that they are exchangeable given the "
    "outcome, which says more than equal AUCs.",
    "Scores of different folds come from different models; the pooled AUC compares them as they are. Mean and SD over "
    "folds are given beside it.",
    "Each fold has its own threshold, chosen on its train and validation rows for the smallest difference between "
    "sensitivity and specificity.",
)


@dataclass(frozen=True)
class _Resamples:
    """What all models of a split share."""

    draws: Draws
    permuted: np.ndarray | None
    """Labels dealt anew; test rows alone."""


def make_network_scores(
    score: np.ndarray, patient_ids: list[str], label: Mapping[str, int], splits: Mapping[str, tuple[str, ...]]
) -> pd.DataFrame:
    """Rows of scores.parquet for the network's own score.

    Args:
        score: (fold, patient), P of bone metastasis.
        patient_ids: the second axis of `score`.
        label: 0/1 by patient.
        splits: split in each fold by patient.
    """
    tables = []
    for fold, scores in enumerate(score):
        table = pd.DataFrame({
            schema.PATIENT_ID: patient_ids, "fold": fold, "split": [splits[p][fold] for p in patient_ids],
            "feature_set": "imaging", "classifier": NETWORK, "label": [int(label[p]) for p in patient_ids],
            "score": scores.astype(float),
        })
        seen = table[table["split"] != "test"]
        tables.append(table.assign(threshold=choose_balanced_threshold(seen["label"], seen["score"])))
    return pd.concat(tables, ignore_index=True)


def compute_roc_results(scores: pd.DataFrame, n_draws: int = N_DRAWS, seed: int = 0) -> dict[str, Any]:
    """Every model's row for every split, and the paired tests on the test rows.

    Args:
        scores: rows of scores.parquet (docs/contracts.md), the network's included.
        n_draws: bootstrap draws, and permutations; one seed, shared by all models of a split.

    Raises: LeakageError when a patient is tested twice by one model.
    """
    labels = scores.drop_duplicates(schema.PATIENT_ID).set_index(schema.PATIENT_ID)["label"]
    rows: list[dict[str, Any]] = []
    for split in schema.SPLITS:
        part = scores[scores["split"] == split]
        patients = pd.Index(sorted(part[schema.PATIENT_ID].unique()))
        resamples = _resample(labels.loc[patients], n_draws, seed, split == "test")
        for _, table in part.groupby(["feature_set", "classifier"], sort=False):
            rows.append(_compute_row(table, patients, resamples))
    test = scores[scores["split"] == "test"]
    return make_plain({
        "n_patients": len(labels), "n_positive": int(labels.sum()), "n_bootstrap": n_draws, "n_permutations": n_draws,
        "notes": _NOTES, "rows": sorted(rows, key=order_rows), "paired": _compute_paired(test, n_draws, seed),
    })


def _resample(label: pd.Series, n_draws: int, seed: int, is_test: bool) -> _Resamples | None:
    try:
        permuted = permute_labels(label, n_draws, seed) if is_test else None
        return _Resamples(draw_patients(label, n_draws, seed), permuted)
    except NotEstimableError:
        return None  # one class alone: every row says so


def order_rows(row: dict[str, Any]) -> tuple[bool, int, int, int]:
    """The network first, then classifiers, feature sets and splits in the schema's order."""
    classifier = row["classifier"]
    place = schema.CLASSIFIERS.index(classifier) if classifier in schema.CLASSIFIERS else -1
    return (classifier != NETWORK, place, schema.FEATURE_SETS.index(row["feature_set"]),
            schema.SPLITS.index(row["split"]))


def _compute_row(table: pd.DataFrame, patients: pd.Index, resamples: _Resamples | None) -> dict[str, Any]:
    split, is_test = table["split"].iloc[0], table["split"].iloc[0] == "test"
    if is_test and table[schema.PATIENT_ID].duplicated().any():
        raise LeakageError("a patient is tested twice by one model", "scores.parquet", "fuse again")
    label, score = np.asarray(table["label"]), np.asarray(table["score"], dtype=float)
    patient = np.asarray(patients.get_indexer(pd.Index(table[schema.PATIENT_ID])))
    distinct = table.drop_duplicates(schema.PATIENT_ID)
    folds = [compute_auc_or_none(fold["label"], fold["score"]) for _, fold in table.groupby("fold")]
    known = [auc for auc in folds if auc is not None]
    row: dict[str, Any] = {
        "feature_set": table["feature_set"].iloc[0], "classifier": table["classifier"].iloc[0], "split": split,
        "n_rows": len(table), "n_patients": len(distinct), "n_positive": int(distinct["label"].sum()),
        "auc_folds": folds,
        "auc_fold_mean": float(np.mean(known)) if known else None,
        "auc_fold_sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "thresholds": table.groupby("fold")["threshold"].first().tolist(),
        "ci_method": "wilson" if is_test else "bootstrap",
    }
    row |= _compute_discrimination(label, score, patient, resamples, is_test)
    decision = score >= np.asarray(table["threshold"], dtype=float)
    measures, reasons = _compute_measures(label, decision, patient, resamples, is_test)
    row["bootstrap_reasons"] |= reasons
    return row | measures


def _compute_discrimination(
    label: np.ndarray, score: np.ndarray, patient: np.ndarray, resamples: _Resamples | None, is_test: bool
) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys((
        "auc", "auc_ci95_delong", "auc_ci95_bootstrap", "auc_ci95_bootstrap_method", "auc_permutation_p", "curve",
        "reason")) | {"bootstrap_reasons": {}}
    try:
        found["auc"] = compute_auc(label, score)
        fpr, tpr = compute_roc_curve(label, score)
        found["curve"] = {"fpr": fpr, "tpr": tpr}
        if resamples is not None:
            interval = compute_auc_interval(resamples.draws, patient, score)
            found |= {"auc_ci95_bootstrap": interval.ci95, "auc_ci95_bootstrap_method": interval.method,
                      "bootstrap_reasons": _list_reasons({"auc": interval})}
        if resamples is not None and resamples.permuted is not None:
            found["auc_permutation_p"] = compute_auc_permutation_p(resamples.permuted, patient, score)
        if is_test:
            found["auc_ci95_delong"] = compute_auc_delong(label, score).ci95
    except NotEstimableError as error:
        found["reason"] = error.what
    return found


def _list_reasons(intervals: Mapping[str, BootstrapInterval]) -> dict[str, str]:
    """Why an interval is not BCa, of those that are not."""
    return {name: interval.reason for name, interval in intervals.items() if interval.reason is not None}


def _compute_measures(
    label: np.ndarray, decision: np.ndarray, patient: np.ndarray, resamples: _Resamples | None, is_test: bool
) -> tuple[dict[str, Proportion], dict[str, str]]:
    """ACC, SENS, SPEC, PPV, NPV: Wilson's interval for test rows, the patient-level bootstrap's for the others.

    Returns: the measures, and why an interval is not BCa.
    """
    confusion = compute_confusion(label, decision)
    if is_test:
        return {name: confusion.wilson(name) for name in MEASURES}, {}
    intervals = _bootstrap_measures(label == 1, decision, patient, resamples.draws) if resamples else {}
    found = {}
    for name in MEASURES:
        k, n = confusion.fraction(name)
        interval = intervals[name].ci95 if intervals else None
        found[name] = Proportion(k / n, interval, k, n) if n else Proportion(None, None, 0, 0)
    return found, _list_reasons(intervals)


def _bootstrap_measures(
    truth: np.ndarray, said: np.ndarray, patient: np.ndarray, draws: Draws
) -> dict[str, BootstrapInterval]:
    counted = {"acc": np.ones_like(truth), "sens": truth, "spec": ~truth, "ppv": said, "npv": ~said}
    denominators = np.stack([counted[name] for name in MEASURES])
    intervals = compute_fraction_intervals(draws, patient, denominators & (truth == said), denominators)
    return dict(zip(MEASURES, intervals, strict=True))


def _compute_paired(test: pd.DataFrame, n_draws: int, seed: int) -> list[dict[str, Any]]:
    """Paired tests, DeLong's and by permutation, of `both` against each part, by classifier, joined by patient."""
    rows: list[dict[str, Any]] = []
    for classifier in schema.CLASSIFIERS:
        part = test[test["classifier"] == classifier]
        by_set = part.pivot(index=schema.PATIENT_ID, columns="feature_set", values="score")
        label = part.drop_duplicates(schema.PATIENT_ID).set_index(schema.PATIENT_ID)["label"].reindex(by_set.index)
        for other in ("clinical", "imaging"):
            if {"both", other} <= set(by_set.columns):
                rows.append({"classifier": classifier, "split": "test", "a": "both", "b": other}
                            | _compare(label, by_set["both"], by_set[other], n_draws, seed))
    return rows


def _compare(label: pd.Series, a: pd.Series, b: pd.Series, n_draws: int, seed: int) -> dict[str, Any]:
    found = describe_paired(label, a, b)
    known = found["difference"] is not None
    return found | {"permutation_p": compute_paired_permutation_p(label, a, b, n_draws, seed) if known else None}


def describe_paired(label: ArrayLike, a: ArrayLike, b: ArrayLike) -> dict[str, Any]:
    """Two scores of the same patients: their AUCs, the difference, DeLong's paired test or why there is none."""
    found: dict[str, Any] = dict.fromkeys(("difference", "ci95", "z", "p", "reason"))
    auc_a, auc_b = compute_auc_or_none(label, a), compute_auc_or_none(label, b)
    found |= {"auc_a": auc_a, "auc_b": auc_b}
    if auc_a is not None and auc_b is not None:
        found["difference"] = auc_a - auc_b
    try:
        return found | make_plain(compute_paired_delong(label, a, b))
    except NotEstimableError as error:
        return found | {"reason": error.what}
