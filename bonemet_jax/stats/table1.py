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

from bonemet_jax.stats.estimable import NotEstimableError, check_counts, check_finite

_EXACT_BELOW = 50  # R: exact Wilcoxon p when both groups are smaller and nothing is tied
_CONSTANT = 10 * np.finfo(float).eps  # R: a standard error this many times smaller than the means is rounding
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
    """p values of Student (equal variance), Welch and Wilcoxon; None where R gives none, with the reason."""

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
    exponent = math.frexp(float(np.abs(x).max()))[1]
    scaled = np.ldexp(x, -exponent)  # squares and sums of very large values leave floating point
    quartiles = tuple(math.ldexp(float(q), exponent) for q in np.percentile(scaled, (0, 25, 50, 75, 100)))
    with np.errstate(over="ignore"):  # the SD alone may be larger than every value; infinity is shown as unknown
        sd = float(np.ldexp(scaled.std(ddof=1), exponent)) if x.size > 1 else None
    return GroupSummary(x.size, math.ldexp(float(scaled.mean()), exponent), sd, quartiles)


def compare_means(a: ArrayLike, b: ArrayLike) -> MeanComparison:
    """Compare two groups' known values as R does. Raises: NotEstimableError where a value is missing."""
    x, y = _scale(check_finite("a value", a), check_finite("a value", b))
    if min(x.size, y.size) == 0:
        return MeanComparison(None, None, None, f"groups of {x.size} and {y.size} known values")
    student, welch, reason = _t_tests(x, y)
    return MeanComparison(student, welch, _wilcoxon_p(x, y), reason)


def _scale(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by one power of two, which changes no p value: squares of very large values leave floating point."""
    largest = max((float(np.abs(part).max()) for part in (x, y) if part.size), default=0.0)
    exponent = math.frexp(largest)[1]
    return np.ldexp(x, -exponent), np.ldexp(y, -exponent)


def _t_tests(x: np.ndarray, y: np.ndarray) -> tuple[float | None, float | None, str | None]:
    """p of Student's and Welch's test, and why one of them is None."""
    n_x, n_y = x.size, y.size
    squares = ((x - x.mean()) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    difference, size = x.mean() - y.mean(), max(abs(x.mean()), abs(y.mean()))
    few = f"groups of {n_x} and {n_y} known values"
    if n_x + n_y < 3:
        return None, None, few
    error = math.sqrt(sum(squares) / (n_x + n_y - 2) * (1 / n_x + 1 / n_y))
    if error <= _CONSTANT * size:
        return None, None, "constant in both groups" if x.min() == x.max() and y.min() == y.max() else (
            "constant in both groups but for rounding")
    student = 2 * float(stats.t.sf(abs(difference) / error, n_x + n_y - 2))
    if min(n_x, n_y) < 2:
        return student, None, few
    parts = squares[0] / (n_x - 1) / n_x, squares[1] / (n_y - 1) / n_y
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (n_x - 1) + parts[1] ** 2 / (n_y - 1))
    return student, 2 * float(stats.t.sf(abs(difference) / math.sqrt(sum(parts)), freedom)), None


def _wilcoxon_p(x: np.ndarray, y: np.ndarray) -> float | None:
    both = np.concatenate([x, y])
    if both.min() == both.max():
        return None
    exact = max(x.size, y.size) < _EXACT_BELOW and np.unique(both).size == both.size
    return float(stats.mannwhitneyu(x, y, method="exact" if exact else "asymptotic").pvalue)


def count_levels(values: Sequence[object], levels: Sequence[object]) -> list[int]:
    """How often each level occurs."""
    return [sum(1 for value in values if value == level) for level in levels]


def compare_counts(counts: ArrayLike) -> CountComparison:
    """Compare groups (rows) over levels (columns); levels and groups without anyone are left out.

    Args:
        counts: (group, level) integers.

    Raises: NotEstimableError for anything but a table of whole numbers from 0.
    """
    table = check_counts("counts", counts)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        reason = "no known value" if not table.size else (
            "one group alone has known values" if table.shape[0] == 1 else "one level alone")
        return CountComparison(None, None, None, reason)
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
