"""Patient-level bootstrap: whole patients are drawn, with all their rows, so repeated rows are not taken for evidence.

Draws are stratified by outcome (as pROC's): each class keeps its size. A draw is a weight per patient, a small integer,
so every model and measure of one set of patients shares the same draws. An AUC over all draws is one sweep up the
sorted rows with all draws side by side, in integers: exact, O(rows x draws), no matrix of pairs. (Measured beside the
matrix of pairs in BLAS, float64 and float32, and beside a gather with a cumulative sum, at 431 patients x 10,000
draws: 3.4 ms against 7.4, 3.3 and 30.)
Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval); bca.py has BCa.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

from bonemet_jax.stats.estimable import (
    NotEstimableError,
    check_binary,
    check_finite,
    check_members,
    check_numbers,
    check_vector,
)

_MIN_DEFINED = 0.95  # a share of draws without a value above 5 % leaves no interval
_DRAWN = 4_000_000  # numbers drawn at once: 32 MB an array
_CACHED = 60_000  # numbers summed at once: what a core's cache holds


@dataclass(frozen=True)
class Draws:
    """How often each draw takes each patient; kept patient by patient in memory, which a sweep reads in a row."""

    positive: Bool[np.ndarray, " patient"]
    weight: Int[np.ndarray, "draw patient"]


def draw_patients(label: ArrayLike, n_draws: int, seed: int) -> Draws:
    """Draw patients with replacement, each class on its own. Raises: NotEstimableError for one class."""
    positive = check_binary("label", label)
    rng = np.random.default_rng(seed)
    by_patient = np.empty((positive.size, n_draws), np.uint16)
    for members in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        for start, stop in _blocks(n_draws, members.size, _DRAWN):
            by_patient[members, start:stop] = _draw_counts(rng, stop - start, members.size).T
    small = by_patient.astype(np.min_scalar_type(int(by_patient.max(initial=0))))  # one byte, as a rule
    return Draws(positive, small.T)


def _blocks(n_draws: int, n: int, at_once: int) -> list[tuple[int, int]]:
    step = max(1, at_once // max(n, 1))
    return [(start, min(start + step, n_draws)) for start in range(0, n_draws, step)]


def _draw_counts(rng: np.random.Generator, n_draws: int, n: int) -> Int[np.ndarray, "draw member"]:
    taken = rng.integers(0, n, (n_draws, n)) + np.arange(n_draws)[:, None] * n
    return np.bincount(taken.ravel(), minlength=n_draws * n).reshape(n_draws, n)


def bootstrap_auc(draws: Draws, patient: ArrayLike, score: ArrayLike) -> Float[np.ndarray, " draw"]:
    """AUC over pooled rows in every draw, ties half; NaN where a draw holds no row of a class.

    Args:
        draws: of draw_patients, or any other weights.
        patient: each row's patient, an index into the draws.
        score: each row's score.

    Raises: NotEstimableError for a score that is missing, another number of them, or patients that were not drawn.
    """
    rows = check_members("patient", patient, draws.positive.size)
    scores = check_vector("score", score, rows.size)
    is_positive = draws.positive[rows]
    ties_lose, ties_win = np.lexsort((~is_positive, scores)), np.lexsort((is_positive, scores))
    won, pairs = _sweep(draws, rows[ties_lose])
    # The mean of both orders counts a tie as one half; without a tie between the classes they are one order.
    won = 2 * won if (ties_lose == ties_win).all() else won + _sweep(draws, rows[ties_win])[0]
    return np.divide(won / 2, pairs, out=np.full(won.size, np.nan), where=pairs > 0)


def _sweep(draws: Draws, rows: Int[np.ndarray, " row"]) -> tuple[Int[np.ndarray, " draw"], Int[np.ndarray, " draw"]]:
    """Pairs of a positive and a negative row before it, and all pairs, in every draw; rows in ascending order."""
    below, above, won = np.zeros((3, len(draws.weight)), np.int64)
    by_patient = draws.weight.T
    for row, is_positive in zip(rows.tolist(), draws.positive[rows].tolist(), strict=True):
        if is_positive:
            won += by_patient[row] * below
            above += by_patient[row]
        else:
            below += by_patient[row]
    return won, below * above


def bootstrap_fractions(
    draws: Draws, patient: ArrayLike, numerators: Bool[np.ndarray, "measure row"],
    denominators: Bool[np.ndarray, "measure row"],
) -> Float[np.ndarray, "measure draw"]:
    """Share of counted rows in every draw: sum of numerator over sum of denominator, NaN where nothing is counted.

    Raises: NotEstimableError for patients that were not drawn, or measures of another number of rows.
    """
    rows = check_members("patient", patient, draws.positive.size)
    tops, bottoms = check_finite("numerators", numerators, 2), check_finite("denominators", denominators, 2)
    n_measures = len(tops)
    if not tops.shape == bottoms.shape == (n_measures, rows.size):
        raise NotEstimableError(f"numerators have shape {tops.shape}, denominators {bottoms.shape}, wanted "
                                f"({n_measures}, {rows.size})", "", "one column per row")
    counted = np.zeros((draws.positive.size, 2 * n_measures))
    np.add.at(counted, rows, np.concatenate([tops, bottoms]).T)
    sums = sum_weighted(draws.weight, counted).T
    top, bottom = sums[:n_measures], sums[n_measures:]
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def sum_weighted(
    weight: Shaped[np.ndarray, "draw patient"], values: Float[np.ndarray, "patient column"]
) -> Float[np.ndarray, "draw column"]:
    """Sum over the patients of each draw, a block of draws at a time; in float32 where that is exact.

    Raises: NotEstimableError for values of other patients than those drawn.
    """
    values = check_finite("values", values, 2)
    if np.ndim(weight) != 2 or np.shape(weight)[1] != len(values):
        raise NotEstimableError(f"weights have shape {np.shape(weight)}, values {values.shape}", "",
                                "one row per patient")
    dtype = np.float32 if _is_exact_in_float32(weight, values) else np.float64
    used = values.astype(dtype)
    n_draws, n = weight.shape
    sums = [weight[start:stop].astype(dtype) @ used for start, stop in _blocks(n_draws, n, _CACHED)]
    return np.concatenate(sums).astype(float)


def _is_exact_in_float32(weight: np.ndarray, values: np.ndarray) -> bool:
    """Whole and half numbers add up without rounding, in any order, while no sum can reach 2^23."""
    largest = max(int(weight.max(initial=0)), -int(weight.min(initial=0)))
    return bool((2 * values == np.rint(2 * values)).all()) and largest * float(np.abs(values).sum(axis=0).max()) < 2**23


def compute_percentile_interval(values: Float[np.ndarray, " draw"]) -> tuple[float, float] | None:
    """2.5 and 97.5 % percentiles; None when too many draws have no value."""
    defined = keep_defined(values)
    if defined is None:
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def keep_defined(values: Float[np.ndarray, " draw"]) -> Float[np.ndarray, " defined"] | None:
    """The draws that have a value; None when too many have none. Raises: NotEstimableError for another shape."""
    values = check_numbers("values", values, 1)
    defined = values[np.isfinite(values)]
    return None if defined.size < max(_MIN_DEFINED * values.size, 1) else defined
