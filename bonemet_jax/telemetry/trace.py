"""Profiles of single steps, for xprof, TensorBoard and Perfetto."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax

from bonemet_jax.errors import UsageError
from bonemet_jax.progress import say


@dataclass(frozen=True)
class TraceWindow:
    """Which steps are traced, counted over all of a process's updates from 0 on."""

    start: int
    n_steps: int


def parse_window(text: str) -> TraceWindow:
    """START:STEPS. Raises: UsageError."""
    found = re.fullmatch(r"(\d{1,9}):([1-9]\d{0,5})", text)
    if found is None:
        raise UsageError(f"--profile {text} is no START:STEPS", "", "for example 10:5, five steps from the 10th on")
    return TraceWindow(int(found[1]), int(found[2]))


class Observe(NamedTuple):
    """What a training shows of its inside, besides its figures."""

    profile: TraceWindow | None = None
    """Steps to trace, into the run's folder `profile`."""
    dump_hlo: Path | None = None
    """Folder for the compiled programs' texts."""


#: Figures alone.
NOTHING = Observe()


class Tracer:
    """Starts and stops the profile as steps go by; without a window it does nothing."""

    def __init__(self, window: TraceWindow | None = None, directory: Path | None = None) -> None:
        self._window, self._directory = window, directory
        self._step, self._running = 0, False

    def step(self, n: int = 1) -> contextlib.AbstractContextManager[object]:
        """To hold around the next `n` steps, which are one call."""
        if self._window is None or self._directory is None:
            return contextlib.nullcontext()
        window, first = self._window, self._step
        self._step += n
        if not self._running and first <= window.start < self._step:
            jax.profiler.start_trace(str(self._directory), create_perfetto_trace=True)
            self._running = True
        elif self._running and first >= window.start + window.n_steps:
            self.close()
        return jax.profiler.StepTraceAnnotation("train", step_num=first) if self._running else contextlib.nullcontext()

    def close(self) -> None:
        """End a profile that is under way."""
        if self._running:
            jax.profiler.stop_trace()
            self._running, self._window = False, None
            say(f"profile written; {self._directory}")
