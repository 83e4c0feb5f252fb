"""SHAP values of the gradient boosting: what each feature adds to a patient's margin (log odds), exact for trees.

XGBoost computes them itself (`pred_contribs`). Source: Lundberg, Erion, Lee, "Consistent Individualized Feature
Attribution for Tree Ensembles", arXiv 1802.03888.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import xgboost
from jaxtyping import Float

from bonemet_jax.errors import InputDataError
from bonemet_jax.stats.cohort_results import label_encoded

#: Name of X1..Xn together.
IMAGING = "imaging"


class Contributions(NamedTuple):
    """Of one model, log odds."""

    names: tuple[str, ...]
    value: Float[np.ndarray, "patient feature"]
    """What each feature adds; with the bias they sum to the margin."""
    bias: Float[np.ndarray, " patient"]
    """The model's mean margin over the patients it was fitted on, the same for all."""


def compute_contributions(
    booster: xgboost.Booster, x: Float[np.ndarray, "patient feature"], names: Sequence[str]
) -> Contributions:
    """SHAP values of these patients.

    Args:
        booster: One fold's, of one feature set (`GradientBoosting.booster`).
        x: As it was fitted on (`FeatureSpace.make_matrix`), of the fold's test patients.
        names: Of the columns (`FeatureSpace.names`).

    Raises: InputDataError when the columns are not the booster's.
    """
    x = np.asarray(x)
    if x.ndim != 2 or not x.shape[1] == len(names) == booster.num_features():
        raise InputDataError(f"features have shape {x.shape}, names are {len(names)}, the gradient boosting knows "
                             f"{booster.num_features()}", "", "use the features that it was fitted on")
    found = booster.predict(xgboost.DMatrix(x), pred_contribs=True).astype(np.float64)
    return Contributions(tuple(names), found[:, :-1], found[:, -1])


def compute_mean_abs(contributions: Contributions) -> dict[str, float]:
    """Mean |SHAP| of each feature over patients, log odds."""
    means = np.abs(contributions.value).mean(axis=0)
    return dict(zip(contributions.names, means.tolist(), strict=True))


def group_features(contributions: Contributions, members: Collection[str], name: str) -> Contributions:
    """The same with some features as one, whose contribution is the sum of theirs; as it is when none is there."""
    inside = np.array([feature in members for feature in contributions.names], bool)
    if not inside.any():
        return contributions
    rest = tuple(feature for feature in contributions.names if feature not in members)
    together = contributions.value[:, inside].sum(axis=1, keepdims=True)
    return Contributions((*rest, name), np.hstack([contributions.value[:, ~inside], together]), contributions.bias)


def summarize_contributions(folds: Sequence[Contributions], imaging: Collection[str]) -> dict[str, Any]:
    """Mean |SHAP| over the test patients of all folds, largest first, and each fold's own; plain values.

    X1 of one fold is not X1 of another, so X1..Xn are pooled as one, their sum in each patient; fold by fold they stand
    alone. A column that a fold's screening left out adds nothing there.

    Args:
        folds: One feature set's, fold after fold.
        imaging: Names of X1..Xn (`schema.embedding_names`).
    """
    labels = label_encoded() | {IMAGING: "Network features together"}
    grouped = [group_features(fold, imaging, IMAGING) for fold in folds]
    own = [compute_mean_abs(fold) for fold in grouped]
    n = np.array([len(fold.bias) for fold in folds])
    names = dict.fromkeys(name for fold in grouped for name in fold.names)
    rows = [
        {"name": name, "label": labels.get(name, name), "mean_abs_folds": [means.get(name) for means in own],
         "mean_abs": float(np.dot([means.get(name, 0.0) for means in own], n) / n.sum())}
        for name in names
    ]
    return {
        "n_patients": int(n.sum()), "unit": "log odds", "rows": sorted(rows, key=lambda row: -row["mean_abs"]),
        "folds": [{"n": len(fold.bias), "features": _rank(compute_mean_abs(fold), labels)} for fold in folds],
        "notes": ["SHAP values of test patients, each by the model of the fold that holds the patient out.",
                  "X1..Xn of different folds are features of different networks: pooled, they are one, their sum in "
                  "each patient."],
    }  # fmt: skip


def _rank(means: dict[str, float], labels: dict[str, str]) -> list[dict[str, Any]]:
    """Largest first; equal ones as they came."""
    ranked = sorted(means.items(), key=lambda item: -item[1])
    return [{"name": name, "label": labels.get(name, name), "mean_abs": mean} for name, mean in ranked]
