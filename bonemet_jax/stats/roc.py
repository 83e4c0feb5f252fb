"""Area under the ROC curve: DeLong's variance, interval and paired test, and the curve itself.

Sources: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837; midranks in O(n log n): Sun, Xu, IEEE Signal
Process Lett 21 (2014) 1389.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy import stats

from bonemet_jax.stats.estimable import NotEstimableError, check_binary, check_scored, check_vector


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
    positive, scores = check_scored(label, score)
    n_pos = int(positive.sum())
    ranks = stats.rankdata(scores)
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
    parts = _place(check_binary("label", label), score)
    auc, var = parts.auc, parts.compute_variance()
    half = stats.norm.ppf(0.975) * np.sqrt(var)
    return AucEstimate(auc, var, (float(max(auc - half, 0)), float(min(auc + half, 1))))


def compute_paired_delong(label: ArrayLike, score_a: ArrayLike, score_b: ArrayLike) -> PairedAuc:
    """Compare two AUCs on the same patients.

    Equal AUCs without variance, such as those of two perfect scores, have z 0 and p 1, as pROC's.
    Raises: NotEstimableError when a class has fewer than two patients, or the AUCs differ without variance.
    """
    positive = check_binary("label", label)
    a, b = _place(positive, score_a), _place(positive, score_b)
    contrast = _Placements(a.positive - b.positive, a.negative - b.negative)
    difference, se = a.auc - b.auc, float(np.sqrt(contrast.compute_variance()))
    if se == 0 and difference != 0:
        raise NotEstimableError(f"the AUCs differ by {difference:.3g}, for every patient alike: without variance", "",
                                "DeLong's test needs a variance; the permutation test does not")
    z, half = difference / se if se else 0.0, float(stats.norm.ppf(0.975)) * se
    return PairedAuc(a.auc, b.auc, difference, (difference - half, difference + half), z,
                     float(2 * stats.norm.sf(abs(z))))


@dataclass(frozen=True)
class _Placements:
    """DeLong's placements times the size of the other class, in halves: how many of it lie below (above), ties half.

    Kept in counts, which are exact, so that what does not vary has variance 0 to the last bit.
    """

    positive: Float[np.ndarray, " positive"]
    negative: Float[np.ndarray, " negative"]

    @property
    def auc(self) -> float:
        return float(self.positive.sum() / (self.positive.size * self.negative.size))

    def compute_variance(self) -> float:
        """Of the AUC, or of a difference where these are differences."""
        n_pos, n_neg = self.positive.size, self.negative.size
        of_positive = np.var(self.positive, ddof=1) / n_neg**2 / n_pos
        return float(of_positive + np.var(self.negative, ddof=1) / n_pos**2 / n_neg)


def _place(positive: Bool[np.ndarray, " patient"], score: ArrayLike) -> _Placements:
    """Raises: NotEstimableError for fewer than two patients of a class, or another number of scores."""
    scores = check_vector("score", score, positive.size)
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if min(n_pos, n_neg) < 2:
        raise NotEstimableError(f"{n_pos} positive and {n_neg} negative patients", "", "DeLong needs two of each")
    among_all = stats.rankdata(scores)
    below = among_all[positive] - stats.rankdata(scores[positive])
    above = n_pos - (among_all[~positive] - stats.rankdata(scores[~positive]))
    return _Placements(below, above)


def compute_roc_curve(
    label: ArrayLike, score: ArrayLike
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """False- and true-positive rates from (0, 0) to (1, 1), corners only. Raises: NotEstimableError for one class."""
    positive, values = check_scored(label, score)
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.diff(values[order]) != 0, True)
    tp = np.concatenate([[0], np.cumsum(positive[order])[last_of_tie]])
    fp = np.concatenate([[0], np.cumsum(~positive[order])[last_of_tie]])
    turns = np.diff(fp[1:]) * np.diff(tp[:-1]) != np.diff(fp[:-1]) * np.diff(tp[1:])
    corner = np.concatenate([[True], turns, [True]])
    return fp[corner] / fp[-1], tp[corner] / tp[-1]
