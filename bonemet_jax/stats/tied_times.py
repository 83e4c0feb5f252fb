"""Times that are equal but for rounding are ties, as R's survival decides (aeqSurv, its option timefix).

0.1 + 0.2 and 0.3 months are one time. Risk sets, comparable pairs and the steps of a curve depend on ties, so times
are tied over all patients of an analysis, before these are split into groups or folds.
"""

import numpy as np
from jaxtyping import Float

#: sqrt(.Machine$double.eps): neighbouring times closer than this, or than this share of the mean time, are one time.
TOLERANCE = float(np.sqrt(np.finfo(float).eps))


def tie_times(time: Float[np.ndarray, " patient"]) -> Float[np.ndarray, " patient"]:
    """The times, each cluster of neighbours within the tolerance replaced by its earliest.

    Args:
        time: finite, any unit, one per patient.

    Returns: times of the same shape and unit.

    Source: aeqSurv of R survival 3.5-3. A chain of neighbours, each within the tolerance of the next, is one time.
    """
    distinct = np.unique(time)
    if distinct.size < 2:
        return time
    gap, mean = np.diff(distinct), float((np.abs(distinct) / distinct.size).sum())  # a sum of times could overflow
    is_tied = (gap <= TOLERANCE) | (gap / mean <= TOLERANCE)
    cuts = distinct[np.append(True, ~is_tied)]
    return cuts[np.searchsorted(cuts, time, side="right") - 1]
