"""Area under the ROC curve: DeLong's variance, interval and paired test, and the curve itself.

Sources: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837; midranks in O(n log n): Sun, Xu, IEEE Signal
Process Lett 21 (2014) 1389.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats

from bonemet_jax.stats.estimable import NotEstimableError, check_binary, check_finite


@dataclass(frozen=True)
class AucEstimate:
    """AUC with DeLong's variance and 95 % interval, cut to [0, 1]."""

    auc: float
    var: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class PairedAuc:
    """Difference auc_a - auc_b of two scores on the same patients, DeLong's 95 % interval, z and two-sided p."""

    auc_a: float
    auc_b: float
    difference: float
    ci95: tuple[float, float]
    z: float
    p: float


def compute_auc(label: ArrayLike, score: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties half. Raises: NotEstimableError for one class."""
    positive = check_binary("label", label)
    n_pos = int(positive.sum())
    ranks = stats.rankdata(check_finite("score", score))
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * (positive.size - n_pos)))


def compute_auc_or_none(label: ArrayLike, score: ArrayLike) -> float | None:
    """`compute_auc`, None where it cannot be had."""
    try:
        return compute_auc(label, score)
    except NotEstimableError:
        return None


def compute_auc_delong(label: ArrayLike, score: ArrayLike) -> AucEstimate:
    """AUC with DeLong's variance and 95 % interval (row H3).

    Args:
        label: 0/1, one an independent patient.
        score: higher means more likely positive.

    Raises: NotEstimableError when a class has fewer than two patients.
    """
    auc, covariance = _compute_covariance(label, np.asarray(score)[None])
    var = float(covariance[0, 0])
    half = stats.norm.ppf(0.975) * np.sqrt(var)
    return AucEstimate(float(auc[0]), var, (float(max(auc[0] - half, 0)), float(min(auc[0] + half, 1))))


def compute_paired_delong(label: ArrayLike, score_a: ArrayLike, score_b: ArrayLike) -> PairedAuc:
    """Compare two AUCs on the same patients.

    Raises: NotEstimableError when a class has fewer than two patients or the two scores rank alike (variance 0).
    """
    auc, covariance = _compute_covariance(label, np.stack([np.asarray(score_a), np.asarray(score_b)]))
    contrast = np.array([1.0, -1.0])
    se = float(np.sqrt(max(contrast @ covariance @ contrast, 0.0)))
    difference = float(auc[0] - auc[1])
    if se < 1e-12:
        raise NotEstimableError("the two scores rank patients alike", "", "a paired test needs a difference")
    z, half = difference / se, float(stats.norm.ppf(0.975)) * se
    return PairedAuc(float(auc[0]), float(auc[1]), difference, (difference - half, difference + half), z,
                     float(2 * stats.norm.sf(abs(z))))


def _compute_covariance(
    label: ArrayLike, scores: Float[np.ndarray, "model patient"]
) -> tuple[Float[np.ndarray, " model"], Float[np.ndarray, "model model"]]:
    """AUCs and their covariance over the same patients."""
    positive = check_binary("label", label)
    scores = check_finite("score", scores)
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if min(n_pos, n_neg) < 2:
        raise NotEstimableError(f"{n_pos} positive and {n_neg} negative patients", "", "DeLong needs two of each")
    among_all = stats.rankdata(scores, axis=1)
    above_neg = (among_all[:, positive] - stats.rankdata(scores[:, positive], axis=1)) / n_neg
    above_pos = 1 - (among_all[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)) / n_pos
    covariance = np.cov(above_neg) / n_pos + np.cov(above_pos) / n_neg
    return above_neg.mean(axis=1), np.atleast_2d(covariance)


def compute_roc_curve(
    label: ArrayLike, score: ArrayLike
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """False- and true-positive rates from (0, 0) to (1, 1), corners only. Raises: NotEstimableError for one class."""
    positive = check_binary("label", label)
    values = check_finite("score", score)
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.diff(values[order]) != 0, True)
    tp = np.concatenate([[0], np.cumsum(positive[order])[last_of_tie]])
    fp = np.concatenate([[0], np.cumsum(~positive[order])[last_of_tie]])
    turns = np.diff(fp[1:]) * np.diff(tp[:-1]) != np.diff(fp[:-1]) * np.diff(tp[1:])
    corner = np.concatenate([[True], turns, [True]])
    return fp[corner] / fp[-1], tp[corner] / tp[-1]
