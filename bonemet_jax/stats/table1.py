"""Table 1 (row H1): two groups compared variable by variable, with R's defaults.

Sources: Student, Welch; Wilcoxon rank sum (exact below 50 a group without ties, else normal with continuity and tie
correction); Pearson's chi-square; Freeman, Halton, Biometrika 38 (1951) 141 for Fisher's test of r x c tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy import special, stats

from bonemet_jax.stats.estimable import NotEstimableError, check_finite

_EXACT_BELOW = 50  # R: exact Wilcoxon p when both groups are smaller and nothing is tied
_FISHER_SLACK = 1 + 1e-7  # R: tables this close to the observed probability count as equally extreme
_MAX_TABLES = 20_000_000


@dataclass(frozen=True)
class GroupSummary:
    """n, mean, SD (1/(N-1)) and (min, q1, median, q3, max) with R's type 7 quartiles; None where undefined."""

    n: int
    mean: float | None
    sd: float | None
    quartiles: tuple[float, ...] | None


@dataclass(frozen=True)
class MeanComparison:
    """p values of Student (equal variance), Welch and Wilcoxon; None with a reason where undefined."""

    student_p: float | None
    welch_p: float | None
    wilcoxon_p: float | None
    reason: str | None


@dataclass(frozen=True)
class CountComparison:
    """p values of chi-square without and with Yates' correction (2 x 2 alone) and of Fisher's exact test."""

    chisq_p: float | None
    chisq_yates_p: float | None
    fisher_p: float | None
    reason: str | None


def summarise(values: ArrayLike) -> GroupSummary:
    """Describe one group's known values. Raises: NotEstimableError where a value is missing."""
    x = check_finite("a value", values)
    if x.size == 0:
        return GroupSummary(0, None, None, None)
    quartiles = tuple(float(q) for q in np.percentile(x, (0, 25, 50, 75, 100)))
    return GroupSummary(x.size, float(x.mean()), float(x.std(ddof=1)) if x.size > 1 else None, quartiles)


def compare_means(a: ArrayLike, b: ArrayLike) -> MeanComparison:
    """Compare two groups' known values. Raises: NotEstimableError where a value is missing."""
    x, y = check_finite("a value", a), check_finite("a value", b)
    if min(x.size, y.size) < 2:
        return MeanComparison(None, None, None, f"groups of {x.size} and {y.size} known values")
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return MeanComparison(None, None, None, "constant in both groups")
    student, welch = (float(stats.ttest_ind(x, y, equal_var=equal).pvalue) for equal in (True, False))
    return MeanComparison(student, welch, _wilcoxon_p(x, y), None)


def _wilcoxon_p(x: np.ndarray, y: np.ndarray) -> float:
    both = np.concatenate([x, y])
    exact = max(x.size, y.size) < _EXACT_BELOW and np.unique(both).size == both.size
    return float(stats.mannwhitneyu(x, y, method="exact" if exact else "asymptotic").pvalue)


def count_levels(values: Sequence[object], levels: Sequence[object]) -> list[int]:
    """How often each level occurs."""
    return [sum(1 for value in values if value == level) for level in levels]


def compare_counts(counts: ArrayLike) -> CountComparison:
    """Compare groups (rows) over levels (columns); levels and groups without anyone are left out.

    Args:
        counts: (group, level) integers.
    """
    table = np.asarray(counts, dtype=int)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return CountComparison(None, None, None, "one level, or one group, alone")
    plain, yates = (float(stats.chi2_contingency(table, correction=c).pvalue) for c in (False, True))
    try:
        return CountComparison(plain, yates, compute_fisher(table), None)
    except NotEstimableError as error:
        return CountComparison(plain, yates, None, error.what)


def compute_fisher(table: Int[np.ndarray, "group level"]) -> float:
    """Fisher's exact p of an r x c table: the probability of all tables no likelier than the one observed.

    Tables with the observed margins are built level by level: a partial table is the people left in each group and its
    log probability. Raises: NotEstimableError when they are too many to count.
    """
    by_level = np.asarray(table).T[np.argsort(-np.asarray(table).sum(axis=0))]
    left = np.asarray(table).sum(axis=1)[None]
    log_p = np.zeros(1)
    for level in by_level[:0:-1]:  # the last level built is forced by what is left
        ways = _compositions(int(level.sum()), left[0].size, left.max(axis=0))
        if left.shape[0] * ways.shape[0] > _MAX_TABLES:
            raise NotEstimableError("too many tables for Fisher's exact test", "", "use the chi-square test")
        rest = left[:, None] - ways[None]
        fits = (rest >= 0).all(axis=2)
        log_p = (log_p[:, None] - special.gammaln(ways + 1).sum(axis=1))[fits]
        left = rest[fits]
    log_p = log_p - special.gammaln(left + 1).sum(axis=1)
    observed = -special.gammaln(by_level + 1).sum()
    p = np.exp(log_p - log_p.max())
    return float(min(p[log_p <= observed + np.log(_FISHER_SLACK)].sum() / p.sum(), 1.0))


def _compositions(total: int, parts: int, most: np.ndarray) -> Float[np.ndarray, "way part"]:
    """Every way to write `total` as `parts` counts, none above its `most`."""
    if parts == 1:
        return np.array([[total]])
    ways = []
    for first in range(min(total, int(most[0])) + 1):
        rest = _compositions(total - first, parts - 1, most[1:])
        ways.append(np.column_stack([np.full(len(rest), first), rest]))
    return np.concatenate(ways)
