"""Kaplan-Meier and log-rank against R survival; cut-offs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bonemet_jax.stats.cutoff import judge_cutoff, learn_cutoff, learn_cutoff_held_out
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.km import compute_logrank, fit_km


def test_r_survival(golden: Callable[[str], Any], golden_table: Callable[[str], pd.DataFrame]) -> None:
    table, wanted = golden_table("gbsg2"), golden("km_gbsg2")
    high = (table[wanted["variable"]] >= wanted["cutoff"]).to_numpy()
    assert compute_logrank(table["time"], table["event"], high)[0] == pytest.approx(wanted["logrank_chisq"], abs=1e-9)
    n_times = len(wanted["times"])
    for group, rows in enumerate((~high, high)):
        km = fit_km(table["time"][rows], table["event"][rows])
        found = km.at(wanted["times"])
        for name in ("survival", "lower", "upper", "n_risk"):
            r = wanted[name][group * n_times : (group + 1) * n_times]
            assert found[name] == pytest.approx(r, abs=1e-9), name
        assert km.median == wanted["median"][group]
        assert rows.sum() == wanted["n_per_group"][group]


def test_by_hand() -> None:
    """5 at risk, event at 1; 4 at risk, censored at 2; 3 at risk, event at 3; the rest censored at 4."""
    km = fit_km([1, 2, 3, 4, 4], [1, 0, 1, 0, 0])
    assert km.times.tolist() == [0, 1, 2, 3, 4]
    assert km.survival == pytest.approx([1, 4 / 5, 4 / 5, 4 / 5 * 2 / 3, 4 / 5 * 2 / 3])
    assert km.median is None
    at = km.at([0, 2, 4, 5])
    assert at["n_risk"].tolist() == [5, 4, 2, 0]
    assert np.isnan(at["survival"][3])
    assert km.censored_times.tolist() == [2, 4]


def test_median_on_a_plateau_is_its_middle() -> None:
    assert fit_km([1, 2, 5, 6], [1, 1, 1, 1]).median == 3.5  # R: quantile(survfit(Surv(c(1,2,5,6)) ~ 1), .5)
    assert fit_km([1, 2, 5], [1, 1, 1]).median == 2
    assert fit_km([1, 2, 5, 6], [1, 1, 0, 0]).median == 2


def test_groups_without_events_or_patients() -> None:
    km = fit_km([3, 4], [0, 0])
    assert km.survival.tolist() == [1, 1, 1] and km.median is None and km.median_ci95 == (None, None)
    assert np.isnan(fit_km([1, 2], [1, 1]).upper[-1])  # R gives NA where survival is 0
    with pytest.raises(NotEstimableError, match="no patients"):
        fit_km([], [])
    with pytest.raises(NotEstimableError, match="one group"):
        compute_logrank([1, 2], [1, 1], [0, 0])
    with pytest.raises(NotEstimableError, match="no events"):
        compute_logrank([1, 2], [0, 0], [0, 1])
    with pytest.raises(NotEstimableError, match="both groups are at risk"):
        compute_logrank([1, 5], [0, 1], [0, 1])


def test_learned_cutoff_is_half_way_and_low_is_positive() -> None:
    label = np.array([1, 1, 1, 0, 0, 0])
    value = np.array([10, 12, 14, 20, 30, 40.0])
    assert learn_cutoff(label, value) == 17
    sens, spec = judge_cutoff(label, value, 17)
    assert (sens.k, sens.n, spec.k, spec.n) == (3, 3, 3, 3)
    with pytest.raises(NotEstimableError, match="better than chance"):
        learn_cutoff(1 - label, value)


def _draw_three_folds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, values that are lower among positives, folds of 90 patients."""
    rng = np.random.default_rng(0)
    label = rng.random(90) < 0.3
    return label, rng.normal(50, 10, 90) - 12 * label, np.arange(90) % 3


def test_held_out_cutoff_never_sees_its_patient() -> None:
    label, value, fold = _draw_three_folds()
    found = learn_cutoff_held_out(label, value, fold)
    changed = np.where(fold == 1, value + 500, value)
    assert learn_cutoff_held_out(label, changed, fold).cutoffs[1] == found.cutoffs[1]
    assert found.sens.n == label.sum() and found.spec.n == (~label).sum()


def test_a_fold_keeps_its_cutoff_where_its_patients_leave_another_fold_none() -> None:
    """Only whether the others have one depends on the patients of fold 1."""
    label, value, fold = _draw_three_folds()
    found = learn_cutoff_held_out(label, value, fold)
    changed = np.where(fold == 1, 1000.0 * label, value)  # the highest values are the positives', in two of three folds
    other = learn_cutoff_held_out(np.where(fold == 1, True, label), changed, fold)
    assert other.cutoffs[1] == found.cutoffs[1] is not None
    alone = learn_cutoff_held_out(label, np.where(fold == 1, value, 1000.0 * label), fold)
    assert alone.cutoffs[1] is None and alone.sens.value is None is alone.spec.value
