"""The Lasso-Cox path, exact: proximal Newton on Breslow's partial likelihood, each quadratic solved by active sets.

A patient censored at the time of an event is at risk at that event (as in R survival), and events of one time share
one risk set. Every point is checked against the conditions of the optimum (KKT), so no penalty is too small.
Sources: Simon, Friedman, Hastie, Tibshirani, J Stat Softw 39(5) (2011) for the problem; Lee, Sun, Saunders, SIAM J
Optim 24 (2014) 1420 for the outer steps; Lee, Battle, Raina, Ng, NIPS 19 (2007) for the active sets.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bonemet_jax.stats.estimable import NotEstimableError, check_finite, check_risk_sets, check_vector

#: A gradient of the mean log partial likelihood may miss its condition by this much.
_TOLERANCE = 1e-10
_MAX_STEPS = 200
_MAX_HALVINGS = 60
#: Added to the curvature's diagonal, relatively: equal columns stay solvable. It bends steps, not where they end.
_RIDGE = 1e-10


@dataclass(frozen=True)
class _RiskSets:
    """Patients, latest time first, so that a risk set is all rows up to one; `death` numbers distinct event times."""

    x: Float[np.ndarray, "patient covariate"]
    event: Float[np.ndarray, " patient"]
    last: Int[np.ndarray, " death"]  # last row at risk
    deaths: Float[np.ndarray, " death"]
    survived: Int[np.ndarray, " patient"]  # event times later than the patient's own

    @classmethod
    def make(cls, time: np.ndarray, event: np.ndarray, x: np.ndarray) -> "_RiskSets":
        order = np.argsort(-time, kind="stable")
        time, event = -time[order], event[order]  # ascending from here on
        times, deaths = np.unique(time[event], return_counts=True)
        return cls(x[order], event.astype(float), np.searchsorted(time, times, side="right") - 1,
                   deaths.astype(float), np.searchsorted(times, time))


@dataclass(frozen=True)
class _State:
    """Mean log partial likelihood at one coefficient vector, its gradient, and what its curvature needs."""

    beta: Float[np.ndarray, " covariate"]
    loglik: float
    gradient: Float[np.ndarray, " covariate"]
    hazard: Float[np.ndarray, " patient"]
    weight: Float[np.ndarray, " death"]  # of the risk set
    cumulative: Float[np.ndarray, " patient"]  # hazard that the patient has lived through, per unit of its own


def fit_lasso_path(
    time: np.ndarray, event: np.ndarray, x: Float[np.ndarray, "patient covariate"], penalties: np.ndarray
) -> Float[np.ndarray, "penalty covariate"]:
    """Coefficients that maximise log partial likelihood / n - penalty * sum |coefficient|, at each penalty.

    Args:
        time: follow-up, any unit, one a patient.
        event: booleans, at least one true.
        x: standardised covariates; the penalty treats all alike.
        penalties: above 0, largest first: each starts where the one before ended.

    Raises: NotEstimableError where the conditions of the optimum are not met in 200 steps; without events, for arrays
        of other shapes.
    """
    risk = _RiskSets.make(*check_risk_sets(time, event, x))
    n_covariates = risk.x.shape[1]
    state = _evaluate(risk, np.zeros(n_covariates))
    path = np.empty((len(penalties), n_covariates))
    for i, penalty in enumerate(check_vector("penalties", penalties)):
        state = _climb(risk, state, float(penalty))
        path[i] = state.beta
    return path


def compute_violation(
    gradient: Float[np.ndarray, " covariate"], beta: Float[np.ndarray, " covariate"], penalty: float
) -> float:
    """How far the gradient of the mean log partial likelihood is from the conditions of the optimum (KKT), at most.

    Raises: NotEstimableError for arrays of other shapes.
    """
    beta = check_vector("beta", beta)
    gradient = check_vector("gradient", gradient, beta.size)
    at_zero = np.maximum(np.abs(gradient) - penalty, 0.0)
    return float(np.where(beta == 0, at_zero, np.abs(gradient - penalty * np.sign(beta))).max())


def compute_path_loglik(
    time: np.ndarray, event: np.ndarray, x: Float[np.ndarray, "patient covariate"],
    path: Float[np.ndarray, "penalty covariate"],
) -> Float[np.ndarray, " penalty"]:
    """Log partial likelihood (Breslow) of these patients at every point of a path.

    Raises: NotEstimableError without events, for arrays of other shapes.
    """
    risk = _RiskSets.make(*check_risk_sets(time, event, x))
    coefs = check_finite("path", path, 2)
    if coefs.shape[1] != risk.x.shape[1]:
        raise NotEstimableError(f"path has shape {coefs.shape}, wanted {risk.x.shape[1]} columns", "",
                                "one per covariate")
    eta = risk.x @ coefs.T
    return risk.event @ eta - risk.deaths @ np.logaddexp.accumulate(eta)[risk.last]


def _evaluate(risk: _RiskSets, beta: np.ndarray) -> _State:
    eta = risk.x @ beta
    shift = float(eta.max())  # so that exp never overflows
    hazard = np.exp(eta - shift)
    weight = np.cumsum(hazard)[risk.last]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a step too far, which is then not taken
        loglik = (risk.event @ eta - risk.deaths @ (np.log(weight) + shift)) / eta.size
        later = np.concatenate([np.cumsum((risk.deaths / weight)[::-1])[::-1], [0.0]])
        cumulative = later[risk.survived]
        gradient = (risk.event - hazard * cumulative) @ risk.x / eta.size
    return _State(beta, float(loglik), gradient, hazard, weight, cumulative)


def _compute_curvature(
    risk: _RiskSets, state: _State, columns: Int[np.ndarray, " column"]
) -> Float[np.ndarray, "column column"]:
    """Minus the second derivative of the mean log partial likelihood in some of the coefficients."""
    x = risk.x[:, columns]
    weighted = state.hazard[:, None] * x
    mean = np.cumsum(weighted, axis=0)[risk.last] / state.weight[:, None]
    return ((weighted.T * state.cumulative) @ x - (mean.T * risk.deaths) @ mean) / len(x)


def _climb(risk: _RiskSets, state: _State, penalty: float) -> _State:
    """Newton steps to the optimum, in the coefficients that are not zero or should not be."""
    for _ in range(_MAX_STEPS):
        if compute_violation(state.gradient, state.beta, penalty) <= _TOLERANCE:
            return state
        columns = np.flatnonzero((state.beta != 0) | (np.abs(state.gradient) > penalty))
        target = state.beta.copy()
        target[columns] = _solve_quadratic(_compute_curvature(risk, state, columns), state.gradient[columns],
                                           state.beta[columns], penalty)
        state = _take_step(risk, state, target, penalty)
    raise NotEstimableError(f"Lasso-Cox does not converge at penalty {penalty:.3g}", "", "use larger penalties")


def _take_step(risk: _RiskSets, state: _State, target: np.ndarray, penalty: float) -> _State:
    """Go to the target, or half as far until the penalised likelihood rises enough (Armijo)."""
    step = target - state.beta
    worth = state.loglik - penalty * np.abs(state.beta).sum()
    promised = state.gradient @ step - penalty * (np.abs(target).sum() - np.abs(state.beta).sum())
    slack = 1e-14 * (1 + abs(worth))  # near the optimum the rise is below rounding
    for halving in range(_MAX_HALVINGS):
        share = 0.5**halving
        moved = _evaluate(risk, target if halving == 0 else state.beta + share * step)
        if moved.loglik - penalty * np.abs(moved.beta).sum() >= worth + 1e-4 * share * promised - slack:
            return moved
    return state


def _solve_quadratic(
    curvature: Float[np.ndarray, "column column"], gradient: Float[np.ndarray, " column"],
    start: Float[np.ndarray, " column"], penalty: float,
) -> Float[np.ndarray, " column"]:
    """Maximise gradient @ (b - start) - (b - start) @ curvature @ (b - start) / 2 - penalty * sum |b| over b.

    With the signs of b given this is a linear system; a coefficient that would change its sign stops at zero and is
    left out, and where no sign is wrong the zero that gains most comes in.
    """
    curvature = curvature + np.diag(_RIDGE * np.diag(curvature))
    linear = gradient + curvature @ start
    b, sign = start.copy(), np.sign(start)
    for _ in range(20 * (b.size + 5)):  # each active set comes once at most; rounding alone could go round for ever
        active = np.flatnonzero(sign)
        if active.size:
            wanted = np.linalg.solve(curvature[np.ix_(active, active)], linear[active] - penalty * sign[active])
            b[active], is_cut = _walk(b[active], wanted, sign[active])
            sign[active[is_cut]] = 0.0
            if is_cut.any():
                continue
        slope = linear - curvature @ b
        gain = np.where(sign == 0, np.abs(slope), 0.0)
        best = int(gain.argmax())
        if gain[best] <= penalty * (1 + 1e-12):
            break
        sign[best] = np.sign(slope[best])
    return b


def _walk(b: np.ndarray, wanted: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Towards `wanted` as far as no sign turns; which coefficients reached zero on the way."""
    turns = wanted * sign <= 0
    if not turns.any():
        return wanted, turns
    way = b[turns] - wanted[turns]
    reach = np.divide(b[turns], way, out=np.zeros_like(way), where=way != 0)
    share = float(reach.min())
    moved = b + share * (wanted - b)
    is_cut = turns.copy()
    is_cut[turns] = reach <= share
    moved[is_cut] = 0.0
    return moved, is_cut
