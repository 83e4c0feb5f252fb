"""Kaplan-Meier and log-rank against R survival; cut-offs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sksurv.compare import compare_survival
from sksurv.util import Surv

from bonemet_jax.stats.cutoff import judge_cutoff, learn_cutoff, learn_cutoff_held_out
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.km import compute_logrank, fit_km, fit_km_by_group
from bonemet_jax.stats.tied_times import tie_times


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
    assert np.isnan(km.upper[1:]).all() and np.isnan(km.lower[1:]).all(), "R gives NA while survival is still 1"
    assert np.isnan(fit_km([1, 2], [1, 1]).upper[-1])  # R gives NA where survival is 0
    with pytest.raises(NotEstimableError, match="no patients"):
        fit_km([], [])
    with pytest.raises(NotEstimableError, match="one group"):
        compute_logrank([1, 2], [1, 1], [0, 0])
    with pytest.raises(NotEstimableError, match="no events"):
        compute_logrank([1, 2], [0, 0], [0, 1])
    alone = compute_logrank([1, 5], [0, 1], [0, 1])
    assert alone == (0, 0, 1) and "only one group" in str(alone.reason)  # R: chisq 0 on 0 df, p 1
    with pytest.raises(NotEstimableError, match="all patients at risk have the event at the same time"):
        compute_logrank([3, 3, 1], [1, 1, 0], ["a", "b", "b"])  # R: solve() finds a singular matrix


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


# --- As R's survival decides --------------------------------------------------------------------------------

#: Two groups of three months each, once as they are and once by sums and products that rounding does not undo.
_MONTHS = [0.1, 0.2, 0.3, 0.3, 0.6, 0.7, 0.7, 0.9]
_ROUNDED = [0.1, 0.2, 0.1 + 0.2, 0.3, 3 * 0.2, 0.1 * 7, 0.7, 0.3 * 3]
_EVENT, _SIDE = [1, 0, 1, 0, 1, 1, 1, 0], list("abababba")


def test_times_equal_but_for_rounding_are_ties() -> None:
    assert len(set(_ROUNDED)) > len(set(_MONTHS)), "rounding parts them"
    plain, rounded = fit_km(_MONTHS, _EVENT), fit_km(_ROUNDED, _EVENT)
    assert rounded.survival.tolist() == plain.survival.tolist() and rounded.times == pytest.approx(plain.times)
    assert compute_logrank(_ROUNDED, _EVENT, _SIDE) == compute_logrank(_MONTHS, _EVENT, _SIDE)
    # R: survdiff(Surv(t, e) ~ g)$chisq of the exact times
    assert compute_logrank(_ROUNDED, _EVENT, _SIDE).chisq == pytest.approx(0.7142857142857137, abs=1e-12)


def test_ties_are_made_over_all_groups_before_they_are_split() -> None:
    """1 and 1 + 2e-7 are one time where the mean is 50.5, though not within a group whose mean is 1."""
    time, event = [1.0, 1 + 2e-7, 100.0, 101.0], [1, 1, 1, 0]
    early, late = fit_km_by_group(time, event, ["early", "early", "late", "late"])
    assert early.times.tolist() == [0, 1] and early.survival.tolist() == [1, 0]
    assert fit_km(time[:2], event[:2]).times.tolist() == [0, 1, 1 + 2e-7]
    assert late.times.tolist() == [0, 100, 101]


def test_a_chain_of_neighbours_is_one_time() -> None:
    """Each within the tolerance of the next, the first and last are not: R compares neighbours."""
    time = 1 + 1e-8 * np.arange(8)
    assert tie_times(time).tolist() == [1.0] * 8
    assert tie_times(np.array([1.0, 1 + 1e-7])).tolist() == [1.0, 1 + 1e-7]
    assert tie_times(np.array([1e-9, 3e-9, 1e-8])).tolist() == [1e-9] * 3, "R's tolerance is absolute, too"
    assert tie_times(np.array([1.7e308, 0.0, 1.7e308])).tolist() == [1.7e308, 0.0, 1.7e308]
    assert tie_times(np.array([5.0])).tolist() == [5.0] and tie_times(np.array([])).size == 0


@pytest.mark.parametrize("names", ["zbc", "abc", "bzc", "éαb", "321", ("10", "9", "1")])
def test_a_group_gone_before_the_first_event_takes_no_degree_of_freedom(names: tuple[str, str, str]) -> None:
    gone, b, c = names
    time, event = [0.5, 0.9, 1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 0, 1, 1, 1]
    found = compute_logrank(time, event, [gone, gone, b, c, b, c, c, b])
    assert found == compute_logrank(time[2:], event[2:], [b, c, b, c, c, b]) and found.df == 1


def test_two_of_four_groups_gone() -> None:
    time, event = [0.1, 0.2, 1, 2, 3, 4], [0, 0, 1, 1, 1, 1]
    found = compute_logrank(time, event, ["a", "z", "m", "n", "m", "n"])
    assert found.df == 1 and found.chisq == pytest.approx(compute_logrank(time[2:], event[2:], [0, 1, 0, 1]).chisq)


def test_three_groups_by_r() -> None:
    """R: survdiff(Surv(c(1,2,5,6,7)) ~ c("a","b","c","c","c")); groups of one patient."""
    found = compute_logrank([1, 2, 5, 6, 7], [1] * 5, list("abccc"))
    assert (found.chisq, found.df, found.p) == pytest.approx((5.66666666666666341, 2, 0.05881647164242999), abs=1e-12)


def test_all_times_equal_by_r() -> None:
    """R: survdiff(Surv(c(1,1,1), c(1,0,1)) ~ c("a","b","a")): 2 on 1 df."""
    assert compute_logrank([1, 1, 1], [1, 0, 1], list("aba"))[:2] == pytest.approx((2, 1))


def test_survival_at_odd_times_by_r() -> None:
    """summary(survfit(Surv(c(5, 7, 8, 9), c(0, 1, 1, 1)) ~ 1, conf.type = "log-log"), times, extend = TRUE)."""
    at = fit_km([5, 7, 8, 9], [0, 1, 1, 1]).at([-1, 0, 4, 5, 6, 7, 9, 10])
    assert at["survival"] == pytest.approx([1, 1, 1, 1, 1, 2 / 3, 0, np.nan], nan_ok=True)
    assert at["lower"] == pytest.approx([1, 1, 1, np.nan, np.nan, 0.054073427, np.nan, np.nan], nan_ok=True, abs=1e-9)
    assert at["upper"] == pytest.approx([1, 1, 1, np.nan, np.nan, 0.9452064, np.nan, np.nan], nan_ok=True, abs=1e-7)
    assert at["n_risk"].tolist() == [4, 4, 4, 4, 3, 3, 1, 0]
    zero = fit_km([0, 0, 7, 8, 9], [1, 0, 1, 1, 1]).at([-1, 0, 1])
    assert zero["survival"].tolist() == [1, 0.8, 0.8] and zero["n_risk"].tolist() == [5, 5, 3]
    for odd in (np.nan, np.inf, -np.inf):
        with pytest.raises(NotEstimableError, match="a time asked for holds a missing or infinite value"):
            fit_km([1, 2], [1, 1]).at([1.0, odd])


@pytest.mark.parametrize("group", [[None, "a", "b"], [np.nan, 1.0, 2.0], [1, 2], [[1, 2, 3]]])
def test_groups_that_are_none(group: list[Any]) -> None:
    with pytest.raises(NotEstimableError, match="group"):
        compute_logrank([1, 2, 3], [1, 1, 1], group)


@pytest.mark.parametrize("n_groups", [2, 3, 5])
def test_log_rank_is_scikit_survivals_where_every_group_is_at_risk(n_groups: int) -> None:
    rng = np.random.default_rng(n_groups)
    time, event, group = rng.integers(1, 12, 90), rng.random(90) < 0.6, np.arange(90) % n_groups
    chisq, p = compare_survival(Surv.from_arrays(event, time), group)
    assert compute_logrank(time, event, group) == pytest.approx((chisq, n_groups - 1, p), abs=1e-10)
