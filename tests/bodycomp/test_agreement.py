"""Readers' agreement against published figures."""

import numpy as np
import pytest

from data_pipelines.bodycomp.agreement import bland_altman, dice, icc_2_1

#: Shrout and Fleiss (1979), table 2: six subjects, four judges.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])


def test_icc_of_shrout_and_fleiss() -> None:
    """Their table 4 prints ICC(2,1) = .29; R's psych::ICC on the same data gives the interval 0.019 to 0.761."""
    found = icc_2_1(SHROUT_FLEISS)
    assert found.value == pytest.approx(0.2898, abs=5e-5)
    assert found.ci95 == pytest.approx((0.019, 0.761), abs=5e-4)
    assert found.n == 6


def test_icc_counts_a_constant_difference_as_disagreement() -> None:
    """Absolute agreement: subjects vary with variance v, readers differ by d: v / (v + d^2 / 2), exactly."""
    subjects = np.array([10.0, 20, 30, 40])
    noise = np.array([1.0, -1, 1, -1])
    assert icc_2_1(np.stack([subjects, subjects], axis=1)).value == pytest.approx(1.0)
    shifted = icc_2_1(np.stack([subjects, subjects + 6], axis=1))
    assert shifted.value == pytest.approx(subjects.var(ddof=1) / (subjects.var(ddof=1) + 6**2 / 2))
    assert np.isnan(shifted.ci95).all(), "no residual: the interval is unknown"
    apart = icc_2_1(np.stack([subjects, subjects + 6 + noise], axis=1))
    assert apart.ci95[0] < apart.value < apart.ci95[1]


def test_icc_of_too_little_is_unknown() -> None:
    assert np.isnan(icc_2_1(np.array([[1.0, 2.0]])).value)
    assert np.isnan(icc_2_1(np.array([[1.0], [2.0]])).value)
    assert np.isnan(icc_2_1(np.full((3, 2), 5.0)).value)


def test_icc_interval_holds_the_truth_at_its_rate() -> None:
    """Two-way random effects: variances 1 (subjects), 0.1 (readers), 0.3 (error): ICC = 1 / 1.4."""
    random = np.random.default_rng(0)
    truth, hits = 1 / 1.4, 0
    for _ in range(400):
        values = (random.normal(size=(20, 1)) + random.normal(size=(1, 4)) * 0.1**0.5
                  + random.normal(size=(20, 4)) * 0.3**0.5)  # fmt: skip
        low, high = icc_2_1(values).ci95
        hits += low <= truth <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_bland_altman_of_blood_pressure() -> None:
    """Bland and Altman (1999), section 2: 85 pairs, bias -16.29, SD 19.61 mmHg; they print limits -54.7 and 22.1,
    intervals -20.5 to -12.1 (bias), -61.9 to -47.5 and 14.9 to 29.3 (limits), with limits rounded first and 1.71 for
    sqrt(1 + 1.96^2 / 2). Differences of that mean and SD are made.
    """
    shape = np.linspace(-1, 1, 85)
    differences = -16.29 + 19.61 * shape / shape.std(ddof=1)
    found = bland_altman(np.stack([120 + differences, np.full(85, 120.0)], axis=1))
    assert (found.bias, found.sd, found.n) == (pytest.approx(-16.29), pytest.approx(19.61), 85)
    assert (found.lower, found.upper) == pytest.approx((-54.7, 22.1), abs=0.06)
    assert found.bias_ci95 == pytest.approx((-20.5, -12.1), abs=0.06)
    assert found.lower_ci95 == pytest.approx((-61.9, -47.5), abs=0.15)
    assert found.upper_ci95 == pytest.approx((14.9, 29.3), abs=0.15)


def test_bland_altman_of_too_little_is_unknown() -> None:
    one = bland_altman(np.array([[5.0, 3.0]]))
    assert one.bias == 2.0 and np.isnan(one.lower) and np.isnan(one.bias_ci95).all()
    assert np.isnan(bland_altman(np.zeros((0, 2))).bias)


def test_dice() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert np.isnan(dice(a, b))
    a[0, :3], b[0, 1:] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / 6)
    assert dice(a, a) == 1.0 and dice(a, ~a) == 0.0
