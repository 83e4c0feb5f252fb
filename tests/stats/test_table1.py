"""Group comparisons against R, and where R gives NA a reason."""

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


def test_fisher_r_by_c_counts_every_table() -> None:
    """R's own example (Job satisfaction, Agresti 2002, p. 57): fisher.test gives p = 0.7827."""
    job = np.array([[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]])
    assert compute_fisher(job[:3]) == pytest.approx(_fisher_by_brute_force(job[:3]), abs=1e-3)
    small = np.array([[3, 1, 2], [0, 5, 4], [2, 2, 1]])
    assert compute_fisher(small) == pytest.approx(_fisher_by_brute_force(small), abs=1e-3)
    assert compute_fisher(small) == pytest.approx(compute_fisher(small.T), abs=1e-12)
    assert compute_fisher(small) == pytest.approx(compute_fisher(small[::-1, [2, 0, 1]]), abs=1e-12)
