"""Unpenalised Cox regression by Newton's method, as R's coxph: Efron and Breslow ties, concordance, Schoenfeld test.

scikit-survival has no standard errors, so this is ours, tested against R survival 3.5-3.
Sources: Cox, J R Stat Soc B 34 (1972) 187; Efron, J Am Stat Assoc 72 (1977) 557; Grambsch, Therneau, Biometrika 81
(1994) 515, in the score-test form of survival 3.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy import stats

from bonemet_jax.stats.estimable import (
    NotEstimableError,
    check_risk_sets,
    check_survival,
    check_table,
    check_vector,
    find_varying,
)
from bonemet_jax.stats.intervals import Z95
from bonemet_jax.stats.separation import find_separation

Ties = Literal["efron", "breslow"]
_MAX_STEPS = 60
_MAX_HALVINGS = 30
#: Log hazards of patients may differ by this much: exp of more loses the smaller ones.
_MAX_SPREAD = 600.0
#: A condition number of the information beyond this is singular; a coefficient of its null vector below that is none.
_SINGULAR, _NO_PART = 1e11, 1e-5
#: Share of the information at coefficients 0 below which what is left of it is rounding.
_NO_INFORMATION = 1e-12
_MAX_NAMED = 8
_MAX_LOG = math.log(np.finfo(float).max)
#: Share of a Schoenfeld test's variance that must be left once the coefficients are fitted.
_NO_VARIANCE = 1e-10
#: A condition number of all of them together beyond this leaves no test.
_COLLINEAR = 1e12
_COLLINEAR_CHANGES = "the covariates' changes over time are collinear: no test of all together"
_FEW_TIMES = "the covariates vary at too few event times for a test of proportional hazards"


@dataclass(frozen=True)
class CoxTerm:
    """One covariate: log hazard ratio, its standard error, hazard ratio, 95 % interval, Wald z and p, Schoenfeld p.

    A hazard ratio or bound beyond floating point is infinite, as R's.
    """

    name: str
    coef: float
    se: float
    hr: float
    ci95: tuple[float, float]
    z: float
    p: float
    schoenfeld_p: float | None


@dataclass(frozen=True)
class CoxFit:
    """A fitted Cox model; loglik is (all coefficients 0, fitted); the reason is why a Schoenfeld p is None.

    The concordance is None where no two patients can be compared, as when all have the event at one time.
    """

    terms: tuple[CoxTerm, ...]
    loglik: tuple[float, float]
    concordance: float | None
    ties: Ties
    n: int
    n_events: int
    schoenfeld_global_p: float | None
    schoenfeld_reason: str | None


@dataclass(frozen=True)
class _Risk:
    """Patients in order of time, and what the partial likelihood needs of each event."""

    x: Float[np.ndarray, "patient covariate"]
    time: Float[np.ndarray, " patient"]
    event: Bool[np.ndarray, " patient"]
    events: Int[np.ndarray, " event"]  # rows with an event
    tie: Int[np.ndarray, " event"]  # which distinct event time
    first: Int[np.ndarray, " tie"]  # first row at risk at that time
    removed: Float[np.ndarray, " event"]  # Efron: share of the tied deaths already taken out; Breslow: 0
    past: Int[np.ndarray, " patient"]  # number of events at or before the patient's time

    @classmethod
    def make(cls, time: np.ndarray, event: np.ndarray, x: np.ndarray, ties: Ties) -> "_Risk":
        order = np.argsort(time, kind="stable")
        time, event, x = time[order], event[order], x[order]
        events = np.flatnonzero(event)
        times, tie, size = np.unique(time[events], return_inverse=True, return_counts=True)
        rank = np.arange(events.size) - (np.cumsum(size) - size)[tie]
        removed = rank / size[tie] if ties == "efron" else np.zeros(events.size)
        return cls(x, time, event, events, tie, np.searchsorted(time, times), removed,
                   np.searchsorted(time[events], time, side="right"))


@dataclass(frozen=True)
class _State:
    """Partial likelihood at one coefficient vector: per event, the risk set's weight and its mean covariates."""

    loglik: float
    hazard: Float[np.ndarray, " patient"]
    weight: Float[np.ndarray, " event"]
    mean: Float[np.ndarray, "event covariate"]


def _tail_minus_ties(risk: _Risk, values: np.ndarray) -> np.ndarray:
    """Sum of `values` over each event's risk set, less Efron's share of the tied deaths."""
    tail = np.cumsum(values[::-1], axis=0)[::-1][risk.first]
    tied = np.zeros_like(tail)
    np.add.at(tied, risk.tie, values[risk.events])
    share = risk.removed.reshape(-1, *([1] * (values.ndim - 1)))
    return tail[risk.tie] - share * tied[risk.tie]


def _evaluate(risk: _Risk, beta: np.ndarray) -> _State:
    eta = risk.x @ beta
    shift = float(eta.max())  # so that exp never overflows
    hazard = np.exp(eta - shift)
    weight = _tail_minus_ties(risk, hazard)
    mean = _tail_minus_ties(risk, hazard[:, None] * risk.x) / weight[:, None]
    loglik = float(eta[risk.events].sum() - np.log(weight).sum() - shift * risk.events.size)
    return _State(loglik, hazard, weight, mean)


def _information(risk: _Risk, state: _State, c: np.ndarray) -> Float[np.ndarray, "covariate covariate"]:
    """Sum over events of c times the covariance of the covariates in the event's risk set."""
    share = np.concatenate([[0.0], np.cumsum(c / state.weight)])[risk.past]
    np.subtract.at(share, risk.events, _sum_by_tie(risk, c * risk.removed / state.weight))
    return (risk.x.T * (state.hazard * share)) @ risk.x - (state.mean.T * c) @ state.mean


def _sum_by_tie(risk: _Risk, values: np.ndarray) -> Float[np.ndarray, " event"]:
    return np.bincount(risk.tie, weights=values)[risk.tie]


def _score(risk: _Risk, state: _State, c: np.ndarray) -> Float[np.ndarray, " covariate"]:
    return c @ (risk.x[risk.events] - state.mean)


def compute_partial_loglik(
    time: ArrayLike, event: ArrayLike, x: ArrayLike, coef: ArrayLike, ties: Ties = "breslow"
) -> float:
    """Log partial likelihood of given coefficients.

    Args:
        time: follow-up, any unit, one per patient.
        event: 1 event, 0 censored.
        x: (patient, covariate).
        coef: one per covariate.
        ties: how tied event times enter the likelihood.

    Raises: NotEstimableError without events, for arrays of other shapes, where log hazards leave floating point.
    """
    times, events = check_survival(time, event)
    beta = check_vector("coef", coef)
    risk = _Risk.make(times, events, check_table("x", x, times.size, [f"{i}" for i in range(1, beta.size + 1)]), ties)
    if np.ptp(risk.x @ beta) > _MAX_SPREAD:
        raise NotEstimableError("log hazards differ by more than floating point holds", "", "use smaller coefficients")
    return _evaluate(risk, beta).loglik


def compute_null_score(
    time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"],
    x: Float[np.ndarray, "patient covariate"], ties: Ties = "breslow",
) -> Float[np.ndarray, " covariate"]:
    """Gradient of the log partial likelihood at coefficients 0; time and event as check_survival gives them.

    Raises: NotEstimableError without events, for arrays of other shapes.
    """
    risk = _Risk.make(*check_risk_sets(time, event, x), ties)
    return _score(risk, _evaluate(risk, np.zeros(risk.x.shape[1])), np.ones(risk.events.size))


def fit_cox(time: ArrayLike, event: ArrayLike, x: ArrayLike, names: Sequence[str], ties: Ties = "efron") -> CoxFit:
    """Fit an unpenalised Cox model (row H2's refit).

    Args:
        time: follow-up, any unit, one per patient; times equal but for rounding are ties.
        event: 1 where the time is an event, 0 where censored.
        x: (patient, covariate), original scale.
        names: one per covariate.
        ties: how tied event times enter the likelihood; R's default is efron.

    Raises: NotEstimableError without events or covariates, for a constant or collinear column, for separation.
    """
    return fit_tied_cox(*check_survival(time, event), x, names, ties)


def fit_tied_cox(
    time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"], x: ArrayLike, names: Sequence[str],
    ties: Ties = "efron",
) -> CoxFit:
    """`fit_cox` of times and events that check_survival gave. Raises: as fit_cox."""
    time, event, values = check_risk_sets(time, event, x)
    check_table("covariates", values, time.size, names)
    is_at_risk = time >= time[event].min()  # the others take no part in the likelihood, nor in a comparable pair
    at_risk = values[is_at_risk]
    _check_columns(values, at_risk, names)
    scale = at_risk.std(axis=0)
    risk = _Risk.make(time[is_at_risk], event[is_at_risk], (at_risk - at_risk.mean(axis=0)) / scale, ties)
    null, found = _climb(risk, names)
    if found is None:
        reason = find_separation(time, event, values, names) or "the likelihood has no maximum within floating point"
        raise NotEstimableError(reason, "", "use fewer covariates")
    beta, state = found
    covariance = _invert(_information(risk, state, np.ones(risk.events.size)))
    se = np.sqrt(np.diag(covariance)) / scale
    together, each = _compute_schoenfeld_p(risk, state)
    terms = tuple(map(_make_term, names, beta / scale, se, each))
    profiles, of_patient = np.unique(risk.x, axis=0, return_inverse=True)  # equal rows, equal scores to the last bit
    concordance = _count_concordant(risk.time, risk.event, (profiles @ beta)[of_patient])
    reason = _FEW_TIMES if None in each else _COLLINEAR_CHANGES if together is None else None
    return CoxFit(terms, (null, state.loglik), concordance, ties, time.size, int(event.sum()), together, reason)


def _check_columns(
    values: Float[np.ndarray, "patient covariate"], at_risk: Float[np.ndarray, "patient covariate"],
    names: Sequence[str],
) -> None:
    """Raises: NotEstimableError naming the columns that are constant."""
    constant = [name for name, varies in zip(names, find_varying(values), strict=True) if not varies]
    if constant:
        raise NotEstimableError(f"constant column {', '.join(constant)}", "", "leave it out")
    constant = [name for name, varies in zip(names, find_varying(at_risk), strict=True) if not varies]
    if constant:
        raise NotEstimableError(f"column {', '.join(constant)} is constant among those at risk", "", "leave it out")


def _climb(risk: _Risk, names: Sequence[str]) -> tuple[float, tuple[np.ndarray, _State] | None]:
    """Newton steps with halving from 0: log likelihood there, and the maximum, None where it is not reached."""
    ones = np.ones(risk.events.size)
    beta = np.zeros(risk.x.shape[1])
    state = _evaluate(risk, beta)
    null = state.loglik
    information = _information(risk, state, ones)
    least = _NO_INFORMATION * np.diag(information)
    if _is_singular(information):
        raise NotEstimableError(_tell_collinear(information, names), "", "leave one out")
    for _ in range(_MAX_STEPS):
        step = _invert(information) @ _score(risk, state, ones)
        beta, state = _take_step(risk, beta, state, step)
        if (np.abs(step) <= 1e-10 * np.maximum(1, np.abs(beta))).all():
            return null, (beta, state)
        information = _information(risk, state, ones)
        if (np.diag(information) <= least).any() or _is_singular(information):
            break
    return null, None


def _scale_to_unit(
    matrix: Float[np.ndarray, "covariate covariate"],
) -> tuple[Float[np.ndarray, "covariate covariate"], Float[np.ndarray, "covariate covariate"]]:
    """A covariance as a correlation, which is independent of units, and what it was divided by."""
    sd = np.sqrt(np.diag(matrix))
    product = np.outer(sd, sd)
    return matrix / product, product


def _is_singular(matrix: Float[np.ndarray, "covariate covariate"]) -> bool:
    return bool(np.linalg.cond(_scale_to_unit(matrix)[0]) > _SINGULAR)


def _invert(matrix: Float[np.ndarray, "covariate covariate"]) -> Float[np.ndarray, "covariate covariate"]:
    correlation, product = _scale_to_unit(matrix)
    return np.linalg.inv(correlation) / product


def _take_step(risk: _Risk, beta: np.ndarray, state: _State, step: np.ndarray) -> tuple[np.ndarray, _State]:
    for halving in range(_MAX_HALVINGS):
        tried = beta + step / 2**halving
        if np.ptp(risk.x @ tried) > _MAX_SPREAD:
            continue
        moved = _evaluate(risk, tried)
        if moved.loglik >= state.loglik - 1e-9 * abs(state.loglik):
            return tried, moved
    return beta, state


def _tell_collinear(information: Float[np.ndarray, "covariate covariate"], names: Sequence[str]) -> str:
    """The first column that those before it give, and which of them: the only null vector of the first singular block.

    In the information, and not in the table: columns may be independent in patients who left before the first event.
    """
    information = _scale_to_unit(information)[0]
    sizes = range(1, len(names) + 1)  # a larger block is never better conditioned
    n = sizes[bisect.bisect_left(sizes, True, key=lambda n: bool(np.linalg.cond(information[:n, :n]) > _SINGULAR))]
    null = np.abs(np.linalg.eigh(information[:n, :n])[1][:, 0])
    *others, last = (name for name, part in zip(names, null, strict=False) if part > _NO_PART * null.max())
    more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
    return f"column {last} is a linear combination of {', '.join(others[:_MAX_NAMED])}{more}"


def _make_term(name: str, coef: float, se: float, schoenfeld_p: float | None) -> CoxTerm:
    z = float(coef / se)
    return CoxTerm(name, float(coef), float(se), _exp(coef), (_exp(coef - Z95 * se), _exp(coef + Z95 * se)), z,
                   float(2 * stats.norm.sf(abs(z))), schoenfeld_p)


def _exp(value: float) -> float:
    """exp, infinite beyond floating point."""
    return math.exp(value) if value < _MAX_LOG else math.inf


def compute_concordance(time: ArrayLike, event: ArrayLike, risk_score: ArrayLike) -> float:
    """Share of comparable pairs in which the earlier event has the higher risk score; tied scores count half.

    Args:
        time: follow-up, any unit, one per patient; times equal but for rounding are ties.
        event: 1 event, 0 censored.
        risk_score: one per patient; higher means an earlier event.

    A pair is comparable when the earlier time is an event; at equal times, when exactly one is an event (R survival).
    Counted in whole numbers without a matrix of pairs: O(n log(n)^2) time, O(n) memory.
    Raises: NotEstimableError when no pair is comparable, or for a score that is not finite.
    """
    times, events = check_survival(time, event)
    concordance = _count_concordant(times, events, check_vector("a risk score", risk_score, times.size))
    if concordance is None:
        raise NotEstimableError("no two patients can be compared", "", "more follow-up is needed")
    return concordance


def _count_concordant(
    time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"], risk_score: Float[np.ndarray, " patient"]
) -> float | None:
    """`compute_concordance`, None without a comparable pair."""
    rank = np.unique(risk_score, return_inverse=True)[1]
    place = 2 * np.unique(time, return_inverse=True)[1] + ~event  # an event is compared with every later place
    won = n_pairs = 0
    for bit in range(int(place.max()).bit_length()):
        more_won, more_pairs = _count_parted_by(bit, place, event, rank)
        won, n_pairs = won + more_won, n_pairs + more_pairs
    return won / n_pairs if n_pairs else None


def _count_parted_by(
    bit: int, place: Int[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"],
    rank: Int[np.ndarray, " patient"],
) -> tuple[float, int]:
    """Pairs won and all pairs of those whose places first differ in this bit: within equal higher bits, 0 against 1.

    Every two places first differ in one bit, so every pair is counted once.
    """
    group, is_later = (place >> bit + 1) * place.size, (place >> bit & 1).astype(bool)
    later = np.sort((group + rank)[is_later])
    start = group[event & ~is_later]
    own = start + rank[event & ~is_later]
    first, below, not_above, last = (
        np.searchsorted(later, value, side) for value, side in
        ((start, "left"), (own, "left"), (own, "right"), (start + place.size, "left")))
    return float((below + not_above - 2 * first).sum()) / 2, int((last - first).sum())


def _compute_schoenfeld_p(risk: _Risk, state: _State) -> tuple[float | None, list[float | None]]:
    """Tests of proportional hazards against covariates times 1 - Kaplan-Meier(t-): of all together, of each alone.

    None where it is singular.
    """
    c = _km_before(risk)
    c = c - c.mean()
    information = _information(risk, state, np.ones(c.size))
    cross, square = _information(risk, state, c), _information(risk, state, c * c)
    own = square - cross @ _invert(information) @ cross
    score = _score(risk, state, c)
    has_variance = np.diag(own) > _NO_VARIANCE * np.diag(square)
    each = [float(stats.chi2.sf(s * s / v, df=1)) if has else None
            for s, v, has in zip(score, np.diag(own), has_variance, strict=True)]
    if not has_variance.all() or np.linalg.cond(_scale_to_unit(own)[0]) > _COLLINEAR:
        return None, each
    return float(stats.chi2.sf(score @ _invert(own) @ score, df=score.size)), each


def _km_before(risk: _Risk) -> Float[np.ndarray, " event"]:
    """1 - Kaplan-Meier just before each event."""
    deaths = np.bincount(risk.tie)
    survival = np.cumprod(1 - deaths / (risk.time.size - risk.first))
    return 1 - np.concatenate([[1.0], survival[:-1]])[risk.tie]
