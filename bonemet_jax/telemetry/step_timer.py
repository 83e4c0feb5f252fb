"""Step times: median and 90th percentile after a warm-up."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class TimeSummary(NamedTuple):
    """Seconds over `n` samples."""

    median_s: float
    p90_s: float
    n: int


def summarize(samples_s: list[float]) -> TimeSummary:
    """Median, 90th percentile and count of samples in seconds."""
    return TimeSummary(float(np.median(samples_s)), float(np.percentile(samples_s, 90)), len(samples_s))


def time_calls(call: Callable[[], Any], n: int, warm_up: int = 5) -> list[float]:
    """Seconds of each of `n` calls after `warm_up` uncounted ones; `call` must wait for its own result."""
    samples = []
    for i in range(warm_up + n):
        start = time.perf_counter()
        call()
        if i >= warm_up:
            samples.append(time.perf_counter() - start)
    return samples
