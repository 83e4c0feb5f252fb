"""leakage.json: how much better each mode makes itself look than it is, and what that does to the test patients.

Optimism of a mode: AUC over the rows that screening, classifier, hyper-parameters and threshold learned from, less AUC
over the test rows. In mode `paper` these rows are described by networks that learned from them (docs/paper.md, "GBDT
leakage"); in mode `honest` every such row was scored by models that never saw the patient. Intervals are percentiles of
a patient-level bootstrap: a draw takes a patient with its rows in every fold, and both modes share the draws.
Source: Efron, J Am Stat Assoc 81 (1986) 461 (apparent error and its optimism).
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from bonemet_jax import schema
from bonemet_jax.stats.bootstrap import Draws, bootstrap_auc, compute_percentile_interval, draw_patients
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.roc import compute_auc
from bonemet_jax.stats.roc_results import describe_paired
from bonemet_jax.stats.threshold import compute_confusion

N_DRAWS = 2000
_NO_HONEST = "the run is in mode paper: nothing was cross-fitted; add --fusion.mode honest"
_NOTES = (
    "Optimism: AUC on the rows a model and its threshold learned from, less AUC on the test patients.",
    "Both modes test the same patients with the same networks; they differ in what the classifiers learned from.",
    "Intervals: patient-level bootstrap stratified by outcome, percentiles; the difference between the modes on the "
    "test patients: DeLong.",
)


def compute_leakage(paper: pd.DataFrame, honest: pd.DataFrame | None, n_draws: int = N_DRAWS) -> dict[str, Any]:
    """Optimism of every model in mode `paper`, and in mode `honest` where the run has it.

    Args:
        paper: rows of scores.parquet of one mode, first repeat.
        honest: the same models and patients in the other mode.
        n_draws: bootstrap draws.
    """
    labels = paper.drop_duplicates(schema.PATIENT_ID).set_index(schema.PATIENT_ID)["label"].sort_index()
    try:
        draws = draw_patients(labels, n_draws, seed=0)
    except NotEstimableError as error:
        return {"modes": [], "reason": error.what, "n_bootstrap": n_draws, "rows": [], "notes": _NOTES}
    rows = [
        _compute_row(part, None if honest is None else _same_model(honest, name), labels.index, draws)
        for name, part in paper.groupby(["feature_set", "classifier"], sort=False)
    ]
    return make_plain({
        "modes": ["paper"] if honest is None else ["paper", "honest"], "reason": _NO_HONEST if honest is None else None,
        "n_bootstrap": n_draws, "rows": rows, "notes": _NOTES,
    })


def _same_model(scores: pd.DataFrame, name: Any) -> pd.DataFrame:
    return scores[(scores["feature_set"] == name[0]) & (scores["classifier"] == name[1])]


def _compute_row(
    paper: pd.DataFrame, honest: pd.DataFrame | None, patients: pd.Index, draws: Draws
) -> dict[str, Any]:
    row: dict[str, Any] = {"feature_set": paper["feature_set"].iloc[0], "classifier": paper["classifier"].iloc[0]}
    row |= dict.fromkeys(("paper", "honest", "gap", "test_difference", "reason"))
    try:
        row["paper"], published = _judge(paper, patients, draws)
        if honest is None:
            return row
        row["honest"], cross_fitted = _judge(honest, patients, draws)
    except NotEstimableError as error:
        return row | {"reason": error.what}
    gap = {"value": row["paper"]["optimism"] - row["honest"]["optimism"],
           "ci95": compute_percentile_interval(published - cross_fitted)}
    return row | {"gap": gap, "test_difference": _compare_tests(paper, honest)}


def _judge(
    scores: pd.DataFrame, patients: pd.Index, draws: Draws
) -> tuple[dict[str, Any], Float[np.ndarray, " draw"]]:
    """One mode's figures, and its optimism in every draw. Raises: NotEstimableError where a part has one class."""
    is_test = scores["split"] == "test"
    parts = {"train": scores[scores["split"] == "train"], "val": scores[scores["split"] == "val"],
             "seen": scores[~is_test], "test": scores[is_test]}
    found: dict[str, Any] = {f"{name}_auc": _compute_auc(name, part) for name, part in parts.items()}
    drawn = {name: bootstrap_auc(draws, patients.get_indexer(pd.Index(parts[name][schema.PATIENT_ID])),
                                 parts[name]["score"]) for name in ("seen", "test")}
    optimism = drawn["seen"] - drawn["test"]
    found |= {"optimism": found["seen_auc"] - found["test_auc"], "ci95": compute_percentile_interval(optimism)}
    for name in ("seen", "test"):
        part = parts[name]
        confusion = compute_confusion(part["label"], part["score"] >= part["threshold"])
        found |= {f"{name}_{measure}": confusion.wilson(measure).value for measure in ("sens", "spec")}
    return found, optimism


def _compute_auc(name: str, rows: pd.DataFrame) -> float:
    try:
        return compute_auc(rows["label"], rows["score"])
    except NotEstimableError as error:
        raise NotEstimableError(f"{name} rows: {error.what}", error.where, error.mend) from error


def _compare_tests(paper: pd.DataFrame, honest: pd.DataFrame) -> dict[str, Any]:
    """AUC on the test patients in mode paper less that in mode honest."""
    tested = [scores[scores["split"] == "test"].set_index(schema.PATIENT_ID).sort_index() for scores in (paper, honest)]
    return describe_paired(tested[0]["label"], tested[0]["score"], tested[1]["score"])
