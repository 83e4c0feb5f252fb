"""Where the time of a training went: useful steps, and every reason why there were none."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Literal, get_args

Reason = Literal["step", "validation", "compile", "data_wait", "checkpoint", "restore", "profile"]


class TimeAccount:
    """Seconds by reason since it was opened. What nobody claims is `other`, so that the parts are the whole."""

    def __init__(self) -> None:
        self._began, self._within = time.perf_counter(), False
        self._seconds: dict[str, float] = dict.fromkeys(get_args(Reason), 0.0)

    def add(self, reason: Reason, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self._seconds[reason] += seconds

    @contextlib.contextmanager
    def during(self, reason: Reason) -> Iterator[None]:
        """Count the block's seconds. Raises: RuntimeError inside another block, whose seconds would count twice."""
        if self._within:
            raise RuntimeError(f"seconds of {reason} would count twice")
        self._within, began = True, time.perf_counter()
        try:
            yield
        finally:
            self._within = False
            self.add(reason, time.perf_counter() - began)

    def seconds(self, reason: Reason) -> float:
        """So far."""
        return self._seconds[reason]

    def summarize(self) -> dict[str, Any]:
        """Total seconds, goodput (share of steps), and badput: the share of every other reason."""
        total_s = time.perf_counter() - self._began
        shares = {reason: seconds / total_s for reason, seconds in self._seconds.items()}
        shares["other"] = 1 - sum(shares.values())
        goodput = shares.pop("step")
        return {
            "seconds": round(total_s, 3), "goodput": round(goodput, 4),
            "badput": {reason: round(share, 4) for reason, share in shares.items()},
        }  # fmt: skip
