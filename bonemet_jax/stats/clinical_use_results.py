"""calibration.json and decision_curve.json: every model's test probabilities, as they are and recalibrated.

Classifiers weigh both classes alike, so their scores lie far above the risk. For each fold a map from score to
probability is learned on the fold's train and validation rows and applied to its test rows, which it never saw.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import schema
from bonemet_jax.stats.bootstrap import Draws, draw_patients
from bonemet_jax.stats.calibration import compute_calibration, fit_recalibration
from bonemet_jax.stats.decision_curve import THRESHOLDS, compute_decision_curve, compute_treat_all
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.roc_results import N_DRAWS, order_rows

_CALIBRATION_NOTES = (
    "Pooled test rows, each patient once. Raw: the model's score taken for a probability; classifiers weigh both "
    "classes alike, so it is meant to lie far too high. Recalibrated: by logistic regression on the score's logit "
    "(Platt), learned for each fold on its train and validation rows.",
    "A classifier has seen its training rows: its scores there are more extreme than on new patients, so the map tends "
    "to make test predictions too extreme (slope below 1).",
    "Intercept 0 and slope 1 are ideal. Intercept, slope at 1: below 0, predictions are too high on average. Slope: "
    "below 1, too extreme. Scaled Brier: share of the prevalence's own Brier score that is saved; below 0, none.",
    "Groups: tenths by prediction, observed share with Wilson's interval. Curve: logistic regression on a restricted "
    "cubic spline of the logit, three knots, pointwise 95 % band.",
)
_DECISION_NOTES = (
    "Net benefit of treating where the recalibrated probability is at least the threshold: true positives less "
    "false positives weighed by threshold / (1 - threshold), a patient. Treating none is worth 0.",
    "Bands: pointwise 2.5 and 97.5 % of a patient-level bootstrap stratified by outcome; the prevalence is held.",
    "The prevalence is the cohort's own; where another one holds, so do other curves.",
)


def recalibrate_test_rows(table: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, float | int]]]:
    """One model's test rows with a column `probability`, and each fold's map.

    Args:
        table: all rows of one model (columns of scores.parquet).

    Raises: NotEstimableError where a fold's map cannot be learned.
    """
    tested, maps = [], []
    for fold, rows in table.groupby("fold"):
        seen, test = rows[rows["split"] != "test"], rows[rows["split"] == "test"]
        try:
            mend = fit_recalibration(seen["label"], seen["score"], seen["split"].tolist())
        except NotEstimableError as error:
            raise NotEstimableError(f"recalibration in fold {fold}: {error.what}", error.where, error.mend) from error
        tested.append(test.assign(probability=mend.apply(test["score"])))
        maps.append({"fold": int(str(fold)), "intercept": mend.intercept, "slope": mend.slope})
    return pd.concat(tested).sort_values(schema.PATIENT_ID), maps


def compute_calibration_results(scores: pd.DataFrame) -> dict[str, Any]:
    """Calibration of every model's test rows, raw and recalibrated.

    Args:
        scores: rows of scores.parquet (docs/contracts.md), the network's included.
    """
    rows = [name | _calibrate(table) for name, table in _list_models(scores)]
    return make_plain({"split": "test", "notes": _CALIBRATION_NOTES, "rows": rows})


def _list_models(scores: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Feature set and classifier, and all rows of that model, in the order to show."""
    groups = {key: table for key, table in scores.groupby(["feature_set", "classifier"], sort=False)}
    named = [{"feature_set": f, "classifier": c, "split": "test"} for f, c in groups]
    for name in sorted(named, key=order_rows):
        yield name, groups[name["feature_set"], name["classifier"]]


def _calibrate(table: pd.DataFrame) -> dict[str, Any]:
    test = table[table["split"] == "test"]
    found: dict[str, Any] = {
        "n_patients": len(test), "n_positive": int(test["label"].sum()), "maps": [], "raw": None, "recalibrated": None,
        "reason": None,
    }
    try:
        found["raw"] = compute_calibration(test["label"], test["score"])
        mended, found["maps"] = recalibrate_test_rows(table)
        found["recalibrated"] = compute_calibration(mended["label"], mended["probability"])
    except NotEstimableError as error:
        found["reason"] = error.what
    return found


def compute_decision_results(scores: pd.DataFrame, n_draws: int = N_DRAWS, seed: int = 0) -> dict[str, Any]:
    """Decision curves of every model's recalibrated test probabilities; all models share the draws.

    Args:
        scores: rows of scores.parquet (docs/contracts.md), the network's included.
        n_draws: bootstrap draws of the bands.
        seed: of the draws.
    """
    test = scores[scores["split"] == "test"].drop_duplicates(schema.PATIENT_ID).sort_values(schema.PATIENT_ID)
    label = test["label"].to_numpy()
    prevalence = float(label.mean())
    found: dict[str, Any] = {
        "split": "test", "n_patients": len(label), "n_positive": int(label.sum()), "prevalence": prevalence,
        "n_bootstrap": n_draws, "thresholds": THRESHOLDS, "treat_all": None, "treat_all_standardised": None,
        "rows": [], "reason": None, "notes": _DECISION_NOTES,
    }
    try:
        draws, everyone = draw_patients(label, n_draws, seed), compute_treat_all(label)
    except NotEstimableError as error:
        return make_plain(found | {"reason": error.what})
    found |= {"treat_all": everyone, "treat_all_standardised": everyone / prevalence}
    for name, table in _list_models(scores):
        found["rows"].append(name | _describe_curve(table, test[schema.PATIENT_ID], draws, prevalence))
    return make_plain(found)


def _describe_curve(table: pd.DataFrame, patients: pd.Series, draws: Draws, prevalence: float) -> dict[str, Any]:
    names = ("net_benefit", "lower", "upper")
    found: dict[str, Any] = dict.fromkeys((*names, *(f"{name}_standardised" for name in names), "reason"))
    try:
        mended = recalibrate_test_rows(table)[0]
        if mended[schema.PATIENT_ID].tolist() != patients.tolist():
            raise NotEstimableError("the model did not test every patient", "", "fuse again")
        curve = compute_decision_curve(draws, mended["probability"])
    except NotEstimableError as error:
        return found | {"reason": error.what}
    values = {name: np.asarray(getattr(curve, name)) for name in names}
    return found | values | {f"{name}_standardised": value / prevalence for name, value in values.items()}
