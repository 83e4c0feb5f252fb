"""SHAP values against Shapley's own formula over all subsets of features, and against the margin they add up to."""

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import xgboost

from bonemet_jax.errors import InputDataError
from bonemet_jax.fusion.classifiers import GradientBoosting
from bonemet_jax.fusion.contributions import (
    Contributions,
    compute_contributions,
    compute_mean_abs,
    group_features,
    summarize_contributions,
)

NAMES = ("lvi", "X1", "X2", "cea_ng_ml")


def _fit(seed: int) -> tuple[GradientBoosting, np.ndarray]:
    """A fitted gradient boosting, and twenty patients whom it has not seen; the outcome hangs on lvi and X1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(250, 4))
    label = (x[:, 0] + 0.7 * x[:, 1] + 0.5 * rng.normal(size=250) > 1.2).astype(int)
    return GradientBoosting().fit(x[:230], label[:230], seed=0), x[230:]


def _expect(nodes: dict[str, Any], node: str, x: np.ndarray, known: frozenset[int]) -> float:
    """What a tree gives on average when these features alone are known: others go both ways, by the patients there."""
    one = nodes[node]
    if one["Feature"] == "Leaf":
        return one["Gain"]
    feature = int(one["Feature"].removeprefix("f"))
    if feature in known:
        return _expect(nodes, one["Yes"] if x[feature] < one["Split"] else one["No"], x, known)
    parts = [(nodes[branch]["Cover"], _expect(nodes, branch, x, known)) for branch in (one["Yes"], one["No"])]
    return sum(cover * value for cover, value in parts) / sum(cover for cover, _ in parts)


def _compute_shapley(booster: xgboost.Booster, x: np.ndarray) -> np.ndarray:
    """Shapley (1953), term by term."""
    table = booster.trees_to_dataframe()
    trees = [{row["ID"]: row for row in rows.to_dict("records")} for _, rows in table.groupby("Tree")]

    def worth(known: frozenset[int]) -> float:
        return sum(_expect(nodes, next(iter(nodes)), x, known) for nodes in trees)

    n, found = len(x), np.zeros(len(x))
    for feature in range(n):
        others = [other for other in range(n) if other != feature]
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for known in map(frozenset, combinations(others, size)):
                found[feature] += weight * (worth(known | {feature}) - worth(known))
    return found


def test_values_are_shapleys() -> None:
    model, x = _fit(0)
    got = compute_contributions(model.booster, x, NAMES)
    for patient in (0, 7):
        np.testing.assert_allclose(got.value[patient], _compute_shapley(model.booster, x[patient]), atol=1e-5)


def test_values_and_bias_add_up_to_the_margin() -> None:
    model, x = _fit(1)
    got = compute_contributions(model.booster, x, NAMES)
    margin = model.booster.predict(xgboost.DMatrix(x), output_margin=True)
    np.testing.assert_allclose(got.value.sum(1) + got.bias, margin, atol=1e-5)
    assert got.value.shape == (20, 4) and np.ptp(got.bias) == 0 and got.names == NAMES
    means = compute_mean_abs(got)
    assert means["lvi"] == pytest.approx(np.abs(got.value[:, 0]).mean())
    assert means["lvi"] > means["X1"] > max(means["X2"], means["cea_ng_ml"])


def test_features_as_one_still_add_up() -> None:
    model, x = _fit(2)
    got = compute_contributions(model.booster, x, NAMES)
    one = group_features(got, ("X1", "X2", "X3"), "imaging")
    assert one.names == ("lvi", "cea_ng_ml", "imaging")
    np.testing.assert_array_equal(one.value[:, 2], got.value[:, 1] + got.value[:, 2])
    np.testing.assert_allclose(one.value.sum(1), got.value.sum(1))
    assert group_features(got, ("X9",), "imaging") is got


def test_folds_pool_patients_and_count_a_column_left_out_as_nothing() -> None:
    """By hand: two folds of one and three patients; the second's screening dropped lvi."""
    folds = [
        Contributions(("lvi", "X1", "X2"), np.array([[-2.0, 1.0, -0.5]]), np.zeros(1)),
        Contributions(("X1", "X2"), np.array([[1.0, 1.0], [-1.0, 1.0], [-3.0, 0.0]]), np.zeros(3)),
    ]
    summary = summarize_contributions(folds, ("X1", "X2"))
    assert summary["n_patients"] == 4 and [row["name"] for row in summary["rows"]] == ["imaging", "lvi"]
    imaging, lvi = summary["rows"]
    assert imaging["mean_abs_folds"] == [0.5, pytest.approx(5 / 3)]
    assert imaging["mean_abs"] == pytest.approx((0.5 + 2 + 0 + 3) / 4)
    assert lvi["mean_abs_folds"] == [2.0, None] and lvi["mean_abs"] == pytest.approx(0.5)
    assert lvi["label"] == "Lymphovascular invasion"
    assert [f["name"] for f in summary["folds"][0]["features"]] == ["lvi", "X1", "X2"]
    assert summary["folds"][1] == {"n": 3, "features": [
        {"name": "X1", "label": "X1", "mean_abs": pytest.approx(5 / 3)},
        {"name": "X2", "label": "X2", "mean_abs": pytest.approx(2 / 3)}]}


def test_other_columns_are_refused() -> None:
    model, x = _fit(0)
    for bad, names in ((x[:, :3], NAMES[:3]), (x, NAMES[:3]), (x[0], NAMES)):
        with pytest.raises(InputDataError, match="the gradient boosting knows 4"):
            compute_contributions(model.booster, bad, names)
