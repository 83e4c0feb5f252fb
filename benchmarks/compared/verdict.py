"""Regressed, pass or undecided: what two sides' runs say of a metric, exactly and whatever the noise's distribution.

The unit is a run, one launch of a process: samples of one process share its memory layout, its neighbours and its luck,
so however many they are they count once, as one value (`run_value`). Runs in turn are paired by their round, and the
interval is that of the sign test: order statistics of the rounds' ratios, for their median. It asks nothing of the
noise's shape: a third of 30 rounds may be spoilt by any factor. Runs that were not in turn are two groups, and the
interval is that of the rank-sum test: it knows the scatter between runs, not what changed between the two series.

Each end of the interval is missed with probability `Rule.alpha` at most, if rounds are independent. A load that comes
and goes over several rounds makes it a little narrower than that; the tolerance is there for such things too. A metric
is regressed when NEW is more than `tolerance` times slower with a p-value that survives Holm's correction over all
metrics: one false alarm or more in a whole comparison has probability `alpha` at most. It passes when the interval's
upper end is below the tolerance; that needs no correction, since a comparison passes only where every metric does, the
bad one among them. Rounds are fixed before the first: nobody looks in between and stops when it suits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy import stats

Better = Literal["lower", "higher"]
Word = Literal["pass", "improved", "regressed", "undecided"]
Vector = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Rule:
    """When something is called slower."""

    tolerance: float = 1.05
    """NEW over BASE in time; less than that is nobody's concern."""
    alpha: float = 0.05
    """Probability of a false alarm in a whole comparison, and of passing what is slower than the tolerance."""


class Effect(NamedTuple):
    """How many times slower NEW is than BASE: above 1 is worse, whichever way the metric counts."""

    slowdown: float
    low: float
    high: float
    p_slower: float
    """Of data like these, or further, were NEW `tolerance` times slower at most."""
    p_faster: float
    """The same, were it `tolerance` times faster at most."""


def run_value(samples: Sequence[float], better: Better) -> float:
    """A run's value: the decile of its samples on the fast side.

    What else runs on the machine only ever adds time. A quartile still holds much of that, the fastest one is a matter
    of luck and of how many there are.
    """
    return float(np.quantile(samples, 0.1 if better == "lower" else 0.9))


def compare_pairs(base: Vector, new: Vector, better: Better, rule: Rule) -> Effect:
    """Runs in turn, paired by round: the median of the rounds' ratios and its sign-test interval."""
    n = len(base)
    return _infer(_slowdowns(base, new, better), stats.binom.pmf(np.arange(n + 1), n, 0.5), rule)


def compare_groups(base: Vector, new: Vector, better: Better, rule: Rule) -> Effect:
    """Two series of runs: the median over all pairs of them (Hodges and Lehmann's shift) and its rank-sum interval."""
    every = _slowdowns(base[:, None], new[None, :], better).ravel()
    return _infer(every, _rank_sum_null(len(base), len(new)), rule)


def decide(effects: Sequence[Effect], rule: Rule) -> list[Word]:
    """The verdict on each metric of one comparison."""
    slower, faster = ([getattr(effect, name) for effect in effects] for name in ("p_slower", "p_faster"))
    return [_word(*one, rule) for one in zip(effects, holm(slower), holm(faster), strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's p-values: rejecting where they are at most alpha errs in any of them with probability alpha at most."""
    order = np.argsort(p)
    scaled = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted.tolist()


def _word(effect: Effect, p_slower: float, p_faster: float, rule: Rule) -> Word:
    if p_slower <= rule.alpha:
        return "regressed"
    if p_faster <= rule.alpha:
        return "improved"
    return "pass" if effect.high < rule.tolerance else "undecided"


def _slowdowns(base: np.ndarray, new: np.ndarray, better: Better) -> np.ndarray:
    """Logarithms of NEW over BASE, positive where NEW is worse."""
    return (np.log(new) - np.log(base)) * (1 if better == "lower" else -1)


def _infer(differences: Vector, null: Vector, rule: Rule) -> Effect:
    """Estimate, interval and p-values; `null[k]`: the probability that k of the differences lie below the truth."""
    ordered, at_most = np.sort(differences), np.minimum(np.cumsum(null), 1)
    n_out, limit = int(np.sum(at_most <= rule.alpha)), np.log(rule.tolerance)
    low, high = (ordered[n_out - 1], ordered[-n_out]) if n_out else (-np.inf, np.inf)
    p_slower, p_faster = (at_most[np.sum(signed <= limit)] for signed in (ordered, -ordered))
    slowdown, low, high = (float(np.exp(x)) for x in (np.median(ordered), low, high))
    return Effect(slowdown, low, high, float(p_slower), float(p_faster))


def _rank_sum_null(m: int, n: int) -> Vector:
    """Probability of k pairs in order, of the m x n, where both groups are alike: a Gaussian binomial coefficient."""
    ways = np.ones(1)
    for i in range(1, m + 1):
        more, fewer = np.zeros(n + i + 1), np.zeros(i + 1)
        more[[0, -1]], fewer[[0, -1]] = (1, -1), (1, -1)
        ways = np.polydiv(np.convolve(ways, more), fewer)[0]
    return ways / ways.sum()
