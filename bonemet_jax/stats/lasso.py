"""Lasso-Cox screening (rows G1, H2): path, cross-validated choice, unpenalised refit.

Everything is learned from the rows given. Source of the choice: Verweij, van Houwelingen, Stat Med 12 (1993) 2305.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from bonemet_jax.stats.cox import CoxFit, compute_null_score, fit_tied_cox
from bonemet_jax.stats.estimable import (
    NotEstimableError,
    check_finite,
    check_size,
    check_survival,
    check_table,
    find_varying,
)
from bonemet_jax.stats.lasso_path import compute_path_loglik, fit_lasso_path

#: How `chosen` is chosen, in words for the report.
LAMBDA_RULE = "largest cross-validated partial likelihood (Verweij and van Houwelingen), folds stratified by event"
_N_LAMBDAS = 50
_MIN_RATIO = 0.02
_MAX_FOLDS = 10
#: A gradient of the mean log partial likelihood per SD below this is rounding.
_NO_GRADIENT = 1e-12


@dataclass(frozen=True)
class LassoPoint:
    """One penalty of the path: coefficients on the original scale, and the cross-validated log partial likelihood."""

    penalty: float
    coef: dict[str, float]
    cv_loglik: float

    @property
    def nonzero(self) -> dict[str, float]:
        """The covariates that stay."""
        return {name: coef for name, coef in self.coef.items() if coef != 0}


@dataclass(frozen=True)
class LassoCox:
    """A Lasso-Cox path (largest penalty first), the chosen point, and the refit on what it selects."""

    path: tuple[LassoPoint, ...]
    chosen: LassoPoint
    refit: CoxFit | None
    refit_reason: str | None

    @property
    def selected(self) -> tuple[str, ...]:
        """Names with a coefficient other than zero at the chosen penalty, in the order given."""
        return tuple(self.chosen.nonzero)


def fit_lasso_cox(
    time: ArrayLike, event: ArrayLike, x: ArrayLike, names: Sequence[str],
    lambdas: Sequence[float] | None = None, seed: int = 0,
) -> LassoCox:
    """Screen covariates by Lasso-Cox inside the rows given; never pass test rows.

    Args:
        time: follow-up, any unit, one a patient; times equal but for rounding are ties.
        event: 1 event, 0 censored.
        x: (patient, covariate) on the original scale; standardised here (1/N variance), constant columns stay out.
        names: one a covariate.
        lambdas: penalties above 0, as glmnet states them; default 50, from the smallest that keeps nothing to its 50th.
        seed: of the cross-validation folds (10, or one an event where there are fewer).

    Returns: coefficients on the original scale; `selected` may be empty; `refit` is None with a reason then.

    Raises: NotEstimableError with fewer than two events, when every column is constant, for a penalty of 0 or less.
    """
    times, events = check_survival(time, event)
    values = check_table("covariates", x, times.size, names)
    if events.sum() < 2:
        raise NotEstimableError("fewer than two events", "", "cross-validation needs two")
    z, scale, varies = standardise(values)
    penalties = _make_penalties(times, events, z) if lambdas is None else _check_penalties(lambdas)
    path = fit_lasso_path(times, events, z, penalties)
    cv = _cross_validate(times, events, z, penalties, seed)
    coefs = np.zeros((penalties.size, len(names)))
    coefs[:, varies] = path / scale
    points = tuple(
        LassoPoint(float(p), dict(zip(names, map(float, c), strict=True)), float(v))
        for p, c, v in zip(penalties, coefs, cv, strict=True)
    )
    chosen = points[int(np.argmax(cv))]  # ties: the largest penalty
    refit, reason = _refit(times, events, values, names, chosen)
    return LassoCox(points, chosen, refit, reason)


def standardise(
    values: Float[np.ndarray, "patient covariate"],
) -> tuple[Float[np.ndarray, "patient varying"], Float[np.ndarray, " varying"], Bool[np.ndarray, " covariate"]]:
    """Columns of mean 0 and variance 1 (1/N), the scales that were taken out, and which columns vary at all.

    Raises: NotEstimableError when none does, and where squares leave floating point.
    """
    values = check_finite("covariates", values, 2)
    check_size(values, [str(i) for i in range(1, values.shape[1] + 1)])
    varies = find_varying(values)
    if not varies.any():
        raise NotEstimableError("every column is constant", "", "screening needs columns that vary")
    centred = values - values.mean(axis=0)
    scale = centred.std(axis=0)
    return centred[:, varies] / scale[varies], scale[varies], varies


def _check_penalties(lambdas: Sequence[float]) -> Float[np.ndarray, " penalty"]:
    """Largest first, none twice."""
    given = np.asarray(lambdas)
    is_numeric = given.dtype.kind in "iuf" and given.ndim == 1 and given.size > 0
    if not is_numeric or not (np.isfinite(given) & (given > 0)).all():
        raise NotEstimableError("a penalty is not above 0", "", "give lambdas above 0; fit a Cox model to have none")
    return np.unique(given.astype(float))[::-1]


def _refit(
    time: np.ndarray, event: np.ndarray, x: np.ndarray, names: Sequence[str], chosen: LassoPoint
) -> tuple[CoxFit | None, str | None]:
    kept = [i for i, name in enumerate(names) if name in chosen.nonzero]
    if not kept:
        return None, "Lasso-Cox selects no covariate"
    try:
        return fit_tied_cox(time, event, x[:, kept], [names[i] for i in kept]), None
    except NotEstimableError as error:
        return None, error.what


def _make_penalties(time: np.ndarray, event: np.ndarray, z: np.ndarray) -> Float[np.ndarray, " penalty"]:
    """Logarithmic grid, the smallest penalty that keeps nothing first."""
    largest = float(np.abs(compute_null_score(time, event, z)).max()) / time.size
    if largest < _NO_GRADIENT:
        raise NotEstimableError("no column changes the likelihood", "", "screening needs events among patients at risk")
    return np.geomspace(largest, _MIN_RATIO * largest, _N_LAMBDAS)


def _cross_validate(
    time: np.ndarray, event: np.ndarray, z: np.ndarray, penalties: np.ndarray, seed: int
) -> Float[np.ndarray, " penalty"]:
    """Sum over folds of log partial likelihood (all rows) minus that of the rows fitted."""
    fold = _deal_folds(event, seed)
    total = np.zeros(penalties.size)
    for k in range(int(fold.max()) + 1):
        kept = fold != k
        path = fit_lasso_path(time[kept], event[kept], z[kept], penalties)
        total += compute_path_loglik(time, event, z, path)
        total -= compute_path_loglik(time[kept], event[kept], z[kept], path)
    return total


def _deal_folds(event: Bool[np.ndarray, " patient"], seed: int) -> np.ndarray:
    """Fold of each row: events, then the others, dealt in turn, so that every part keeps events."""
    rng = np.random.default_rng(seed)
    dealt = np.concatenate([rng.permutation(np.flatnonzero(event)), rng.permutation(np.flatnonzero(~event))])
    fold = np.empty(event.size, dtype=int)
    fold[dealt] = np.arange(event.size) % min(_MAX_FOLDS, int(event.sum()))
    return fold


def compute_selection_frequency(
    time: ArrayLike, event: ArrayLike, x: ArrayLike, names: Sequence[str], penalty: float, n_draws: int, seed: int
) -> dict[str, float] | None:
    """Share of patient bootstraps in which each covariate is selected at one penalty; None for no draws.

    Args:
        penalty: the one that was chosen; it stays fixed, so that the share tells of the covariates, not of the choice.
        n_draws: draws with replacement, events and others each on their own. A draw in which no column varies, or
            that has no optimum, does not count.

    Source: Meinshausen, Buehlmann, J R Stat Soc B 72 (2010) 417, in the bootstrap's form.
    """
    if not n_draws:
        return None
    times, events = check_survival(time, event)
    values, rng = check_table("covariates", x, times.size, names), np.random.default_rng(seed)
    by_event = [np.flatnonzero(events), np.flatnonzero(~events)]
    selected, n_fitted = np.zeros(len(names)), 0
    for _ in range(n_draws):
        rows = np.concatenate([rng.choice(part, part.size) for part in by_event])
        try:
            z, _, varies = standardise(values[rows])
            coef = fit_lasso_path(times[rows], events[rows], z, np.array([penalty]))[0]
        except NotEstimableError:
            continue
        selected[varies] += coef != 0
        n_fitted += 1
    shares = selected / n_fitted if n_fitted else np.full(len(names), np.nan)
    return dict(zip(names, map(float, shares), strict=True))
