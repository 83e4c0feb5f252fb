"""What every estimate asks of its input, and the error that says why there is none.

A public function of this package whose argument is an ArrayLike passes it through one of these checks, so that an
input of the wrong shape or type ends in a NotEstimableError and never in an error of numpy's.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from bonemet_jax.errors import InputDataError
from bonemet_jax.stats.tied_times import tie_times

#: A column whose range is this share of its largest value, or less, is constant but for rounding.
_ROUNDING = 1e-12
#: Squares of values beyond this, or of values below its inverse, leave floating point.
_MAX_SIZE = 1e150


class NotEstimableError(InputDataError):
    """The data hold no answer: one class, no events, a constant column. `what` is the reason shown to the reader."""


def check_numbers(name: str, values: ArrayLike, n_axes: int | None = None) -> Float[np.ndarray, "..."]:
    """`values` as float64, NaN and infinity allowed, with `n_axes` where given. Raises: NotEstimableError."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "USmMc":
            raise TypeError
        array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise NotEstimableError(f"{name} is not an array of numbers", "", "pass numbers") from error
    if n_axes is not None and array.ndim != n_axes:
        raise NotEstimableError(f"{name} has shape {array.shape}, wanted {n_axes} axes", "", "one value per row")
    return array


def check_finite(name: str, values: ArrayLike, n_axes: int | None = None) -> Float[np.ndarray, "..."]:
    """`values` as float64. Raises: NotEstimableError where one is not a number, missing or infinite."""
    array = check_numbers(name, values, n_axes)
    if not np.isfinite(array).all():
        raise NotEstimableError(f"{name} holds a missing or infinite value", "", "drop these rows first")
    return array


def check_vector(name: str, values: ArrayLike, size: int | None = None) -> Float[np.ndarray, " row"]:
    """`values` as a float64 vector, of `size` rows where that is given. Raises: NotEstimableError."""
    array = check_finite(name, values)
    if array.ndim != 1 or (size is not None and array.size != size):
        wanted = "one axis" if size is None else f"({size},)"
        raise NotEstimableError(f"{name} has shape {array.shape}, wanted {wanted}", "", "one value per row")
    return array


def check_table(
    name: str, values: ArrayLike, n_rows: int, names: Sequence[str]
) -> Float[np.ndarray, "row column"]:
    """`values` as a float64 table of `n_rows` and one column per name, at least one.

    Raises: NotEstimableError, also for a column whose squares leave floating point.
    """
    array = check_finite(name, values)
    if array.shape != (n_rows, len(names)) or not names:
        raise NotEstimableError(f"{name} has shape {array.shape}, wanted ({n_rows}, {len(names)})", "",
                                "one row per patient, one column per name, at least one")
    doubled = next((name for name in names if list(names).count(name) > 1), None)
    if doubled is not None:
        raise NotEstimableError(f"column {doubled} is named twice", "", "name every column once")
    check_size(array, names)
    return array


def check_size(values: Float[np.ndarray, "row column"], names: Sequence[str]) -> None:
    """Raises: NotEstimableError for a column whose largest value cannot be squared in floating point."""
    largest = np.abs(values).max(axis=0, initial=0.0)
    for name, size in zip(names, largest, strict=True):
        if size > _MAX_SIZE or 0 < size < 1 / _MAX_SIZE:
            raise NotEstimableError(f"column {name} has a largest value of {size:.3g}", "", "use another unit")


def check_binary(name: str, values: ArrayLike) -> Bool[np.ndarray, " row"]:
    """`values` as booleans. Raises: NotEstimableError for anything but a vector of 0 and 1, both present."""
    truth = check_zeros_and_ones(name, values)
    if not truth.size:
        raise NotEstimableError(f"{name} is empty", "", "both classes are needed")
    if truth.all() or not truth.any():
        raise NotEstimableError(f"{name} has only one class", "", "both classes are needed")
    return truth


def check_zeros_and_ones(name: str, values: ArrayLike) -> Bool[np.ndarray, " row"]:
    """`values` as booleans. Raises: NotEstimableError for anything but a vector of 0 and 1."""
    array = check_vector(name, values)
    if not np.isin(array, (0, 1)).all():
        raise NotEstimableError(f"{name} holds values other than 0 and 1", "", "use 0 and 1")
    return array.astype(bool)


def check_scored(
    label: ArrayLike, score: ArrayLike, name: str = "score"
) -> tuple[Bool[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """Labels 0/1, both present, and one finite score per label. Raises: NotEstimableError."""
    positive = check_binary("label", label)
    return positive, check_vector(name, score, positive.size)


def check_counts(name: str, values: ArrayLike) -> Int[np.ndarray, "group level"]:
    """`values` as a table of counts. Raises: NotEstimableError for anything but two axes of whole numbers from 0."""
    array = check_finite(name, values, 2)
    if ((array != np.rint(array)) | (array < 0)).any():
        raise NotEstimableError(f"{name} holds values other than whole numbers from 0", "", "pass counts")
    return array.astype(int)


def check_members(name: str, values: ArrayLike, n_patients: int) -> Int[np.ndarray, " row"]:
    """`values` as indices of patients. Raises: NotEstimableError for anything but 0 .. n_patients - 1."""
    array = check_vector(name, values)
    if ((array != np.rint(array)) | (array < 0) | (array >= n_patients)).any():
        raise NotEstimableError(f"{name} holds values other than 0 to {n_patients - 1}", "",
                                "give each row the index of its patient")
    return array.astype(int)


def check_survival(
    time: ArrayLike, event: ArrayLike, need_event: bool = True
) -> tuple[Float[np.ndarray, " patient"], Bool[np.ndarray, " patient"]]:
    """Times >= 0 with ties made exact (tied_times.py), and events as booleans; at least one event if needed.

    To be called once, over all patients of an analysis: what is computed of some of them takes times from here.
    Raises: NotEstimableError.
    """
    times = check_vector("time", time)
    events = check_zeros_and_ones("event", event)
    if times.shape != events.shape:
        raise NotEstimableError(f"time has shape {times.shape}, event {events.shape}", "", "one of each per patient")
    if not times.size:
        raise NotEstimableError("no patients with a follow-up time", "", "survival needs patients")
    if (times < 0).any():
        raise NotEstimableError("time holds a negative value", "", "use times >= 0")
    if need_event and not events.any():
        raise NotEstimableError("no events", "", "survival needs at least one event")
    return tie_times(times), events


def check_risk_sets(
    time: ArrayLike, event: ArrayLike, x: ArrayLike
) -> tuple[Float[np.ndarray, " patient"], Bool[np.ndarray, " patient"], Float[np.ndarray, "patient covariate"]]:
    """Some patients' times as check_survival gave them, events and covariates. Raises: NotEstimableError."""
    times, values = check_vector("time", time), check_finite("covariates", x, 2)
    events = check_zeros_and_ones("event", event)
    if not times.size == events.size == len(values):
        raise NotEstimableError(f"{times.size} times, {events.size} events, {len(values)} rows of covariates", "",
                                "one of each per patient")
    if not events.any():
        raise NotEstimableError("no events", "", "survival needs at least one event")
    return times, events, values


def find_varying(values: Float[np.ndarray, "row column"]) -> Bool[np.ndarray, " column"]:
    """Which columns vary by more than rounding does: 0.3 and 0.1 + 0.2 are one value."""
    if not len(values):
        return np.zeros(values.shape[1], dtype=bool)
    halves = values / 2  # a difference of two values may be too large to hold
    return halves.max(axis=0) - halves.min(axis=0) > _ROUNDING * np.abs(halves).max(axis=0)
