"""Calibration against scikit-learn, root finding and hand computation; a map learned without test rows."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from bonemet_jax.errors import LeakageError
from bonemet_jax.stats.calibration import (
    EDGE,
    SCORE_EDGE,
    compute_calibration,
    compute_logit,
    fit_curve,
    fit_recalibration,
    group_risks,
)
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.intervals import compute_wilson
from bonemet_jax.stats.logistic import fit_logistic


def _predictions(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are too high and too extreme: logit p = 0.8 + 1.6 x the true logit."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-2, 1, n)
    return (rng.random(n) < expit(true)).astype(int), expit(0.8 + 1.6 * true)


def _fit_sklearn(x: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=2000).fit(x[:, None], label, sample_weight=weight)
    return float(model.intercept_[0]), float(model.coef_[0, 0])


def test_slope_is_scikit_learns_with_walds_interval() -> None:
    label, p = _predictions()
    found = compute_calibration(label, p)
    constant, slope = _fit_sklearn(logit(p), label)
    assert found.slope is not None and found.slope.value == pytest.approx(slope, abs=1e-6)
    x = np.stack([np.ones(300), logit(p)], axis=1)
    fitted = expit(constant + slope * logit(p))
    se = np.sqrt(np.linalg.inv(x.T @ np.diag(fitted * (1 - fitted)) @ x)[1, 1])
    assert found.slope.ci95 == pytest.approx((slope - 1.959964 * se, slope + 1.959964 * se), abs=1e-5)
    many = compute_calibration(*_predictions(n=5000)).slope
    assert many is not None and many.ci95[0] < 1 / 1.6 < many.ci95[1] < 1, "too extreme"


def test_intercept_makes_predictions_right_on_average() -> None:
    label, p = _predictions()
    found = compute_calibration(label, p)
    wanted = brentq(lambda a: (label - expit(a + logit(p))).sum(), -10, 10, xtol=1e-14)
    fitted = expit(wanted + logit(p))
    half = 1.959964 / np.sqrt((fitted * (1 - fitted)).sum())
    assert found.intercept.value == pytest.approx(wanted, abs=1e-9)
    assert found.intercept.ci95 == pytest.approx((wanted - half, wanted + half), abs=1e-6)
    mended = compute_calibration(label, fitted)
    assert mended.intercept.value == pytest.approx(0, abs=1e-9) and fitted.mean() == pytest.approx(label.mean())


def test_brier_score_plain_and_scaled() -> None:
    label, p = _predictions()
    found = compute_calibration(label, p)
    assert found.brier == pytest.approx(brier_score_loss(label, p), abs=1e-14)
    reference = brier_score_loss(label, np.full(300, label.mean()))
    assert found.brier_scaled == pytest.approx(1 - found.brier / reference, abs=1e-12)
    constant = compute_calibration(label, np.full(300, label.mean()))
    assert constant.brier_scaled == pytest.approx(0, abs=1e-12) and constant.intercept.value == pytest.approx(0)
    assert constant.slope is None and constant.curve is None and "all predictions are equal" in str(constant.reason)


def test_true_probabilities_have_intercept_0_and_slope_1() -> None:
    """Coverage of both intervals on 200 sets of true probabilities."""
    covered = np.zeros(2)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p = expit(rng.normal(-1, 1, 400))
        found = compute_calibration(rng.random(400) < p, p)
        assert found.slope is not None
        covered += [found.intercept.ci95[0] <= 0 <= found.intercept.ci95[1],
                    found.slope.ci95[0] <= 1 <= found.slope.ci95[1]]
    assert (covered / 200 >= 0.91).all() and (covered / 200 <= 0.99).all()


def test_groups_are_tenths_that_keep_equal_predictions_together() -> None:
    label, p = _predictions(n=400)
    groups = group_risks(label == 1, p)
    order = np.argsort(p)
    for group, members in zip(groups, np.split(order, 10), strict=True):
        assert group.predicted == pytest.approx(p[members].mean())
        assert group.observed == compute_wilson(int(label[members].sum()), 40)
    tied = group_risks(np.arange(60) % 3 == 0, np.repeat([0.1, 0.2, 0.9], [40, 10, 10]))
    assert [g.predicted for g in tied] == pytest.approx([0.1, 0.55]) and [g.observed.n for g in tied] == [40, 20]
    assert [g.observed.n for g in group_risks(np.arange(19) < 5, np.linspace(0.1, 0.9, 19))] == [19]


def test_curve_is_the_line_where_the_line_is_true() -> None:
    """Targets on a straight line in the logit: the spline's bend is 0 and the curve that line."""
    x = np.linspace(-4, 1, 500)
    curve = fit_curve(expit(0.3 + 0.7 * x), x)
    assert curve.observed == pytest.approx(expit(0.3 + 0.7 * np.linspace(-4, 1, 60)), abs=1e-9)
    assert (curve.lower < curve.observed).all() and (curve.observed < curve.upper).all()
    label, p = _predictions(n=3000)
    bent = fit_curve(label.astype(float), logit(p))
    true = expit((logit(bent.predicted) - 0.8) / 1.6)
    inside = (bent.predicted > 0.02) & (bent.predicted < 0.6)
    assert np.abs(bent.observed - true)[inside].max() < 0.05


def test_map_is_platts_by_scikit_learn() -> None:
    """Platt's targets as weights: each row once as an event with its target, once without."""
    label, p = _predictions(n=200, seed=3)
    p = p.clip(SCORE_EDGE, 1 - SCORE_EDGE)
    n_pos = label.sum()
    target = np.where(label == 1, (n_pos + 1) / (n_pos + 2), 1 / (200 - n_pos + 2))
    constant, slope = _fit_sklearn(
        np.tile(logit(p), 2), np.repeat([1, 0], 200), np.concatenate([target, 1 - target]))
    found = fit_recalibration(label, p, ["train"] * 150 + ["val"] * 50)
    assert (found.intercept, found.slope) == pytest.approx((constant, slope), abs=1e-5)
    assert found.apply(p[:5]) == pytest.approx(expit(found.intercept + found.slope * logit(p[:5])))
    assert (np.diff(found.apply(np.linspace(0, 1, 50))) >= 0).all(), "ranks are kept"


def test_map_is_finite_where_training_scores_separate_the_classes() -> None:
    label = np.arange(40) < 10
    found = fit_recalibration(label, np.where(label, 0.99, 0.01), ["train"] * 40)
    assert np.isfinite([found.intercept, found.slope]).all() and found.slope > 0
    assert found.apply([0.99]) == pytest.approx(11 / 12) and found.apply([0.01]) == pytest.approx(1 / 32)


def test_scores_of_exactly_0_do_not_rule_the_map() -> None:
    """A tenth of the scores set to 0, as a forest may: the map is the one of 0.001, and no probability is 0."""
    label, p = _predictions(n=400, seed=1)
    lowest = np.argsort(p)[:40]
    zero, small = p.copy(), p.clip(SCORE_EDGE)
    zero[lowest], small[lowest] = 0.0, SCORE_EDGE
    found = fit_recalibration(label, zero, ["train"] * 400)
    assert found == fit_recalibration(label, small, ["train"] * 400)
    assert found.apply([0.0]) == found.apply([SCORE_EDGE]) and EDGE < found.apply([0.0]) < 0.01


def test_map_refuses_test_rows() -> None:
    label, p = _predictions(n=50)
    for splits in (["train"] * 49 + ["test"], ["train"] * 49):
        with pytest.raises(LeakageError, match="recalibration"):
            fit_recalibration(label, p, splits)


def test_no_answer_is_said() -> None:
    label = np.arange(30) < 10
    separated = compute_calibration(label, np.where(label, 0.7, 0.2) + np.linspace(0, 0.1, 30))
    assert separated.slope is None and "separate" in str(separated.reason) and separated.brier < 0.1
    edge = compute_calibration(label, np.where(np.arange(30) % 2 == 0, 0.0, np.linspace(0.2, 0.9, 30)))
    assert edge.n_clipped == 15 and np.isfinite(edge.intercept.value)
    assert compute_logit([0.0, 1.0]) == pytest.approx([logit(EDGE), -logit(EDGE)])
    with pytest.raises(NotEstimableError, match="outside 0 to 1"):
        compute_calibration(label, np.linspace(0, 1.1, 30))
    with pytest.raises(NotEstimableError, match="only one class"):
        compute_calibration(np.ones(5), np.linspace(0, 1, 5))
    with pytest.raises(NotEstimableError, match="all predictions are equal"):
        fit_recalibration(label, np.full(30, 0.4), ["train"] * 30)
    with pytest.raises(NotEstimableError, match="collinear"):
        fit_logistic(np.ones((30, 2)), label.astype(float))
