"""Kaplan-Meier curves with log-log intervals, medians, numbers at risk, and the log-rank test (figure I7).

Curves are scikit-survival's (GPL-3, imported lazily); ties, intervals, medians and the test are R survival's (decision
0032).
Sources: Kaplan, Meier, J Am Stat Assoc 53 (1958) 457; Borgan, Liestol, Scand J Stat 17 (1990) 35; log-rank: Mantel,
Cancer Chemother Rep 50 (1966) 163, as survdiff of R survival 3.5-3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy import stats

from bonemet_jax.stats.estimable import NotEstimableError, check_survival, check_vector

_R_TOLERANCE = float(np.sqrt(np.finfo(float).eps))


@dataclass(frozen=True)
class KaplanMeier:
    """A step function: `survival[i]` holds from `times[i]` on; times start at 0.

    `time` and `event` are the patients' own, ties made exact. The interval is NaN where survival is 0, and where it is
    still 1 after the first patient left, as R's; before that it is [1, 1].
    """

    time: Float[np.ndarray, " patient"]
    event: Bool[np.ndarray, " patient"]
    times: Float[np.ndarray, " step"]
    survival: Float[np.ndarray, " step"]
    lower: Float[np.ndarray, " step"]
    upper: Float[np.ndarray, " step"]

    @property
    def median(self) -> float | None:
        """Median survival time; None when the curve stays above one half."""
        return _cross_half(self.times, self.survival)

    @property
    def median_ci95(self) -> tuple[float | None, float | None]:
        """Where the interval's two bounds cross one half."""
        return _cross_half(self.times, self.lower), _cross_half(self.times, self.upper)

    def at(self, times: ArrayLike) -> dict[str, Float[np.ndarray, " time"]]:
        """survival, lower, upper and n_risk (followed for at least that long) at some times.

        1 before time 0, NaN after the last follow-up. Raises: NotEstimableError for a time that is not a finite number.
        """
        wanted = check_vector("a time asked for", times)
        step = np.searchsorted(self.times, wanted, side="right") - 1
        is_seen = wanted <= self.time.max()
        values = {}
        for name in ("survival", "lower", "upper"):
            at_step = np.where(step < 0, 1.0, getattr(self, name)[step])
            values[name] = np.where(is_seen, at_step, np.nan)
        return values | {"n_risk": (self.time[:, None] >= wanted).sum(axis=0)}

    @property
    def censored_times(self) -> Float[np.ndarray, " tick"]:
        """Distinct times at which someone was censored."""
        return np.unique(self.time[~self.event])


def fit_km(time: ArrayLike, event: ArrayLike) -> KaplanMeier:
    """Kaplan-Meier estimate with pointwise log-log 95 % interval; a group without events stays at 1.

    Args:
        time: follow-up, any unit, one per patient.
        event: 1 where the time is an event, 0 where censored.

    Raises: NotEstimableError for no patients, missing or negative times, events not 0/1.
    """
    times, events = check_survival(time, event, need_event=False)
    return _estimate(times, events)


def fit_km_by_group(time: ArrayLike, event: ArrayLike, group: Sequence[object] | np.ndarray) -> list[KaplanMeier]:
    """One estimate per group, groups in the order of np.unique, with ties made exact over all groups together.

    Raises: as fit_km; also for another number of groups than of times.
    """
    times, events = check_survival(time, event, need_event=False)
    names, of_patient = _number_groups(group, times.size)
    return [_estimate(times[of_patient == i], events[of_patient == i]) for i in range(len(names))]


def _number_groups(
    group: Sequence[object] | np.ndarray, n_patients: int
) -> tuple[np.ndarray, Int[np.ndarray, " patient"]]:
    """Distinct groups in order, and each patient's place among them."""
    groups = np.asarray(group)
    if groups.shape != (n_patients,):
        raise NotEstimableError(f"group has shape {groups.shape}, wanted ({n_patients},)", "", "one group per patient")
    if any(name is None or name != name for name in groups.tolist()):
        raise NotEstimableError("a group is missing", "", "drop these rows first")
    try:
        return np.unique(groups, return_inverse=True)
    except TypeError as error:
        raise NotEstimableError("groups of several types", "", "name every group by text or by a number") from error


def _estimate(time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"]) -> KaplanMeier:
    from sksurv.nonparametric import kaplan_meier_estimator

    estimate = kaplan_meier_estimator(event, time, conf_type="log-log")
    at, survival, bounds = estimate[0], estimate[1], estimate[-1]
    is_inside = (survival > np.finfo(float).eps) & (survival < 1)  # the log-log interval exists strictly between
    lower, upper = np.where(is_inside, bounds, np.nan)
    if at[0] > 0:
        at, survival, lower, upper = (
            np.concatenate([[start], values]) for start, values in ((0, at), (1, survival), (1, lower), (1, upper))
        )
    return KaplanMeier(time, event, at, survival, lower, upper)


def _cross_half(times: np.ndarray, curve: np.ndarray) -> float | None:
    """First time the curve is at or below one half; the middle of the plateau when it rests exactly there (R)."""
    below = np.flatnonzero(np.nan_to_num(curve, nan=1.0) < 0.5 + _R_TOLERANCE)
    if below.size == 0:
        return None
    first = below[0]
    lower_still = below[curve[below] < curve[first]]
    if abs(curve[first] - 0.5) < _R_TOLERANCE and lower_still.size:
        return float((times[first] + times[lower_still[0]]) / 2)
    return float(times[first])


class LogRank(NamedTuple):
    """The log-rank test: chi-square, its degrees of freedom, p. With 0 degrees it tests nothing: p is 1, as R's."""

    chisq: float
    df: int
    p: float

    @property
    def reason(self) -> str | None:
        """Why there is no test, where there is none."""
        return None if self.df else "patients of only one group are at risk when events occur"


def compute_logrank(time: ArrayLike, event: ArrayLike, group: Sequence[object] | np.ndarray) -> LogRank:
    """Log-rank test over two or more groups, as R's survdiff.

    A group of which nobody is at risk at any event is expected to have no event: it is left out, and takes no degree
    of freedom.

    Args:
        time: follow-up, any unit, one per patient.
        event: 1 where the time is an event, 0 where censored.
        group: one per patient; names and their order change nothing.

    Raises: NotEstimableError with one group, no events, or where all who are at risk have the event at once.
    """
    times, events = check_survival(time, event)
    names, of_patient = _number_groups(group, times.size)
    if len(names) < 2:
        raise NotEstimableError("everyone is in one group", "", "choose another cut-off")
    event_times = np.unique(times[events])
    at_risk, deaths = (np.stack([_count(event_times, times[of_patient == i], events[of_patient == i])
                                 for i in range(len(names))], axis=2))
    n, d = at_risk.sum(axis=1), deaths.sum(axis=1)
    share = at_risk / n[:, None]
    expected = (d[:, None] * share).sum(axis=0)
    is_compared = expected > 0
    df = int(is_compared.sum()) - 1
    if df == 0:
        return LogRank(0.0, 0, 1.0)
    # Hypergeometric covariance of the deaths at each time; where one patient is at risk there is none.
    weight = d * (n - d) / np.maximum(n - 1, 1)
    covariance = np.diag(weight @ share) - (share.T * weight) @ share
    if not weight.any():
        raise NotEstimableError("all patients at risk have the event at the same time", "",
                                "the log-rank test needs patients who are followed longer than the first event")
    difference = (deaths.sum(axis=0) - expected)[is_compared][1:]
    variance = covariance[np.ix_(is_compared, is_compared)][1:, 1:]
    chisq = float(difference @ np.linalg.solve(variance, difference))
    return LogRank(chisq, df, float(stats.chi2.sf(chisq, df)))


def _count(
    event_times: Float[np.ndarray, " death"], time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"]
) -> Int[np.ndarray, "2 death"]:
    """Patients of a group at risk at each event time, and those who have the event at it."""
    ordered, died = np.sort(time), np.sort(time[event])
    return np.stack([
        time.size - np.searchsorted(ordered, event_times),
        np.searchsorted(died, event_times, side="right") - np.searchsorted(died, event_times),
    ])
