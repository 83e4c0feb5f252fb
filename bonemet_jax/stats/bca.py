"""Bias-corrected and accelerated bootstrap intervals (BCa) of AUCs and fractions over pooled rows.

The bias correction z0 comes from the draws, the acceleration from leaving one patient out (with all rows) at a time,
both classes on their own as in the draws. Where BCa is not defined the percentile interval stands in, with the reason.
Sources: Efron, J Am Stat Assoc 82 (1987) 171; acceleration of several samples: Davison, Hinkley, Bootstrap Methods and
their Application (1997), chapter 5, as in scipy.stats.bootstrap.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy import special, stats

from bonemet_jax.stats.bootstrap import (
    Draws,
    bootstrap_auc,
    bootstrap_fractions,
    compute_percentile_interval,
    keep_defined,
)
from bonemet_jax.stats.estimable import NotEstimableError, check_binary, check_numbers

#: Beyond this many patients leaving out each in turn needs gigabytes.
_MAX_LEFT_OUT = 30_000
_Z = np.array([-1.0, 1.0]) * float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class BootstrapInterval:
    """A 95 % interval of draws stratified by outcome, and why it is the percentile interval or none at all."""

    ci95: tuple[float, float] | None
    method: Literal["bca", "percentile"] | None
    reason: str | None


def compute_auc_interval(draws: Draws, patient: ArrayLike, score: ArrayLike) -> BootstrapInterval:
    """BCa interval, stratified by outcome, of the AUC over pooled rows; arguments as bootstrap_auc."""
    probe = bootstrap_auc(_leave_one_out(draws), patient, score)
    return compute_bca_interval(bootstrap_auc(draws, patient, score), probe[0], draws.positive, probe[1:])


def compute_fraction_intervals(
    draws: Draws, patient: ArrayLike, numerators: Bool[np.ndarray, "measure row"],
    denominators: Bool[np.ndarray, "measure row"],
) -> list[BootstrapInterval]:
    """BCa interval, stratified by outcome, of each fraction; arguments as bootstrap_fractions."""
    probes = bootstrap_fractions(_leave_one_out(draws), patient, numerators, denominators)
    values = bootstrap_fractions(draws, patient, numerators, denominators)
    return [compute_bca_interval(v, p[0], draws.positive, p[1:]) for v, p in zip(values, probes, strict=True)]


def _leave_one_out(draws: Draws) -> Draws:
    """Everyone once, then everyone but the first patient, everyone but the second ...: the estimate, the jackknife.

    Made by the draws' own arithmetic, so that a draw that equals the estimate does so to the last bit. The estimate
    alone where patients are too many.
    """
    n = draws.positive.size
    if n > _MAX_LEFT_OUT:
        return Draws(draws.positive, np.ones((1, n), np.uint8))
    by_patient = np.ones((n, n + 1), np.uint8)
    by_patient[np.arange(n), np.arange(n) + 1] = 0
    return Draws(draws.positive, by_patient.T)


def compute_bca_interval(
    values: Float[np.ndarray, " draw"], estimate: float, positive: Bool[np.ndarray, " patient"],
    left_out: Float[np.ndarray, " patient"],
) -> BootstrapInterval:
    """95 % BCa interval of any statistic.

    Args:
        values: the statistic in every draw; NaN where a draw has none.
        estimate: the statistic of the data.
        positive: each patient's class, the strata of the draws.
        left_out: the statistic without each patient; empty where patients are too many.

    Raises: NotEstimableError for arrays of other shapes.
    """
    values, left_out = check_numbers("values", values, 1), check_numbers("left_out", left_out, 1)
    defined = keep_defined(values)
    if defined is None:
        return BootstrapInterval(None, None, "more than 5 % of the draws have no value")
    percentile = compute_percentile_interval(values)
    if np.ptp(defined) == 0:
        return BootstrapInterval(percentile, "percentile", "all draws are equal")
    share = ((defined < estimate).mean() + (defined <= estimate).mean()) / 2
    if not 0 < share < 1:
        return BootstrapInterval(percentile, "percentile", "all draws lie on one side of the estimate")
    if not left_out.size:
        return BootstrapInterval(percentile, "percentile", "too many patients to leave out one by one")
    acceleration = compute_acceleration(positive, left_out)
    if acceleration is None:
        return BootstrapInterval(percentile, "percentile", "leaving a patient out leaves no value, or changes nothing")
    z0 = special.ndtri(share)
    shrink = 1 - acceleration * (z0 + _Z)
    if (shrink <= 0).any():
        return BootstrapInterval(percentile, "percentile", "the acceleration is too large")
    low, high = np.quantile(defined, special.ndtr(z0 + (z0 + _Z) / shrink))
    return BootstrapInterval((float(low), float(high)), "bca", None)


def compute_acceleration(
    positive: Bool[np.ndarray, " patient"], left_out: Float[np.ndarray, " patient"]
) -> float | None:
    """Acceleration of a stratified sample from its jackknife; None where that is not defined.

    U = (n_k - 1) (mean of the class - value without the patient) in a class of n_k patients;
    a = sum U^3 / n_k^3 / (6 (sum U^2 / n_k^2)^1.5), summed over both classes.
    Raises: NotEstimableError for one class, or another number of values than of patients.
    """
    positive, left_out = check_binary("positive", positive), check_numbers("left_out", left_out, 1)
    if positive.size != left_out.size:
        raise NotEstimableError(f"{left_out.size} values, {positive.size} patients", "", "one value per patient")
    third = second = 0.0
    for members in (left_out[positive], left_out[~positive]):
        u = (members.size - 1) / members.size * (members.mean() - members)
        third, second = third + (u**3).sum(), second + (u**2).sum()
    defined = bool(np.isfinite(left_out).all()) and second > 0
    return float(third / (6 * second**1.5)) if defined else None
