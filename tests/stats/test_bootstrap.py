"""The batched patient-level bootstrap against a plain loop over resampled patients."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bonemet_jax.stats import bootstrap
from bonemet_jax.stats.bootstrap import (
    bootstrap_auc,
    bootstrap_fractions,
    compute_percentile_interval,
    draw_patients,
    sum_weighted,
)
from bonemet_jax.stats.estimable import NotEstimableError


def _rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = np.arange(40) < 11
    patient = np.concatenate([np.arange(40), rng.integers(0, 40, 25)])
    return label, patient, np.round(rng.normal(size=65) + label[patient], 1)


def test_every_draw_is_the_auc_of_its_rows() -> None:
    label, patient, score = _rows()
    draws = draw_patients(label, 30, seed=5)
    found = bootstrap_auc(draws, patient, score)
    for weight, auc in zip(draws.weight, found, strict=True):
        rows = np.repeat(np.arange(65), weight[patient].astype(int))  # a patient drawn twice brings all rows twice
        assert auc == pytest.approx(roc_auc_score(label[patient][rows], score[rows]), abs=1e-12)


def test_draws_keep_class_sizes_and_the_seed_decides() -> None:
    label, _, _ = _rows()
    draws = draw_patients(label, 50, seed=1)
    assert (draws.weight[:, label].sum(axis=1) == 11).all() and (draws.weight.sum(axis=1) == 40).all()
    assert (draw_patients(label, 50, seed=1).weight == draws.weight).all()
    assert (draw_patients(label, 50, seed=2).weight != draws.weight).any()
    assert draws.weight.mean(axis=0) == pytest.approx(np.ones(40), abs=0.6)
    with pytest.raises(NotEstimableError):
        draw_patients(np.ones(5), 10, seed=0)


def test_fractions_are_those_of_the_rows() -> None:
    label, patient, score = _rows()
    draws = draw_patients(label, 20, seed=3)
    counted = np.stack([label[patient], ~label[patient], np.zeros(65, bool)])
    found = bootstrap_fractions(draws, patient, counted & (score > 0.5), counted)
    for d, weight in enumerate(draws.weight):
        rows = np.repeat(np.arange(65), weight[patient].astype(int))
        assert found[0, d] == pytest.approx((score[rows] > 0.5)[label[patient][rows]].mean(), abs=1e-12)
    assert np.isnan(found[2]).all() and compute_percentile_interval(found[2]) is None


def test_repeated_rows_do_not_narrow_the_interval() -> None:
    """Every row three times holds no more patients: the same interval; a row-level bootstrap would shrink it."""
    label, _, _ = _rows()
    score = np.random.default_rng(2).normal(size=40) + label
    draws = draw_patients(label, 400, seed=0)
    once = compute_percentile_interval(bootstrap_auc(draws, np.arange(40), score))
    thrice = compute_percentile_interval(bootstrap_auc(draws, np.tile(np.arange(40), 3), np.tile(score, 3)))
    assert once == pytest.approx(thrice)


def test_sums_are_exact_whatever_the_precision() -> None:
    """float32 where no sum can round, float64 beyond: the same integers as in Python."""
    rng = np.random.default_rng(4)
    weight = rng.integers(0, 7, (50, 40)).astype(np.uint8)
    small, large = rng.integers(0, 500, (40, 3)) / 2, rng.integers(0, 2**40, (40, 3)).astype(float)
    for values in (small, -small, large):
        found = sum_weighted(weight, values)
        wanted = [[sum(int(w) * int(2 * v) for w, v in zip(row, column, strict=True)) for column in values.T]
                  for row in weight]
        assert (2 * found == np.array(wanted, dtype=float)).all()


def test_blocks_change_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    label, patient, score = _rows()
    whole = draw_patients(label, 200, seed=9)
    monkeypatch.setattr(bootstrap, "_DRAWN", 100)
    monkeypatch.setattr(bootstrap, "_CACHED", 100)
    blocks = draw_patients(label, 200, seed=9)
    assert (blocks.weight == whole.weight).all() and whole.weight.dtype == np.uint8
    counted = np.stack([label[patient]])
    assert (bootstrap_fractions(blocks, patient, counted & (score > 0), counted)
            == bootstrap_fractions(whole, patient, counted & (score > 0), counted)).all()
