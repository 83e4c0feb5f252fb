"""Unpenalised logistic regression by Newton's method, with an offset: what calibration is measured and mended with.

Source: McCullagh, Nelder, Generalized Linear Models (1989), chapter 4.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from bonemet_jax.stats.estimable import NotEstimableError, check_finite, check_vector

_MAX_STEPS = 60
_MAX_HALVINGS = 30
_COLLINEAR = 1e12


@dataclass(frozen=True)
class LogisticFit:
    """Coefficients and their covariance (inverse information)."""

    coef: Float[np.ndarray, " column"]
    covariance: Float[np.ndarray, "column column"]


def fit_logistic(
    x: Float[np.ndarray, "row column"], target: Float[np.ndarray, " row"],
    offset: Float[np.ndarray, " row"] | float = 0.0,
) -> LogisticFit:
    """Maximise the likelihood of logit P = offset + x coef.

    Args:
        x: all columns, the constant one included.
        target: share of events in [0, 1], one a row.
        offset: what is added with coefficient 1.

    Raises: NotEstimableError for collinear columns, where the columns separate events from the rest, and for arrays of
        other shapes.
    """
    x = check_finite("columns", x, 2)
    target = check_vector("target", target, len(x))
    offset = offset if isinstance(offset, float) else check_vector("offset", offset, len(x))
    coef = np.zeros(x.shape[1])
    loglik = _compute_loglik(x, target, offset, coef)
    for _ in range(_MAX_STEPS):
        p = expit(offset + x @ coef)
        information = (x.T * (p * (1 - p))) @ x
        if not np.linalg.cond(information) < _COLLINEAR:
            break
        step = np.linalg.solve(information, x.T @ (target - p))
        if np.abs(x @ step).max() < 1e-10:
            return LogisticFit(coef, np.linalg.inv(information))
        coef, loglik = _take_step(x, target, offset, coef, loglik, step)
    raise NotEstimableError("columns are collinear, or separate events from the rest", "", "use fewer columns")


def _take_step(
    x: np.ndarray, target: np.ndarray, offset: np.ndarray | float, coef: np.ndarray, loglik: float, step: np.ndarray
) -> tuple[np.ndarray, float]:
    """The Newton step, halved until the likelihood does not fall."""
    for halving in range(_MAX_HALVINGS):
        tried = coef + step / 2**halving
        reached = _compute_loglik(x, target, offset, tried)
        if reached >= loglik - 1e-12 * abs(loglik):
            return tried, reached
    return coef, loglik


def _compute_loglik(x: np.ndarray, target: np.ndarray, offset: np.ndarray | float, coef: np.ndarray) -> float:
    eta = offset + x @ coef
    return float((target * eta - np.logaddexp(0, eta)).sum())
