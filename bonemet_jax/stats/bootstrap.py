"""Patient-level bootstrap: whole patients are drawn, with all their rows, so repeated rows are not taken for evidence.

Draws are stratified by outcome (as pROC's): each class keeps its size. A draw is a weight per patient, so every model
and measure of one set of patients shares the same draws, and an AUC over all draws is two matrix products.
Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from bonemet_jax.stats.estimable import check_binary, check_finite

_MIN_DEFINED = 0.95  # a share of draws without a value above 5 % leaves no interval


@dataclass(frozen=True)
class Draws:
    """How often each draw takes each patient."""

    positive: Bool[np.ndarray, " patient"]
    weight: Float[np.ndarray, "draw patient"]


def draw_patients(label: ArrayLike, n_draws: int, seed: int) -> Draws:
    """Draw patients with replacement, each class on its own. Raises: NotEstimableError for one class."""
    positive = check_binary("label", label)
    rng = np.random.default_rng(seed)
    weight = np.empty((n_draws, positive.size))
    for members in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        weight[:, members] = _draw_counts(rng, n_draws, members.size)
    return Draws(positive, weight)


def _draw_counts(rng: np.random.Generator, n_draws: int, n: int) -> Int[np.ndarray, "draw member"]:
    taken = rng.integers(0, n, (n_draws, n)) + np.arange(n_draws)[:, None] * n
    return np.bincount(taken.ravel(), minlength=n_draws * n).reshape(n_draws, n)


def bootstrap_auc(draws: Draws, patient: ArrayLike, score: ArrayLike) -> Float[np.ndarray, " draw"]:
    """AUC over pooled rows in every draw.

    Args:
        draws: of draw_patients.
        patient: each row's patient, an index into the draws.
        score: each row's score.
    """
    rows, scores = np.asarray(patient), check_finite("score", score)
    is_positive = draws.positive[rows]
    wins = _count_wins(scores[is_positive], scores[~is_positive])
    rows_pos, rows_neg = rows[is_positive], rows[~is_positive]
    pos, place_pos = np.unique(rows_pos, return_inverse=True)
    neg, place_neg = np.unique(rows_neg, return_inverse=True)
    by_patient = np.zeros((pos.size, neg.size))
    np.add.at(by_patient, (place_pos[:, None], place_neg[None, :]), wins)
    weight_pos, weight_neg = draws.weight[:, pos], draws.weight[:, neg]
    pairs = (weight_pos @ np.bincount(place_pos)) * (weight_neg @ np.bincount(place_neg))
    won = np.einsum("dn,dn->d", weight_pos @ by_patient, weight_neg)
    return np.divide(won, pairs, out=np.full(won.size, np.nan), where=pairs > 0)


def _count_wins(above: np.ndarray, below: np.ndarray) -> Float[np.ndarray, "positive negative"]:
    """1 where the positive row scores higher, one half where both score alike."""
    return (above[:, None] > below) + 0.5 * (above[:, None] == below)


def bootstrap_fractions(
    draws: Draws, patient: ArrayLike, numerators: Bool[np.ndarray, "measure row"],
    denominators: Bool[np.ndarray, "measure row"],
) -> Float[np.ndarray, "measure draw"]:
    """Share of counted rows in every draw: sum of numerator over sum of denominator, NaN where nothing is counted."""
    rows, n_measures = np.asarray(patient), len(numerators)
    counted = np.zeros((draws.positive.size, 2 * n_measures))
    np.add.at(counted, rows, np.concatenate([numerators, denominators]).T.astype(float))
    sums = (draws.weight @ counted).T
    top, bottom = sums[:n_measures], sums[n_measures:]
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def compute_percentile_interval(values: Float[np.ndarray, " draw"]) -> tuple[float, float] | None:
    """2.5 and 97.5 % percentiles; None when too many draws have no value."""
    defined = values[np.isfinite(values)]
    if defined.size < max(_MIN_DEFINED * values.size, 1):
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)
