"""Step times: median and 90th percentile."""

from typing import NamedTuple

import numpy as np


class TimeSummary(NamedTuple):
    """Seconds over `n` samples."""

    median_s: float
    p90_s: float
    n: int


def summarize(samples_s: list[float]) -> TimeSummary:
    """Median, 90th percentile and count of samples in seconds."""
    return TimeSummary(float(np.median(samples_s)), float(np.percentile(samples_s, 90)), len(samples_s))
