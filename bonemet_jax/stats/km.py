"""Kaplan-Meier curves with log-log intervals, medians, numbers at risk, and the log-rank test (figure I7).

Curves and the test are scikit-survival's (GPL-3, imported lazily); medians follow R survival's rule.
Sources: Kaplan, Meier, J Am Stat Assoc 53 (1958) 457; Borgan, Liestol, Scand J Stat 17 (1990) 35.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from bonemet_jax.stats.estimable import NotEstimableError, check_survival

_R_TOLERANCE = float(np.sqrt(np.finfo(float).eps))


@dataclass(frozen=True)
class KaplanMeier:
    """A step function: `survival[i]` holds from `times[i]` on; times start at 0; at survival 0 the interval is NaN.

    `time` and `event` are the patients' own.
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
        """survival, lower, upper (NaN after the last follow-up) and n_risk (followed for at least that long)."""
        wanted = np.asarray(times, dtype=float)
        step = np.searchsorted(self.times, wanted, side="right") - 1
        seen = wanted <= self.time.max()
        values = {name: np.where(seen, getattr(self, name)[step], np.nan) for name in ("survival", "lower", "upper")}
        return values | {"n_risk": (self.time[:, None] >= wanted).sum(axis=0)}

    @property
    def censored_times(self) -> Float[np.ndarray, " tick"]:
        """Distinct times at which someone was censored."""
        return np.unique(self.time[~self.event])


def fit_km(time: ArrayLike, event: ArrayLike) -> KaplanMeier:
    """Kaplan-Meier estimate with pointwise log-log 95 % interval; a group without events stays at 1.

    Raises: NotEstimableError for no patients, missing or negative times, events not 0/1.
    """
    from sksurv.nonparametric import kaplan_meier_estimator

    times, events = check_survival(time, event, need_event=False)
    if times.size == 0:
        raise NotEstimableError("no patients in this group", "", "choose another cut-off")
    estimate = kaplan_meier_estimator(events, times, conf_type="log-log")
    at, survival, lower, upper = estimate[0], estimate[1], *estimate[-1]
    gone = survival <= np.finfo(float).eps
    lower, upper = np.where(gone, np.nan, lower), np.where(gone, np.nan, upper)
    if at[0] > 0:
        at, survival, lower, upper = (
            np.concatenate([[start], values]) for start, values in ((0, at), (1, survival), (1, lower), (1, upper))
        )
    return KaplanMeier(times, events, at, survival, lower, upper)


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


def compute_logrank(time: ArrayLike, event: ArrayLike, group: Sequence[object] | np.ndarray) -> tuple[float, float]:
    """Log-rank chi-square and p over two or more groups.

    Raises: NotEstimableError with one group, no events, or no event time at which the groups could differ.
    """
    from sksurv.compare import compare_survival
    from sksurv.util import Surv

    times, events = check_survival(time, event)
    if np.unique(np.asarray(group)).size < 2:
        raise NotEstimableError("everyone is in one group", "", "choose another cut-off")
    try:
        result = compare_survival(Surv.from_arrays(events, times), np.asarray(group))
    except np.linalg.LinAlgError as error:
        raise NotEstimableError("no event time at which both groups are at risk", "", "more follow-up") from error
    return float(result[0]), float(result[1])
