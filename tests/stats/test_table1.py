"""Group comparisons against R, and where R gives NA a reason."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bonemet_jax.stats.table1 import compare_counts, compare_means, compute_fisher, count_levels, summarise


def test_r_stats(golden: Callable[[str], Any], golden_table: Callable[[str], pd.DataFrame]) -> None:
    table, wanted = golden_table("table1_a"), golden("table1_a")
    for name, r in wanted.items():
        if name == "source":
            continue
        groups = [table.loc[table["label"] == group, name] for group in (0, 1)]
        if "mean" in r:
            _check_continuous(groups, r)
        else:
            _check_counts(groups, r)


def _check_continuous(groups: list[pd.Series], r: dict[str, Any]) -> None:
    for i, group in enumerate(groups):
        found = summarise(group)
        assert (found.mean, found.sd) == pytest.approx((r["mean"][i], r["sd"][i]), abs=1e-9)
        assert found.quartiles == pytest.approx(r["q"][str(i)], abs=1e-9)
    found_p = compare_means(*groups)
    for name in ("student_p", "welch_p", "wilcoxon_p"):
        assert getattr(found_p, name) == pytest.approx(r[name], abs=1e-9), name


def _check_counts(groups: list[pd.Series], r: dict[str, Any]) -> None:
    levels = list(r["counts"]["0"])
    counts = [count_levels(group.astype(str).tolist(), levels) for group in groups]
    assert counts == [list(r["counts"][str(i)].values()) for i in (0, 1)]
    found = compare_counts(counts)
    assert (found.chisq_p, found.chisq_yates_p) == pytest.approx((r["chisq_p"], r["chisq_yates_p"]), abs=1e-9)
    assert found.fisher_p == pytest.approx(r["fisher_p"], abs=1e-6)


@pytest.mark.parametrize("table", [[[3, 1], [2, 7]], [[8, 2], [1, 5]], [[0, 10], [12, 2]], [[5, 5], [5, 5]]])
def test_fisher_2x2_is_scipys(table: list[list[int]]) -> None:
    assert compute_fisher(np.array(table)) == pytest.approx(stats.fisher_exact(table).pvalue, abs=1e-12)


def test_fisher_r_by_c() -> None:
    """Agresti 2002, p. 57, as in R's help page of fisher.test: p = 0.7827."""
    job = np.array([[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]])
    assert compute_fisher(job) == pytest.approx(0.7827, abs=5e-5)
    small = np.array([[3, 1, 2], [0, 5, 4], [2, 2, 1]])
    assert compute_fisher(small) == pytest.approx(_fisher_by_listing(small), abs=1e-12)
    assert compute_fisher(small.T) == pytest.approx(compute_fisher(small), abs=1e-12)
    assert compute_fisher(small[::-1, [2, 0, 1]]) == pytest.approx(compute_fisher(small), abs=1e-12)


def _fisher_by_listing(table: np.ndarray) -> float:
    """Try every 3 x 3 table with these margins: four free cells decide it."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    weights = {}
    for a, b, c, d in itertools.product(*[range(int(max(rows.max(), columns.max())) + 1)] * 4):
        cells = np.array([[a, b, 0], [c, d, 0], [0, 0, 0]])
        cells[:2, 2] = rows[:2] - cells[:2].sum(axis=1)
        cells[2] = columns - cells[:2].sum(axis=0)
        if (cells >= 0).all():
            weights[cells.tobytes()] = 1 / math.prod(math.factorial(int(x)) for x in cells.ravel())
    observed = weights[table.tobytes()]
    return sum(w for w in weights.values() if w <= observed * (1 + 1e-7)) / sum(weights.values())


def test_fisher_of_a_large_cohort_and_of_too_many_tables() -> None:
    large = compare_counts([[1100, 1050, 1200, 1080], [150, 160, 120, 140]])
    # By summing the multivariate hypergeometric distribution cell by cell.
    assert large.fisher_p == pytest.approx(0.00857749533611, rel=1e-9)
    many = compare_counts(np.full((6, 6), 50))
    assert many.fisher_p is None and many.chisq_p == pytest.approx(1) and "too many" in str(many.reason)


def test_wilcoxon_is_exact_only_below_50_without_ties() -> None:
    x, y = np.arange(10.0), np.arange(10.0) + 3.5
    exact = stats.mannwhitneyu(x, y, method="exact").pvalue
    assert compare_means(x, y).wilcoxon_p == exact
    tied = compare_means(np.round(x / 2), np.round(y / 2)).wilcoxon_p
    assert tied == stats.mannwhitneyu(np.round(x / 2), np.round(y / 2), method="asymptotic").pvalue


@pytest.mark.parametrize(("x", "y", "student", "welch", "wilcoxon", "reason"), [
    ([1], [2, 3], 0.333333333333333, None, 0.666666666666667, "groups of 1 and 2 known values"),
    ([1], [2], None, None, 1, "groups of 1 and 1 known values"),
    ([1], [2, 2], None, None, 0.479500122186953, "constant in both groups"),
    ([2, 2], [3, 3, 3], None, None, 0.0955807045456294, "constant in both groups"),
    ([2, 2, 2], [1, 5, 3], 0.435330942514376, 0.477767032132906, 0.642834826490804, None),
    ([0.1 + 0.2, 0.3, 0.3], [0.3, 0.3], None, None, 0.683091398309609, "constant in both groups but for rounding"),
    ([1, 1, 1, 1], [1, 1, 1, 1 + 1e-15], None, None, 0.453254704753736, "constant in both groups but for rounding"),
])
@pytest.mark.filterwarnings("error")
def test_few_or_constant_values(x: list[float], y: list[float], student: float | None, welch: float | None,
                                wilcoxon: float, reason: str | None) -> None:
    """R 4.2.2: t.test (var.equal or not) and wilcox.test; where it stops with "data are essentially constant", None."""
    found = compare_means(x, y)
    for ours, wanted in ((found.student_p, student), (found.welch_p, welch), (found.wilcoxon_p, wilcoxon)):
        assert ours == (None if wanted is None else pytest.approx(wanted, abs=1e-12))
    assert found.reason == reason


@pytest.mark.filterwarnings("error")
def test_values_of_any_size_compare_alike() -> None:
    x, y = np.array([1.0, 2, 4]), np.array([3.0, 5])
    for scale in (1e-200, 1e200, 1e307):
        found = compare_means(x * scale, y * scale)
        assert (found.student_p, found.welch_p) == pytest.approx((0.308068009250357, 0.318310943220256), rel=1e-9)  # R
        assert summarise(x * scale).sd == pytest.approx(scale * 1.52752523165195)
    assert summarise([1.7e308, -1.7e308]).mean == 0


def test_reasons() -> None:
    assert compare_means([1.0], [2.0, 3.0]).reason == "groups of 1 and 2 known values"
    assert compare_means([2.0, 2.0], [2.0, 2.0, 2.0]).reason == "constant in both groups"
    constant_in_one = compare_means([2.0, 2.0, 2.0], [1.0, 5.0, 3.0])
    assert constant_in_one.reason is None and constant_in_one.welch_p is not None
    assert compare_counts([[5, 0], [7, 0]]).reason == "one level alone"
    assert compare_counts([[5, 3], [0, 0]]).reason == "one group alone has known values"
    assert compare_counts([[0, 0], [0, 0]]).reason == "no known value"
    empty_level = compare_counts([[5, 0, 3], [7, 0, 9]])
    assert empty_level == compare_counts([[5, 3], [7, 9]])
    nobody = summarise([])
    assert (nobody.n, nobody.mean, nobody.sd, nobody.quartiles) == (0, None, None, None)
    assert summarise([3.0]).sd is None
