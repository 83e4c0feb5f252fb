"""The decision threshold (row G2) and what the decisions are worth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from bonemet_jax.stats.estimable import NotEstimableError, check_scored, check_zeros_and_ones
from bonemet_jax.stats.intervals import Proportion, compute_wilson

#: Measures of a confusion table, in the order they are shown.
MEASURES = ("acc", "sens", "spec", "ppv", "npv")


@dataclass(frozen=True)
class Operating:
    """Sensitivity and specificity at each candidate threshold (decision = score >= threshold)."""

    threshold: Float[np.ndarray, " candidate"]
    sens: Float[np.ndarray, " candidate"]
    spec: Float[np.ndarray, " candidate"]


def compute_operating_points(label: ArrayLike, score: ArrayLike) -> Operating:
    """Every distinct decision: candidates lie half-way between neighbouring scores, and at the lowest score.

    Half-way, so that rounding a score (float32, a file) changes no decision.
    Raises: NotEstimableError for one class or a missing score.
    """
    positive, scores = check_scored(label, score)
    values, place = np.unique(scores, return_inverse=True)
    n_pos = np.bincount(place, weights=positive, minlength=values.size)
    n_neg = np.bincount(place, weights=~positive, minlength=values.size)
    middle = values[:-1] + np.diff(values) / 2
    threshold = np.concatenate([values[:1], np.where(middle > values[:-1], middle, values[1:])])
    below_pos = np.concatenate([[0], np.cumsum(n_pos)[:-1]])
    below_neg = np.concatenate([[0], np.cumsum(n_neg)[:-1]])
    return Operating(threshold, 1 - below_pos / n_pos.sum(), below_neg / n_neg.sum())


def choose_balanced_threshold(label: ArrayLike, score: ArrayLike) -> float:
    """Threshold with the smallest |sensitivity - specificity|; decide positive where score >= threshold (row G2).

    Pass train and validation rows, never test rows. Ties: the larger sensitivity + specificity, then the lower
    threshold. All scores equal: that score (everyone positive).

    Raises: NotEstimableError for one class or a missing score.
    """
    points = compute_operating_points(label, score)
    gap = np.round(np.abs(points.sens - points.spec), 12)  # so that equal fractions tie
    worth = np.round(points.sens + points.spec, 12)
    return float(points.threshold[np.lexsort((points.threshold, -worth, gap))[0]])


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions against labels."""

    tp: int
    fp: int
    fn: int
    tn: int

    def fraction(self, measure: str) -> tuple[int, int]:
        """Numerator and denominator of one of MEASURES."""
        return {
            "acc": (self.tp + self.tn, self.tp + self.fp + self.fn + self.tn),
            "sens": (self.tp, self.tp + self.fn),
            "spec": (self.tn, self.tn + self.fp),
            "ppv": (self.tp, self.tp + self.fp),
            "npv": (self.tn, self.tn + self.fn),
        }[measure]

    def wilson(self, measure: str) -> Proportion:
        """The measure with Wilson's interval: for independent patients only."""
        return compute_wilson(*self.fraction(measure))


def compute_confusion(label: ArrayLike, decision: ArrayLike) -> Confusion:
    """Count decisions (booleans) against labels (0/1). Raises: NotEstimableError for others, or of other lengths."""
    truth, said = check_zeros_and_ones("label", label), check_zeros_and_ones("decision", decision)
    if truth.size != said.size:
        raise NotEstimableError(f"{truth.size} labels, {said.size} decisions", "", "one decision per label")
    return Confusion(int((truth & said).sum()), int((~truth & said).sum()),
                     int((truth & ~said).sum()), int((~truth & ~said).sum()))
