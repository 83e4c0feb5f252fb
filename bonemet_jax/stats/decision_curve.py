"""Decision curves: what treating by a model's probability is worth beside treating all or none.

Net benefit at threshold t, treat where P >= t: TP/n - FP/n x t/(1 - t). Standardised: divided by the prevalence, the
most that any model can reach. Source: Vickers, Elkin, Med Decis Making 26 (2006) 565; Kerr et al, J Clin Oncol 34
(2016) 2534.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from bonemet_jax.stats.bootstrap import Draws, sum_weighted
from bonemet_jax.stats.estimable import check_binary, check_scored, check_vector

#: Threshold probabilities: 1 to 60 %.
THRESHOLDS = np.arange(1, 61) / 100


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of a model at each threshold with its pointwise 95 % bootstrap band."""

    net_benefit: Float[np.ndarray, " threshold"]
    lower: Float[np.ndarray, " threshold"]
    upper: Float[np.ndarray, " threshold"]


def compute_net_benefit(
    label: ArrayLike, probability: ArrayLike, thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS
) -> Float[np.ndarray, " threshold"]:
    """Net benefit of treating where probability >= threshold. Raises: NotEstimableError for one class."""
    return _weigh(*check_scored(label, probability, "probability"), thresholds).mean(axis=0)


def compute_treat_all(
    label: ArrayLike, thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS
) -> Float[np.ndarray, " threshold"]:
    """Net benefit of treating everyone; treating none is worth 0. Raises: NotEstimableError for one class."""
    positive = check_binary("label", label)
    return compute_net_benefit(positive, np.ones(positive.size), thresholds)


def _weigh(
    positive: Bool[np.ndarray, " patient"], probability: Float[np.ndarray, " patient"], thresholds: np.ndarray
) -> Float[np.ndarray, "patient threshold"]:
    """What each patient adds: 1 for a treated event, -t / (1 - t) for another who is treated."""
    worth = np.where(positive[:, None], 1.0, -thresholds / (1 - thresholds))
    return worth * (probability[:, None] >= thresholds)


def compute_decision_curve(
    draws: Draws, probability: ArrayLike, thresholds: Float[np.ndarray, " threshold"] = THRESHOLDS
) -> DecisionCurve:
    """Net benefit with the band of a patient-level bootstrap, all draws and thresholds in one product.

    The draws are stratified by outcome: the prevalence is held, so a band divided by it is the standardised band.

    Args:
        draws: of draw_patients.
        probability: one a patient, in the order of the draws.

    Raises: NotEstimableError for another number of probabilities, or one that is missing.
    """
    probabilities = check_vector("probability", probability, draws.positive.size)
    by_patient = _weigh(draws.positive, probabilities, thresholds)
    drawn = sum_weighted(draws.weight, by_patient) / draws.positive.size
    lower, upper = np.percentile(drawn, (2.5, 97.5), axis=0)
    return DecisionCurve(by_patient.mean(axis=0), lower, upper)
