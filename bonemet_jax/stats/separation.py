"""Covariates that separate: the partial likelihood rises for ever as their coefficients grow, so it has no maximum.

That is so just where some weighted sum of the covariates is largest, at every event, for the patient who has it, among
all at risk, and not always equal. One covariate is looked at directly, several by a linear program.
Source: Bryson, Johnson, Technometrics 23 (1981) 381.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, sparse

#: A weight of a weighted sum below this is none: the linear program is solved within 1e-7.
_NO_PART = 1e-6
#: Mean lead of the patients with events over those at risk, in SD, below which they do not lead.
_NO_LEAD = 1e-5


def find_separation(
    time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"],
    values: Float[np.ndarray, "patient covariate"], names: Sequence[str],
) -> str | None:
    """Which covariates separate events from the rest, in words; None where none do.

    Args:
        time: with ties made exact (check_survival).
        event: true where the time is an event.
        values: covariates, original scale; each varies among the patients at risk.
        names: one per covariate.
    """
    order = np.argsort(time, kind="stable")
    time, event, values = time[order], event[order], values[order]
    for name, column in zip(names, values.T, strict=True):
        for side, signed in (("highest", column), ("lowest", -column)):
            if _leads(time, event, signed):
                return f"{name} separates events from the rest: {_count(name, column, event) or _at_all(name, side)}"
    first = np.searchsorted(time, time[event].min())
    at_risk = values[first:]
    weights = _find_weights(time[first:], event[first:], (at_risk - at_risk.mean(axis=0)) / at_risk.std(axis=0))
    if weights is None:
        return None
    parts = [name for name, weight in zip(names, weights, strict=True) if abs(weight) > _NO_PART]
    if len(parts) == 1:
        return f"{parts[0]} separates events from the rest, but for differences that are small beside its largest ones"
    return f"{', '.join(parts)} together separate events from the rest: {_at_all('a weighted sum of them', 'highest')}"


def _at_all(name: str, side: str) -> str:
    return f"at every event, {name} is {side} among those at risk"


def _leads(
    time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"], values: Float[np.ndarray, " patient"]
) -> bool:
    """Whether every event's value is the largest among those at risk; patients in order of time."""
    largest = np.maximum.accumulate(values[::-1])[::-1][np.searchsorted(time, time[event])]
    return bool((values[event] >= largest).all())


def _count(name: str, values: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"]) -> str | None:
    """Events among the patients of a level, where a column of two levels has one without events."""
    levels = np.unique(values)
    if levels.size != 2:
        return None
    n, n_events = ([int(part[values == level].sum()) for level in levels] for part in (np.ones_like(event, int), event))
    i = int(np.argmin(n_events))
    return None if n_events[i] else f"0 of {n[i]} patients with {name} = {levels[i]:g} have an event"


def _find_weights(
    time: Float[np.ndarray, " patient"], event: Bool[np.ndarray, " patient"],
    z: Float[np.ndarray, "patient covariate"],
) -> Float[np.ndarray, " covariate"] | None:
    """Weights within [-1, 1] whose weighted sum leads at every event; None where there are none.

    A linear program in the weights and, per distinct event time, a bound on the weighted sums of those at risk.
    """
    n, p = z.shape
    deaths = np.unique(time[event])
    ranks = np.searchsorted(deaths, time, side="right") - 1  # the last event time at which the patient is at risk
    bound = sparse.csr_array((np.ones(n), (np.arange(n), ranks)), shape=(n, deaths.size))
    falls = sparse.eye_array(deaths.size - 1, deaths.size, k=1) - sparse.eye_array(deaths.size - 1, deaths.size)
    rows = [
        sparse.hstack([sparse.csr_array(z), -bound]),  # nobody is above the bound of the last event time lived to
        sparse.hstack([sparse.csr_array((deaths.size - 1, p)), falls]),  # nor above those before it
        sparse.hstack([sparse.csr_array(-z[event]), bound[event]]),  # an event is at its own
    ]
    n_at_risk = n - np.searchsorted(time, deaths)
    later = np.cumsum(z[::-1], axis=0)[::-1][np.searchsorted(time, deaths)] / n_at_risk[:, None]
    lead = (z[event] - later[ranks[event]]).mean(axis=0)
    solved = optimize.linprog(
        -np.concatenate([lead, np.zeros(deaths.size)]), sparse.vstack(rows, format="csr"),
        np.zeros(n + deaths.size - 1 + int(event.sum())), bounds=[(-1, 1)] * p + [(None, None)] * deaths.size,
    )
    return solved.x[:p] if solved.x is not None and lead @ solved.x[:p] > _NO_LEAD else None
