"""A cut-off of one variable (row H4): learned by Youden's index, judged by sensitivity and specificity.

The paper finds metastasis at low SFI: positive means value < cut-off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bonemet_jax.stats.estimable import (
    NotEstimableError,
    check_binary,
    check_members,
    check_scored,
    check_vector,
    check_zeros_and_ones,
)
from bonemet_jax.stats.intervals import UNKNOWN, Proportion
from bonemet_jax.stats.threshold import compute_confusion, compute_operating_points


def learn_cutoff(label: ArrayLike, value: ArrayLike) -> float:
    """Cut-off with the largest sensitivity + specificity of `value < cutoff` (Youden); ties: the largest cut-off.

    It lies half-way between neighbouring values. Raises: NotEstimableError for one class, missing values, or when no
    cut-off does better than chance in this direction.
    """
    points = compute_operating_points(label, -check_vector("value", value))
    youden = np.round(points.sens + points.spec - 1, 12)
    best = int(np.argmax(youden))
    if youden[best] <= 0:
        raise NotEstimableError("no cut-off is better than chance", "", "low values are not commoner among positives")
    return float(-points.threshold[best])


def judge_cutoff(label: ArrayLike, value: ArrayLike, cutoff: float) -> tuple[Proportion, Proportion]:
    """Sensitivity and specificity of `value < cutoff`, with Wilson's intervals. Raises: NotEstimableError."""
    truth, values = check_scored(label, value, "value")
    confusion = compute_confusion(truth, values < cutoff)
    return confusion.wilson("sens"), confusion.wilson("spec")


@dataclass(frozen=True)
class HeldOutCutoff:
    """Cut-offs learned without the patients they are judged on: one a fold, decisions pooled over all folds."""

    cutoffs: tuple[float | None, ...]
    """None where a fold has none; then sensitivity and specificity are not known either."""
    sens: Proportion
    spec: Proportion


def learn_cutoff_held_out(
    label: ArrayLike, value: ArrayLike, test_fold: Sequence[int] | np.ndarray
) -> HeldOutCutoff:
    """Learn each fold's cut-off from the patients it does not test, and pool the decisions on those it does.

    Args:
        label: 0/1, one a patient.
        value: the variable, original scale.
        test_fold: the fold that tests each patient.

    Raises: NotEstimableError for labels of one class, and arrays of other shapes.

    No fold's cut-off, nor whether it has one, depends on the patients it tests.
    """
    truth = check_zeros_and_ones("label", label)
    values, fold = check_vector("value", value, truth.size), check_members("test_fold", test_fold, truth.size)
    if fold.size != truth.size or not fold.size:
        raise NotEstimableError(f"{fold.size} folds, {truth.size} labels", "", "one fold per patient, at least one")
    cutoffs = tuple(_learn_or_none(truth[fold != k], values[fold != k]) for k in range(int(fold.max()) + 1))
    if None in cutoffs:
        return HeldOutCutoff(cutoffs, UNKNOWN, UNKNOWN)
    confusion = compute_confusion(check_binary("label", truth), values < np.asarray(cutoffs, dtype=float)[fold])
    return HeldOutCutoff(cutoffs, confusion.wilson("sens"), confusion.wilson("spec"))


def _learn_or_none(label: np.ndarray, value: np.ndarray) -> float | None:
    try:
        return learn_cutoff(label, value)
    except NotEstimableError:
        return None
