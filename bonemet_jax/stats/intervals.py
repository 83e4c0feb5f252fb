"""Intervals of a proportion."""

import math
from dataclasses import dataclass

#: 97.5 % quantile of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Proportion:
    """k of n with a 95 % interval; value and interval are None when n is 0."""

    value: float | None
    ci95: tuple[float, float] | None
    k: int
    n: int


#: A proportion of nobody, or one that cannot be computed.
UNKNOWN = Proportion(None, None, 0, 0)


def compute_wilson(k: int, n: int, z: float = Z95) -> Proportion:
    """Proportion k / n with Wilson's score interval.

    Source: Wilson, J Am Stat Assoc 22 (1927) 209; no continuity correction.
    """
    if n == 0:
        return Proportion(None, None, 0, 0)
    value = k / n
    shrink = 1 + z * z / n
    centre = (value + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    # At k = 0 and k = n the bound is exactly 0 and 1; rounding must not move it inside.
    return Proportion(value, (0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half), k, n)
