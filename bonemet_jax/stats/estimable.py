"""What every estimate asks of its input, and the error that says why there is none."""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from bonemet_jax.errors import InputDataError


class NotEstimableError(InputDataError):
    """The data hold no answer: one class, no events, a constant column. `what` is the reason shown to the reader."""


def check_finite(name: str, values: ArrayLike) -> Float[np.ndarray, "..."]:
    """`values` as float64. Raises: NotEstimableError where one is missing or infinite."""
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise NotEstimableError(f"{name} holds a missing or infinite value", "", "drop these rows first")
    return array


def check_binary(name: str, values: ArrayLike) -> Bool[np.ndarray, " row"]:
    """`values` as booleans. Raises: NotEstimableError for anything but 0 and 1, both present."""
    array = np.asarray(values)
    if not np.isin(array, (0, 1)).all():
        raise NotEstimableError(f"{name} holds values other than 0 and 1", "", "use 0 and 1")
    truth = array.astype(bool)
    if truth.all() or not truth.any():
        raise NotEstimableError(f"{name} has only one class", "", "both classes are needed")
    return truth


def check_survival(
    time: ArrayLike, event: ArrayLike, need_event: bool = True
) -> tuple[Float[np.ndarray, " patient"], Bool[np.ndarray, " patient"]]:
    """Times >= 0 and events 0/1 of equal length, at least one event if needed. Raises: NotEstimableError."""
    times = check_finite("time", time)
    events = np.asarray(event)
    if times.ndim != 1 or times.shape != events.shape:
        raise NotEstimableError(f"time has shape {times.shape}, event {events.shape}", "", "one of each a patient")
    if not np.isin(events, (0, 1)).all():
        raise NotEstimableError("event holds values other than 0 and 1", "", "use 0 and 1")
    if (times < 0).any():
        raise NotEstimableError("time holds a negative value", "", "use times >= 0")
    if need_event and not events.astype(bool).any():
        raise NotEstimableError("no events", "", "survival needs at least one event")
    return times, events.astype(bool)
