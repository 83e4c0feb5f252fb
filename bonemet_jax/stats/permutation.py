"""Permutation tests of an AUC and of the difference of two, all permutations at once; p = (1 + count) / (1 + draws).

Both are two-sided, and hold the models fixed: what training on these labels did to the scores is not undone.
Sources: p values that are never 0: Phipson, Smyth, Stat Appl Genet Mol Biol 9 (2010) 39; swapping ranks within a
patient: Bandos, Rockette, Gur, Stat Med 24 (2005) 2873, after Venkatraman, Begg, Biometrika 83 (1996) 835.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy import stats

from bonemet_jax.stats.bootstrap import sum_weighted
from bonemet_jax.stats.estimable import check_binary, check_members, check_scored, check_vector

_SLACK = 1e-9  # a permutation that equals the data but for rounding counts as equally extreme


def permute_labels(label: ArrayLike, n_draws: int, seed: int) -> Bool[np.ndarray, "draw patient"]:
    """Labels dealt anew between the patients; the first row is the data's own. Raises: NotEstimableError, one class."""
    positive = check_binary("label", label)
    dealt = np.repeat(positive[None], n_draws + 1, axis=0)
    np.random.default_rng(seed).permuted(dealt[1:], axis=1, out=dealt[1:])
    return dealt


def compute_auc_permutation_p(
    permuted: Bool[np.ndarray, "draw patient"], patient: ArrayLike, score: ArrayLike
) -> float:
    """Two-sided p of an AUC against 1/2.

    Null hypothesis: labels are exchangeable between patients, whatever their scores; a patient's rows move together.

    Args:
        permuted: of permute_labels.
        patient: each row's patient, an index into the labels.
        score: each row's score.

    Raises: NotEstimableError for a score that is missing, another number of them, or patients without a label.
    """
    n = permuted.shape[1]
    rows = check_members("patient", patient, n)
    rank = stats.rankdata(check_vector("score", score, rows.size))
    # Rank sums of the positive rows, and how many those are: the Mann-Whitney form of the AUC.
    of_patient = np.stack([np.bincount(rows, rank, n), np.bincount(rows, minlength=n)], axis=1)
    rank_sum, n_pos = sum_weighted(permuted, of_patient).T
    won, pairs = rank_sum - n_pos * (n_pos + 1) / 2, n_pos * (rows.size - n_pos)
    # A permutation without a pair, where some patients have no row, counts as extreme.
    return _compute_p(np.divide(won, pairs, out=np.full(won.size, np.inf), where=pairs > 0) - 0.5)


def compute_paired_permutation_p(
    label: ArrayLike, score_a: ArrayLike, score_b: ArrayLike, n_draws: int, seed: int
) -> float:
    """Two-sided p of the difference of two AUCs on the same patients.

    Null hypothesis: given the outcome, a patient's two ranks (among all patients, one by each score) are exchangeable.
    It implies equal AUCs, and more: two scores of equal AUC whose ROC curves cross do not fulfil it.

    Raises: NotEstimableError for one class or a missing score.
    """
    positive = check_binary("label", label)
    influence = compute_swap_influence(positive, score_a, score_b)
    swap = np.random.default_rng(seed).integers(0, 2, (n_draws + 1, positive.size), dtype=np.int8)
    swap[0] = 0
    return _compute_p(sum_weighted(1 - 2 * swap, influence[:, None])[:, 0])


def compute_swap_influence(
    positive: Bool[np.ndarray, " patient"], score_a: ArrayLike, score_b: ArrayLike
) -> Float[np.ndarray, " patient"]:
    """What each patient adds to the difference of the AUCs; a swapped patient takes as much away.

    Write a swap as t = -1, else 1. The difference is odd in t and every pair of patients enters by the product of two
    factors (1 +- t), so the terms t_i t_j cancel and a sum over patients of t times this is left, exactly.

    Raises: NotEstimableError for one class or a missing score.
    """
    positive, a = check_scored(positive, score_a)
    rank_a, rank_b = stats.rankdata(a), stats.rankdata(check_vector("score", score_b, positive.size))
    influence = np.empty(positive.size)
    for members, others, sign in ((positive, ~positive, 1), (~positive, positive, -1)):
        among = np.sort(np.concatenate([rank_a[others], rank_b[others]]))
        influence[members] = sign * (_count_below(rank_a[members], among) - _count_below(rank_b[members], among))
    return influence / (2 * positive.sum() * (~positive).sum())


def _count_below(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How many of the sorted `among` lie below each value, ties half."""
    return (np.searchsorted(among, values) + np.searchsorted(among, values, side="right")) / 2


def _compute_p(deviation: Float[np.ndarray, " draw"]) -> float:
    """Share of permutations at least as far from 0 as the data, which stand first and count themselves."""
    extreme = np.abs(deviation)
    return float((extreme >= extreme[0] - _SLACK).mean())
