"""BCa intervals against scipy's, their coverage, and the percentile interval where BCa is not defined."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from bonemet_jax.stats.bca import (
    compute_acceleration,
    compute_auc_interval,
    compute_bca_interval,
    compute_fraction_intervals,
)
from bonemet_jax.stats.bootstrap import bootstrap_auc, compute_percentile_interval, draw_patients


def _auc(pos: np.ndarray, neg: np.ndarray) -> float:
    return float(((pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)).mean())


def _leave_one_out(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    keep = ~np.eye(label.size, dtype=bool)
    return np.array([roc_auc_score(label[k], score[k]) for k in keep])


@pytest.mark.parametrize(("shift", "decimals"), [(1.0, 6), (2.2, 6), (0.8, 0)])
def test_scipys_two_sample_bca(shift: float, decimals: int) -> None:
    """scipy.stats.bootstrap draws each class on its own: the same draws must give the same ends."""
    rng = np.random.default_rng(3)
    label = np.arange(50) < 14
    score = np.round(rng.normal(size=50) + shift * label, decimals)
    pos, neg = score[label], score[~label]
    wanted = stats.bootstrap((pos, neg), _auc, vectorized=False, method="BCa", n_resamples=799, rng=rng)
    found = compute_bca_interval(
        wanted.bootstrap_distribution, _auc(pos, neg), label, _leave_one_out(label, score))
    assert found.ci95 == pytest.approx(tuple(wanted.confidence_interval), abs=1e-12)
    assert (found.method, found.reason) == ("bca", None)
    assert found.ci95 != compute_percentile_interval(wanted.bootstrap_distribution)


def test_acceleration_of_one_stratum_is_efrons() -> None:
    """With one class of weight, a = sum U^3 / (6 (sum U^2)^1.5) of the jackknife (Efron 1987, equation 7.3)."""
    left_out = np.array([1.0, 1.2, 1.1, 1.9, 1.3, 5.0, 5.0])
    u = left_out[:5].mean() - left_out[:5]
    positive = np.arange(7) < 5
    assert compute_acceleration(positive, left_out) == pytest.approx((u**3).sum() / (6 * (u**2).sum() ** 1.5))
    assert compute_acceleration(positive, np.full(7, 0.5)) is None
    assert compute_acceleration(positive, np.append(left_out[:6], np.nan)) is None


def test_jackknife_leaves_out_a_patient_with_all_rows() -> None:
    rng = np.random.default_rng(1)
    label = np.arange(40) < 12
    patient = np.concatenate([np.arange(40), rng.integers(0, 40, 30)])
    score = np.round(rng.normal(size=70) + label[patient], 1)
    draws = draw_patients(label, 1500, seed=2)
    left_out = np.array([roc_auc_score(label[patient][patient != i], score[patient != i]) for i in range(40)])
    wanted = compute_bca_interval(
        bootstrap_auc(draws, patient, score), roc_auc_score(label[patient], score), label, left_out)
    found = compute_auc_interval(draws, patient, score)
    assert found.ci95 == pytest.approx(wanted.ci95, abs=1e-12) and found.method == "bca"


def test_fractions_by_hand() -> None:
    """Sensitivity of 12 of 16 positives: leaving out a hit gives 11/15, a miss 12/15."""
    label = np.arange(40) < 16
    said = np.arange(40) % 4 != 0
    draws = draw_patients(label, 3000, seed=0)
    counted = np.stack([label, ~label])
    sens, spec = compute_fraction_intervals(draws, np.arange(40), counted & (said == label), counted)
    drawn = (draws.weight[:, label] @ said[label].astype(int)) / 16
    left_out = np.where(label, (12 - said) / 15, 12 / 16)
    assert sens == compute_bca_interval(drawn, 12 / 16, label, left_out)
    assert sens.method == spec.method == "bca" and sens.ci95 is not None and spec.ci95 is not None
    assert sens.ci95[0] < 0.75 < sens.ci95[1] and spec.ci95[0] < 0.25 < spec.ci95[1]


def test_where_bca_is_not_defined_percentiles_stand_in_with_the_reason() -> None:
    label, everyone = np.arange(20) < 6, np.arange(20)
    draws = draw_patients(label, 500, seed=0)
    perfect = compute_auc_interval(draws, everyone, label + np.linspace(0, 0.5, 20))
    assert perfect.ci95 == (1.0, 1.0) and (perfect.method, perfect.reason) == ("percentile", "all draws are equal")
    tied = compute_auc_interval(draws, everyone, np.ones(20))
    assert tied.ci95 == (0.5, 0.5) and tied.method == "percentile"
    single = np.arange(20) < 1
    one = compute_auc_interval(draw_patients(single, 500, seed=0), everyone, np.sin(everyone))
    assert one.method == "percentile" and "leaves no value" in str(one.reason)
    values = np.linspace(0.2, 0.4, 100)
    beyond = compute_bca_interval(values, 0.5, label, np.linspace(0, 1, 20))
    assert beyond.method == "percentile" and "one side" in str(beyond.reason)
    assert beyond.ci95 == compute_percentile_interval(values)
    rare = compute_bca_interval(np.where(np.arange(100) < 6, np.nan, values), 0.3, label, np.linspace(0, 1, 20))
    assert rare.ci95 is None and rare.method is None and "no value" in str(rare.reason)
    nobody, = compute_fraction_intervals(draws, everyone, np.zeros((1, 20), bool), np.zeros((1, 20), bool))
    assert nobody.ci95 is None


def _simulate(seed: int, rows_of_each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """52 + 379 patients, scores of variance 1 around 0 and 1.1; of several rows, half the variance is the patient's."""
    rng = np.random.default_rng(seed)
    label = np.arange(431) < 52
    patient = np.tile(np.arange(431), rows_of_each)
    own = rng.normal(size=431)[patient]
    share = 0.5 if rows_of_each > 1 else 0.0
    score = 1.1 * label[patient] + np.sqrt(share) * own + np.sqrt(1 - share) * rng.normal(size=patient.size)
    return label, patient, score


@pytest.mark.slow
@pytest.mark.parametrize("rows_of_each", [1, 2])
def test_coverage_on_binormal_data(rows_of_each: int) -> None:
    """600 simulated cohorts of the paper's size; the true AUC is Phi(1.1 / sqrt 2).

    Of 200 cohorts the coverage has a standard error of .015, as wide as the band; of 600 .009.
    """
    truth = stats.norm.cdf(1.1 / np.sqrt(2))
    bca, percentile = [], []
    for seed in range(600):
        label, patient, score = _simulate(seed, rows_of_each)
        draws = draw_patients(label, 2000, 10_000 + seed)  # not the stream that made the data
        bca.append(compute_auc_interval(draws, patient, score).ci95)
        percentile.append(compute_percentile_interval(bootstrap_auc(draws, patient, score)))
    covered = {name: float(np.mean([low <= truth <= high for low, high in found]))
               for name, found in (("BCa", bca), ("percentile", percentile))}
    print(f"\ncoverage of 95 % intervals, {rows_of_each} row(s) a patient, 600 cohorts: {covered}")
    assert 0.92 <= covered["BCa"] <= 0.97
