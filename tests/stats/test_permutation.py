"""Permutation tests against loops that permute, and against every permutation of a tiny table."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.permutation import (
    compute_auc_permutation_p,
    compute_paired_permutation_p,
    compute_swap_influence,
    permute_labels,
)
from bonemet_jax.stats.roc import compute_paired_delong


def test_labels_are_dealt_between_patients() -> None:
    label = np.arange(30) < 8
    dealt = permute_labels(label, 200, seed=0)
    assert (dealt[0] == label).all() and (dealt.sum(axis=1) == 8).all()
    assert len(np.unique(dealt, axis=0)) > 190 and (permute_labels(label, 200, seed=0) == dealt).all()
    with pytest.raises(NotEstimableError, match="one class"):
        permute_labels(np.ones(4), 10, seed=0)


def test_every_permutation_is_an_auc_of_its_labels() -> None:
    """Patients of one, two or three rows, with ties: p counted by a loop over scikit-learn's AUC."""
    rng = np.random.default_rng(0)
    label = np.arange(30) < 9
    patient = np.concatenate([np.arange(30), rng.integers(0, 30, 20)])
    score = np.round(rng.normal(size=50) + 0.6 * label[patient], 1)
    dealt = permute_labels(label, 199, seed=4)
    deviation = np.abs([roc_auc_score(row[patient], score) - 0.5 for row in dealt])
    wanted = (1 + (deviation[1:] >= deviation[0] - 1e-9).sum()) / 200
    assert compute_auc_permutation_p(dealt, patient, score) == wanted


def test_label_permutation_is_the_exact_rank_sum_test() -> None:
    """All 252 ways to deal five labels among ten patients: the exact two-sided Mann-Whitney p."""
    rng = np.random.default_rng(2)
    label = np.arange(10) < 5
    score = rng.normal(size=10) + 0.9 * label
    every = np.array([np.isin(np.arange(10), chosen) for chosen in itertools.combinations(range(10), 5)])
    every = every[np.argsort((every != label).sum(axis=1), kind="stable")]  # the data's own labels first
    exact = stats.mannwhitneyu(score[label], score[~label], method="exact").pvalue
    assert compute_auc_permutation_p(every, np.arange(10), score) == pytest.approx(exact, abs=1e-12)


def _swap_by_hand(label: np.ndarray, a: np.ndarray, b: np.ndarray, swap: np.ndarray) -> float:
    rank_a, rank_b = stats.rankdata(a), stats.rankdata(b)
    first, second = np.where(swap, rank_b, rank_a), np.where(swap, rank_a, rank_b)
    return roc_auc_score(label, first) - roc_auc_score(label, second)


def test_difference_of_swapped_ranks_is_a_sum_over_patients() -> None:
    rng = np.random.default_rng(5)
    label = np.arange(25) < 7
    a, b = np.round(rng.normal(size=25) + label, 1), 7 * np.round(rng.normal(size=25), 1)
    influence = compute_swap_influence(label, a, b)
    assert influence.sum() == pytest.approx(compute_paired_delong(label, a, b).difference, abs=1e-12)
    for _ in range(40):
        swap = rng.random(25) < 0.5
        assert (1 - 2 * swap) @ influence == pytest.approx(_swap_by_hand(label, a, b, swap), abs=1e-12)


def test_paired_p_is_that_of_all_swaps() -> None:
    """All 256 swaps of eight patients, counted; 40,000 draws come within four standard errors."""
    rng = np.random.default_rng(8)
    label = np.arange(8) < 3
    a, b = rng.normal(size=8) + 1.5 * label, rng.normal(size=8)
    every = np.array([_swap_by_hand(label, a, b, np.array(s)) for s in itertools.product([False, True], repeat=8)])
    exact = (np.abs(every) >= abs(every[0]) - 1e-9).mean()
    found = compute_paired_permutation_p(label, a, b, 40_000, seed=0)
    assert abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 40_000) + 1e-4
    assert compute_paired_permutation_p(label, b, a, 40_000, seed=0) == found


def test_p_is_never_zero_and_uniform_under_the_null() -> None:
    label = np.arange(60) < 20
    separated = compute_auc_permutation_p(permute_labels(label, 999, 0), np.arange(60), label.astype(float))
    assert separated == 1 / 1000
    rng = np.random.default_rng(1)
    p = [compute_auc_permutation_p(permute_labels(label, 199, s), np.arange(60), rng.normal(size=60))
         for s in range(200)]
    paired = [compute_paired_permutation_p(label, *(rng.normal(size=(2, 60)) + label), 199, s) for s in range(200)]
    for values in (p, paired):
        assert stats.kstest(values, "uniform").pvalue > 0.01


def test_paired_p_agrees_with_delong_on_a_large_sample() -> None:
    rng = np.random.default_rng(4)
    label = np.arange(600) < 200
    common = rng.normal(size=600) + label
    a, b = common + 0.8 * rng.normal(size=600), common + 1.1 * rng.normal(size=600)
    delong = compute_paired_delong(label, a, b).p
    assert 0.01 < delong < 0.9
    assert compute_paired_permutation_p(label, a, b, 20_000, seed=0) == pytest.approx(delong, abs=0.03)
