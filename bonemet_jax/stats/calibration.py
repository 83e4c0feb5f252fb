"""Are predicted probabilities true? Intercept, slope, Brier score, calibration curve; and a map that mends scores.

Sources: intercept and slope: Cox, Biometrika 45 (1958) 562, as in Van Calster et al, BMC Med 17 (2019) 230; Brier
score: Brier, Mon Weather Rev 78 (1950) 1; scaled: Steyerberg et al, Epidemiology 21 (2010) 128; spline: Harrell,
Regression Modeling Strategies (2015), section 2.4; the map: Platt, Advances in Large Margin Classifiers (1999) 61.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy.special import expit

from bonemet_jax.errors import LeakageError
from bonemet_jax.stats.estimable import (
    NotEstimableError,
    check_binary,
    check_scored,
    check_vector,
    check_zeros_and_ones,
)
from bonemet_jax.stats.intervals import Z95, Proportion, compute_wilson
from bonemet_jax.stats.logistic import fit_logistic

#: A probability nearer to 0 or 1 is judged as if it stood there: its logit would be infinite. Counted in `n_clipped`.
EDGE = 1e-6
#: The same for a score that is to be mapped. A forest whose 200 trees all agree says exactly 0; that is no evidence
#: beyond one in a thousand, and nearer to 0 it would outweigh all other rows when the map is learned.
SCORE_EDGE = 1e-3
_MAX_GROUPS = 10
_MIN_GROUP = 20  # patients; fewer give intervals that say nothing
_KNOTS = (0.1, 0.5, 0.9)
_CURVE_POINTS = 60
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Estimate:
    """A coefficient with Wald's 95 % interval."""

    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class RiskGroup:
    """Patients of neighbouring predictions: their mean prediction, and the share with the event (Wilson)."""

    predicted: float
    observed: Proportion


@dataclass(frozen=True)
class CalibrationCurve:
    """Smoothed share of events by predicted probability, with a pointwise 95 % band."""

    predicted: Float[np.ndarray, " point"]
    observed: Float[np.ndarray, " point"]
    lower: Float[np.ndarray, " point"]
    upper: Float[np.ndarray, " point"]


@dataclass(frozen=True)
class Calibration:
    """Calibration of one set of predictions: ideal are intercept 0 and slope 1.

    `intercept` (slope held at 1): below 0, predictions are too high on average. `slope`: below 1, they are too extreme.
    `brier_scaled`: 1 - Brier / that of the prevalence as everyone's prediction; below 0 is worse than that.
    A part that cannot be computed is None, and `reason` says why.
    """

    intercept: Estimate
    slope: Estimate | None
    brier: float
    brier_scaled: float
    n_clipped: int
    groups: tuple[RiskGroup, ...]
    curve: CalibrationCurve | None
    reason: str | None


@dataclass(frozen=True)
class Recalibration:
    """logit P = intercept + slope x logit(score), scores kept SCORE_EDGE away from 0 and 1."""

    intercept: float
    slope: float

    def apply(self, score: ArrayLike) -> Float[np.ndarray, " row"]:
        """Probabilities of scores in [0, 1]. Raises: NotEstimableError for a score outside."""
        return expit(self.intercept + self.slope * compute_logit(score, SCORE_EDGE))


def compute_logit(probability: ArrayLike, edge: float = EDGE) -> Float[np.ndarray, " row"]:
    """log(p / (1 - p)), p kept `edge` away from 0 and 1. Raises: NotEstimableError for a value outside [0, 1]."""
    p = check_vector("probability", probability)
    if ((p < 0) | (p > 1)).any():
        raise NotEstimableError("a probability lies outside 0 to 1", "", "pass probabilities")
    p = p.clip(edge, 1 - edge)
    return np.log(p) - np.log1p(-p)


def fit_recalibration(label: ArrayLike, score: ArrayLike, splits: Collection[str]) -> Recalibration:
    """Learn to turn scores into probabilities by logistic regression on their logit (Platt).

    Args:
        label: 0/1.
        score: in [0, 1], such as a class-weighted classifier's.
        splits: each row's split.

    Raises: LeakageError when a row is a test row; NotEstimableError for one class, equal scores.
    """
    positive = check_binary("label", label)
    if len(splits) != positive.size or "test" in set(splits):
        raise LeakageError("test rows (or rows without a split) would reach the recalibration", "fit",
                           "pass train and validation rows alone, with the split of each")
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    # Platt's targets: finite even where the scores separate the classes, as over-fitted training scores do.
    target = np.where(positive, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))
    logit = compute_logit(check_vector("score", score, positive.size), SCORE_EDGE)
    _check_varies(logit)
    intercept, slope = fit_logistic(np.stack([np.ones(logit.size), logit], axis=1), target).coef
    return Recalibration(float(intercept), float(slope))


def compute_calibration(label: ArrayLike, probability: ArrayLike) -> Calibration:
    """Describe how predictions meet outcomes of independent patients.

    Args:
        label: 0/1, one a patient.
        probability: predicted, one a patient.

    Raises: NotEstimableError for one class, or a value that is no probability.
    """
    positive, p = check_scored(label, probability, "probability")
    logit = compute_logit(p)
    outcome, ones = positive.astype(float), np.ones((positive.size, 1))
    reasons: list[str] = []
    brier, prevalence = float(((p - outcome) ** 2).mean()), float(outcome.mean())
    return Calibration(
        intercept=_estimate(ones, outcome, 0, offset=logit),
        slope=_attempt(_fit_slope, outcome, logit, reasons),
        brier=brier,
        brier_scaled=1 - brier / (prevalence * (1 - prevalence)),
        n_clipped=int(((p < EDGE) | (p > 1 - EDGE)).sum()),
        groups=group_risks(positive, p),
        curve=_attempt(fit_curve, outcome, logit, reasons),
        reason="; ".join(dict.fromkeys(reasons)) or None,
    )


def _attempt(
    fit: Callable[[np.ndarray, np.ndarray], _Part], outcome: np.ndarray, logit: np.ndarray, reasons: list[str]
) -> _Part | None:
    try:
        return fit(outcome, logit)
    except NotEstimableError as error:
        reasons.append(error.what)
        return None


def _estimate(x: np.ndarray, outcome: np.ndarray, index: int, offset: np.ndarray | float = 0.0) -> Estimate:
    fit = fit_logistic(x, outcome, offset)
    value, half = float(fit.coef[index]), Z95 * float(np.sqrt(fit.covariance[index, index]))
    return Estimate(value, (value - half, value + half))


def _fit_slope(outcome: np.ndarray, logit: np.ndarray) -> Estimate:
    _check_varies(logit)
    return _estimate(np.stack([np.ones(logit.size), logit], axis=1), outcome, 1)


def _check_varies(logit: np.ndarray) -> None:
    if np.ptp(logit) < 1e-9:
        raise NotEstimableError("all predictions are equal", "", "a slope needs predictions that differ")


def group_risks(positive: Bool[np.ndarray, " patient"], probability: Float[np.ndarray, " patient"]
                ) -> tuple[RiskGroup, ...]:
    """Tenths by prediction (fewer of small cohorts: 20 patients each); equal predictions stay together.

    Raises: NotEstimableError for arrays of other lengths, or without patients.
    """
    positive = check_zeros_and_ones("positive", positive)
    probability = check_vector("probability", probability, positive.size)
    if not positive.size:
        raise NotEstimableError("no predictions", "", "groups need patients")
    n_groups = int(np.clip(positive.size // _MIN_GROUP, 1, _MAX_GROUPS))
    edges = np.unique(np.quantile(probability, np.arange(1, n_groups) / n_groups))
    group = np.searchsorted(edges, probability, side="left")  # an edge belongs to the group below it
    members = (group == k for k in np.unique(group))
    return tuple(
        RiskGroup(float(probability[m].mean()), compute_wilson(int(positive[m].sum()), int(m.sum()))) for m in members
    )


def fit_curve(outcome: Float[np.ndarray, " patient"], logit: Float[np.ndarray, " patient"]) -> CalibrationCurve:
    """Logistic regression on a restricted cubic spline of the logit, knots at its 10, 50 and 90 % quantiles.

    Raises: NotEstimableError where knots coincide or the spline separates the classes.
    """
    logit = check_vector("logit", logit)
    if not logit.size:
        raise NotEstimableError("no predictions", "", "a curve needs patients")
    knots = np.quantile(logit, _KNOTS)
    if np.diff(knots).min() < 1e-9:
        raise NotEstimableError("too few different predictions for a curve", "", "it needs three knots")
    fit = fit_logistic(_make_spline(logit, knots), outcome)
    grid = np.linspace(logit.min(), logit.max(), _CURVE_POINTS)
    basis = _make_spline(grid, knots)
    centre, half = basis @ fit.coef, Z95 * np.sqrt(np.einsum("pi,ij,pj->p", basis, fit.covariance, basis))
    return CalibrationCurve(expit(grid), expit(centre), expit(centre - half), expit(centre + half))


def _make_spline(x: Float[np.ndarray, " point"], knots: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "point 3"]:
    """Constant, x, and the one term that bends between the knots and is straight beyond them."""
    first, middle, last = (np.maximum(x - knot, 0) ** 3 for knot in knots)
    a, b, c = knots
    bend = (first - middle * (c - a) / (c - b) + last * (b - a) / (c - b)) / (c - a) ** 2
    return np.stack([np.ones(x.size), x, bend], axis=1)
