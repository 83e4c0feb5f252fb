"""Table 1 (row H1): two groups compared variable by variable, with R's defaults.

Sources: Student, Welch; Wilcoxon rank sum (exact below 50 a group without ties, else normal with continuity and tie
correction); Pearson's chi-square; Freeman, Halton, Biometrika 38 (1951) 141 for Fisher's test of r x c tables.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy import special, stats

from bonemet_jax.stats.estimable import NotEstimableError, check_finite

_EXACT_BELOW = 50  # R: exact Wilcoxon p when both groups are smaller and nothing is tied
_FISHER_SLACK = 1 + 1e-7  # R: tables this close to the observed probability count as equally extreme
_MAX_CELLS = 40_000_000  # an upper bound; at most 320 MB, in practice a fraction


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
    moments = (x.mean(), x.std(ddof=1), x.size, y.mean(), y.std(ddof=1), y.size)
    student, welch = (float(stats.ttest_ind_from_stats(*moments, equal_var=equal).pvalue) for equal in (True, False))
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

    Every table with the observed margins is two halves that meet: the levels are cut in two, each half is listed with
    the people it uses of each group and its log probability, and for each first half the fitting second halves are
    summed up to the observed probability. Raises: NotEstimableError when even the halves are too many to list.
    """
    table = np.asarray(table)
    table = table.T if table.shape[0] > table.shape[1] else table  # fewer groups, fewer fillings of a level
    totals, levels = table.sum(axis=1), table.T
    used, log_a = _list_halves(levels[::2], totals)
    rest, log_b = _list_halves(levels[1::2], totals)
    radix = np.cumprod(np.concatenate([[1], totals[:-1] + 1]))
    first, second = (totals - used) @ radix, rest @ radix
    order = np.lexsort((log_b, second))
    second, log_b = second[order], log_b[order]
    observed = -special.gammaln(table + 1).sum()
    limit = observed + np.log(_FISHER_SLACK)
    # The sum over all tables, in closed form (the multivariate hypergeometric distribution).
    log_every = special.gammaln(table.sum() + 1) - sum(special.gammaln(table.sum(axis=i) + 1).sum() for i in (0, 1))
    p = 0.0
    for key in np.unique(first):
        ours = log_a[first == key]
        theirs = log_b[np.searchsorted(second, key) : np.searchsorted(second, key, side="right")]
        if theirs.size:
            up_to = np.concatenate([[0.0], np.cumsum(np.exp(theirs - theirs[-1]))])
            weight = np.exp(ours + theirs[-1] - log_every)
            p += weight @ up_to[np.searchsorted(theirs, limit - ours, side="right")]
    return float(min(p, 1.0))


def _list_halves(
    levels: Int[np.ndarray, "level group"], totals: Int[np.ndarray, " group"]
) -> tuple[Int[np.ndarray, "half group"], Float[np.ndarray, " half"]]:
    """Every filling of these levels within the groups' totals: people used of each group, log probability."""
    used, log_p = np.zeros((1, totals.size), dtype=int), np.zeros(1)
    for level in levels:
        most = np.minimum(totals, level.sum())
        at_most = used.shape[0] * totals.size * math.prod((np.sort(most)[:-1] + 1).tolist())  # the last part is forced
        if at_most > _MAX_CELLS:
            raise NotEstimableError("too many tables for Fisher's exact test", "", "use the chi-square test")
        ways = _compositions(int(level.sum()), totals.size, totals)
        both = used[:, None] + ways
        fits = (both <= totals).all(axis=2)
        log_p = (log_p[:, None] - special.gammaln(ways + 1).sum(axis=1))[fits]
        used = both[fits]
    return used, log_p


def _compositions(total: int, parts: int, most: np.ndarray) -> Int[np.ndarray, "way part"]:
    """Every way to write `total` as `parts` counts, none above its `most`."""
    if parts == 1:
        return np.array([[total]] if total <= most[0] else np.empty((0, 1)), dtype=int)
    ways = []
    for first in range(min(total, int(most[0])) + 1):
        rest = _compositions(total - first, parts - 1, most[1:])
        ways.append(np.column_stack([np.full(len(rest), first), rest]))
    return np.concatenate(ways)
