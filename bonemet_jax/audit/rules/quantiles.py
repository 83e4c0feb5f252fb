"""How many of n patients lie below a quantile, whichever of the usual definitions it was computed by.

Source: Hyndman, Fan, The American Statistician 50 (1996) 361: of n ordered values, their nine definitions put the
p-quantile at a place from floor(n p) to n p + max(p, 1 - p).
"""

import math

#: Statistics that are quantiles.
QUANTILES = {"min": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "max": 1.0}


def most_below(statistic: str, n: int) -> int:
    """The most patients that can lie strictly below the statistic."""
    p = QUANTILES[statistic]
    return {0.0: 0, 1.0: n - 1}.get(p, min(n - 1, math.floor(n * p + max(p, 1 - p))))


def least_up_to(statistic: str, n: int) -> int:
    """The fewest patients that can lie at or below the statistic."""
    p = QUANTILES[statistic]
    return {0.0: 1, 1.0: n}.get(p, max(1, math.floor(n * p)))
