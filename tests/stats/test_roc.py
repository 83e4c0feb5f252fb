"""AUC against scikit-learn, DeLong against pROC."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.roc import compute_auc, compute_auc_delong, compute_paired_delong, compute_roc_curve
from bonemet_jax.stats.roc_results import describe_paired

SCORES = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=4, max_size=60)


@pytest.mark.parametrize("name", ["roc_a", "roc_small", "roc_ties"])
def test_proc(name: str, golden: Callable[[str], Any], golden_table: Callable[[str], pd.DataFrame]) -> None:
    table, wanted = golden_table(name), golden(name)
    for side in "ab":
        found = compute_auc_delong(table["label"], table[f"score_{side}"])
        assert found.auc == pytest.approx(wanted[f"auc_{side}"], abs=1e-9)
        assert found.ci95 == pytest.approx(wanted[f"ci95_delong_{side}"], abs=1e-9)
    assert compute_auc_delong(table["label"], table["score_a"]).var == pytest.approx(wanted["var_delong_a"], abs=1e-9)
    paired = compute_paired_delong(table["label"], table["score_a"], table["score_b"])
    assert paired.z == pytest.approx(wanted["paired_delong"]["z"], abs=1e-9)
    assert paired.p == pytest.approx(wanted["paired_delong"]["p"], abs=1e-9)


@settings(deadline=None, max_examples=100)
@given(SCORES)
def test_auc_is_scikit_learns_and_the_area_under_the_curve(rows: list[tuple[bool, int]]) -> None:
    label, score = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    if label.all() or not label.any():
        with pytest.raises(NotEstimableError):
            compute_auc(label, score)
        return
    auc = compute_auc(label, score)
    assert auc == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    fpr, tpr = compute_roc_curve(label, score)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auc, abs=1e-12)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_delong_is_symmetric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.arange(30) < 9
    a, b = rng.integers(0, 12, 30) + 2.0 * label, rng.normal(size=30)
    there, back = compute_paired_delong(label, a, b), compute_paired_delong(label, b, a)
    assert (there.z, there.difference) == pytest.approx((-back.z, -back.difference), abs=1e-12)
    assert there.p == pytest.approx(back.p, abs=1e-12)
    assert compute_auc_delong(~label, -a).var == pytest.approx(compute_auc_delong(label, a).var, abs=1e-12)


def test_no_answer_is_said() -> None:
    label = np.array([1, 0, 0, 0])
    with pytest.raises(NotEstimableError, match="1 positive and 3 negative"):
        compute_auc_delong(label, np.arange(4))
    with pytest.raises(NotEstimableError, match="missing"):
        compute_auc([1, 1, 0, 0], [0.1, np.nan, 0.3, 0.4])
    with pytest.raises(NotEstimableError, match="other than 0 and 1"):
        compute_auc([1, 2, 0, 0], np.arange(4))


@pytest.mark.parametrize(("a", "b"), [
    ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 8, 5, 6, 7]),  # two perfect scores that rank patients differently
    ([1, 2, 5, 4, 5, 6, 7], [3, 6, 15, 12, 15, 18, 21]),  # one score in two units
    ([1, 2, 5, 4, 5, 6, 7], [1, 2, 5, 4, 5, 6, 7]),  # twice the same
    ([7, 6, 5, 4, 3, 2, 1], [9, 8, 7, 3, 2, 1, 0]),  # two that are always wrong
    ([1, 1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2, 2]),  # two that say nothing
])
def test_equal_aucs_without_variance_are_compared_as_by_proc(a: list[float], b: list[float]) -> None:
    """pROC 1.18.0, roc.test(method = "delong", paired = TRUE): Z 0, p 1, interval [0, 0]."""
    found = compute_paired_delong([0, 0, 0, 1, 1, 1, 1], a, b)
    assert (found.difference, found.ci95, found.z, found.p) == (0, (0, 0), 0, 1)
    assert describe_paired([0, 0, 0, 1, 1, 1, 1], a, b)["reason"] is None


@pytest.mark.parametrize(("b", "difference"), [
    ([7, 6, 5, 4, 3, 2, 1], 1.0),  # perfect against always wrong
    ([1, 1, 1, 1, 1, 1, 1], 0.5),  # perfect against a constant
])
def test_aucs_that_differ_without_variance_have_a_true_reason(b: list[float], difference: float) -> None:
    label, a = [0, 0, 0, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6, 7]
    found = describe_paired(label, a, b)
    assert found["difference"] == difference and (found["z"], found["p"], found["ci95"]) == (None, None, None)
    assert found["reason"] == f"the AUCs differ by {difference:.3g}, for every patient alike: without variance"


def test_a_third_is_no_variance() -> None:
    """Placements of 1/3 have no exact mean in floating point: their variance is 0 all the same."""
    label = [0, 0, 0, 1, 1, 1]
    found = compute_paired_delong(label, [1, 2, 4, 3, 3, 3], [1, 2, 4, 3, 3, 3])
    assert (found.z, found.p) == (0, 1) and compute_auc_delong(label, [1, 2, 4, 3, 3, 3]).var > 0
