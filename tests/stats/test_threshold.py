"""Balanced threshold, confusion table, Wilson's interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.intervals import compute_wilson
from bonemet_jax.stats.threshold import choose_balanced_threshold, compute_confusion


def _gap(label: np.ndarray, score: np.ndarray, threshold: float) -> float:
    said = score >= threshold
    return abs(said[label].mean() - (~said)[~label].mean())


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=3, max_size=40))
def test_no_threshold_is_better_balanced(rows: list[tuple[bool, float]]) -> None:
    label, score = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    if label.all() or not label.any():
        with pytest.raises(NotEstimableError):
            choose_balanced_threshold(label, score)
        return
    chosen = _gap(label, score, choose_balanced_threshold(label, score))
    assert chosen <= min(_gap(label, score, t) for t in np.unique(score)) + 1e-12


def test_ties_are_broken_as_stated() -> None:
    label = np.array([0, 0, 1, 1])
    assert choose_balanced_threshold(label, np.array([0.1, 0.2, 0.8, 0.9])) == pytest.approx(0.5)
    assert choose_balanced_threshold(label, np.full(4, 0.3)) == 0.3
    # sens = spec = 1/2 between .3 and .6; nowhere balanced but there.
    assert choose_balanced_threshold(np.array([1, 0, 1, 0]), np.array([0.1, 0.3, 0.6, 0.9])) == pytest.approx(0.45)
    # At .2 sens 1, spec 1/2; at .4 sens 0, spec 1/2: both gaps are 1/2, the larger sum wins.
    assert choose_balanced_threshold(np.array([0, 1, 0]), np.array([0.1, 0.3, 0.5])) == pytest.approx(0.2)


def test_rounding_a_score_to_float32_changes_no_decision() -> None:
    rng = np.random.default_rng(0)
    label, score = rng.random(300) < 0.2, rng.random(300)
    threshold = choose_balanced_threshold(label, score)
    assert ((score >= threshold) == (score.astype(np.float32) >= threshold)).all()


def test_confusion_by_hand() -> None:
    found = compute_confusion([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0])
    assert (found.tp, found.fn, found.fp, found.tn) == (2, 1, 1, 3)
    wanted = {"acc": (5, 7), "sens": (2, 3), "spec": (3, 4), "ppv": (2, 3), "npv": (3, 4)}
    assert {name: found.fraction(name) for name in wanted} == wanted


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_solves_its_equation(k: int, n: int) -> None:
    """Both bounds p solve (k/n - p)^2 = z^2 p (1 - p) / n."""
    k, z = min(k, n), 1.959963984540054
    found = compute_wilson(k, n)
    assert found.ci95 is not None and found.value == k / n
    for p in found.ci95:
        assert (k / n - p) ** 2 == pytest.approx(z * z * p * (1 - p) / n, abs=1e-12)
    assert 0 <= found.ci95[0] <= found.value <= found.ci95[1] <= 1


def test_wilson_of_nobody_is_nothing() -> None:
    found = compute_wilson(0, 0)
    assert found.value is None and found.ci95 is None
    # Newcombe, Stat Med 17 (1998) 857, table I: 81/263 and 1/29, without continuity correction.
    assert compute_wilson(81, 263).ci95 == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert compute_wilson(1, 29).ci95 == pytest.approx((0.0061, 0.1718), abs=5e-5)
