"""Rules on the continuous variables of Table 1: order, mean, SD, p, an index beside the variable it is made from."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise, product
from typing import NamedTuple

from scipy import stats

from bonemet_jax.audit.finding import Outcome
from bonemet_jax.audit.printed import Printed
from bonemet_jax.audit.rules.quantiles import QUANTILES, least_up_to, most_below
from bonemet_jax.audit.tables import Continuous, Tables

#: Heights in m that the mean, the median and the quartiles of a group of adults can have, and those of one adult.
_GROUP_HEIGHT_M, _ONE_HEIGHT_M = (1.4, 1.9), (1.3, 2.1)
_USUAL_HEIGHT_M = 1.62
#: Coefficient of variation of height squared: at most 6 % of height in adults of both sexes.
_CV_HEIGHT2 = 0.12
Statistics = Mapping[str, Printed]


def check_order(tables: Tables) -> Iterator[Outcome | None]:
    """min <= q1 <= median <= q3 <= max."""
    for row, group, known, _ in tables.each_group():
        for a, b in pairwise(s for s in QUANTILES if s in known):
            yield None if known[a].low <= known[b].high else Outcome(
                f"{row.where}.{group}.{b}", known[b].text, f"at least {known[a].text}",
                f"{b} lies below {a}")


def check_mean(tables: Tables) -> Iterator[Outcome | None]:
    """The mean lies where minimum, quartiles and maximum let it: a quarter of the patients between each two."""
    for row, group, known, n in tables.each_group():
        if not {"mean", "min", "max"} <= set(known):
            continue
        low, high = _bound_mean(known, n)
        yield None if known["mean"].meets(low, high) else Outcome(
            f"{row.where}.{group}.mean", known["mean"].text, f"{low:.4g} to {high:.4g}",
            "minimum, quartiles and maximum allow no such mean")


def _bound_mean(known: Statistics, n: int) -> tuple[float, float]:
    """Every patient as low, and as high, as the quantiles allow."""
    inner = [s for s in QUANTILES if s in known and s not in ("min", "max")]
    low = high = 0.0
    below, up_to = n, 0
    for s in reversed(inner):
        low += (below - most_below(s, n)) * known[s].low
        below = most_below(s, n)
    for s in inner:
        high += (least_up_to(s, n) - up_to) * known[s].high
        up_to = least_up_to(s, n)
    return (low + below * known["min"].low) / n, (high + (n - up_to) * known["max"].high) / n


def check_sd(tables: Tables) -> Iterator[Outcome | None]:
    """The SD (1 / (n - 1)) lies between what the range forces and what mean and range allow.

    Source: Bhatia, Davis, Amer Math Monthly 107 (2000) 353; the least SD of a range has all others in its middle.
    """
    for row, group, known, n in tables.each_group():
        if not {"mean", "sd", "min", "max"} <= set(known) or n < 2:
            continue
        bottom, top, mean = known["min"].low, known["max"].high, known["mean"]
        centre = min(max((bottom + top) / 2, mean.low), mean.high)
        high = math.sqrt(max((top - centre) * (centre - bottom), 0.0) * n / (n - 1))
        low = max(known["max"].low - known["min"].high, 0.0) / math.sqrt(2 * (n - 1))
        yield None if known["sd"].meets(low, high) else Outcome(
            f"{row.where}.{group}.sd", known["sd"].text, f"{low:.3g} to {high:.3g}",
            "minimum, maximum and mean allow no such SD")


def check_t_test(tables: Tables) -> Iterator[Outcome | None]:
    """p of Student's or Welch's t test from means, SDs and numbers of patients."""
    groups = tables.two_groups()
    for row in tables.continuous if groups else ():
        a, b = (row.statistics[group] for group in groups or ())
        if row.p is None or row.test not in (None, "student", "welch") or not {"mean", "sd"} <= set(a) & set(b):
            continue
        if min(a["sd"].high, b["sd"].high) <= 0 or min(row.n.values()) < 2:
            continue
        spans = [_span_p(row, a, b, test) for test in ("student", "welch") if row.test in (None, test)]
        yield None if any(row.p.meets(*span) for span in spans) else Outcome(
            f"{row.where}.p", row.p.text, " or ".join(f"{low:.2g} to {high:.2g}" for low, high in spans),
            "p does not follow from means, SDs and numbers of patients")


def _span_p(row: Continuous, a: Statistics, b: Statistics, test: str) -> tuple[float, float]:
    """Smallest and largest p of all means and SDs that are printed so."""
    n_a, n_b = row.n.values()
    p = []
    for sd_a, sd_b in product((a["sd"].low, a["sd"].high), (b["sd"].low, b["sd"].high)):
        for difference in _differences(a["mean"], b["mean"]):
            p.append(stats.ttest_ind_from_stats(difference, max(sd_a, 1e-9), n_a, 0.0, max(sd_b, 1e-9), n_b,
                                                equal_var=test == "student").pvalue)
    return float(min(p)), float(max(p))


def _differences(a: Printed, b: Printed) -> tuple[float, float]:
    """Smallest and largest distance of two means."""
    furthest = max(a.high - b.low, b.high - a.low)
    return max(a.low - b.high, b.low - a.high, 0.0), furthest


# --- An index beside the variable it is made from ------------------------------------------------------


def check_index(tables: Tables) -> Iterator[Outcome | None]:
    """index = variable / height squared, so their means, and their k-th smallest values, part by a squared height.

    mean(variable) / mean(index) is a mean of squared heights, weighted by the index; the k-th smallest values cannot
    part by less than the smallest or more than the largest squared height. Bodies set the limits.
    """
    for index, base, group in _each_pair(tables):
        for s in ("mean", *QUANTILES):
            implied = _imply(index, base, group, s)
            if implied is not None:
                limits, mine = _limits_m2(s), index.statistics[group][s]
                other = base.statistics[group][s]
                yield None if implied.is_possible else Outcome(
                    f"{index.where}.{group}.{s}", mine.text, f"about {other.value / _expect_m2(tables, group):.3g}",
                    f"{other.text} of {base.name} beside it implies a height squared of {implied.value:.3g} m2, "
                    f"beyond {limits[0]:.2f} to {limits[1]:.2f}")


class _Height2(NamedTuple):
    """A squared height, m2, that an index and its variable imply: as printed, smallest and largest by rounding."""

    index: Continuous
    value: float
    low: float
    high: float
    is_possible: bool


def _imply(index: Continuous, base: Continuous, group: str, statistic: str) -> _Height2 | None:
    """None where either is missing or not positive."""
    mine, other = index.statistics[group].get(statistic), base.statistics[group].get(statistic)
    if mine is None or other is None or min(mine.value, other.value) <= 0:
        return None
    low, high = other.low / mine.high, other.high / mine.low if mine.low > 0 else math.inf
    limits = _limits_m2(statistic)
    return _Height2(index, other.value / mine.value, low, high, low <= limits[1] and high >= limits[0])


def _limits_m2(statistic: str) -> tuple[float, float]:
    low, high = _ONE_HEIGHT_M if statistic in ("min", "max") else _GROUP_HEIGHT_M
    return low**2, high**2


def _each_pair(tables: Tables) -> Iterator[tuple[Continuous, Continuous, str]]:
    """Index, the variable it is made from, group; where both are known of every patient, so of the same ones."""
    for index_name, base_name in tables.pairs.items():
        index, base = tables.of(index_name), tables.of(base_name)
        if index is not None and base is not None:
            whole = [g for g, n in tables.groups.items() if index.n[g] == base.n[g] == n]
            yield from ((index, base, group) for group in whole)


def _list_possible(tables: Tables, group: str) -> list[_Height2]:
    """What the means of a group imply, where bodies allow it."""
    implied = (_imply(index, base, g, "mean") for index, base, g in _each_pair(tables) if g == group)
    return [h for h in implied if h is not None and h.is_possible]


def _expect_m2(tables: Tables, group: str) -> float:
    """Squared height, m2, of a group by its other pairs (their median); by other groups' where none is left."""
    found = sorted(h.value for h in _list_possible(tables, group))
    found = found or sorted(h.value for g in tables.groups for h in _list_possible(tables, g))
    return found[len(found) // 2] if found else _USUAL_HEIGHT_M**2


def check_heights(tables: Tables) -> Iterator[Outcome | None]:
    """Two indices of one group imply the same mean squared height, up to how far an index can go along with height.

    mean(variable) / mean(index) = E[h2] (1 + r CV(index) CV(h2)), r a correlation: -1 to 1.
    """
    for group in tables.groups:
        known = [h for h in _list_possible(tables, group) if "sd" in h.index.statistics[group]]
        for a, b in combinations(known, 2):
            (low_a, high_a), (low_b, high_b) = _span_mean(a, group), _span_mean(b, group)
            yield None if low_a <= high_b and low_b <= high_a else Outcome(
                f"{b.index.where}.{group}.mean", b.index.statistics[group]["mean"].text,
                f"a height squared of {a.value:.3g} m2",
                f"it implies a height squared of {b.value:.3g} m2, {a.index.name} of the same patients {a.value:.3g}")


def _span_mean(implied: _Height2, group: str) -> tuple[float, float]:
    """Smallest and largest mean squared height of the group that go with the implied one."""
    known = implied.index.statistics[group]
    spread = _CV_HEIGHT2 * known["sd"].high / known["mean"].low if known["mean"].low > 0 else math.inf
    return implied.low / (1 + spread), implied.high / (1 - spread) if spread < 1 else math.inf
