"""Profiles of single updates, for xprof, TensorBoard and Perfetto."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from bonemet_jax.progress import say
from bonemet_jax.telemetry.observe import TraceWindow


class Tracer:
    """Starts and stops the profile as updates go by; without a window it does nothing.

    It waits for the devices at both edges, so that the profile holds these updates, whole, and nothing else.
    """

    def __init__(self, window: TraceWindow | None = None, directory: Path | None = None) -> None:
        if directory is not None and jax.process_count() > 1:  # two in one folder would disturb each other
            directory /= f"process_{jax.process_index()}"
        self._window, self._directory = window, directory
        self._n_done, self._running = 0, False
        self.seconds = 0.0
        """Spent starting and writing profiles: no part of any step."""
        self.is_busy = False
        """Now."""

    @contextlib.contextmanager
    def step(self, before: Any, n: int = 1) -> Iterator[None]:
        """Around a call that makes `n` updates; `before` is the state it takes."""
        window, first = self._window, self._n_done
        self._n_done += n
        if window is None or (not first <= window.start < self._n_done and not self._running):
            yield
            return
        if not self._running:
            jax.block_until_ready(before)
            with self._counted():
                jax.profiler.start_trace(str(self._directory), create_perfetto_trace=True)
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=first):
            yield

    def after(self, state: Any) -> None:
        """To be told the state behind each such call."""
        if self._running and self._window is not None and self._n_done >= self._window.start + self._window.n_steps:
            jax.block_until_ready(state)
            self._stop()

    def close(self) -> None:
        """End a profile that is under way; say so when the window was never reached."""
        if self._running:
            self._stop()
        elif self._window is not None:
            say(f"note: no profile, the training ended after {self._n_done} updates, before the "
                f"{self._window.start}th")

    def _stop(self) -> None:
        """A profile that cannot be written must not end a training."""
        self._running, self._window = False, None
        try:
            with self._counted():
                jax.profiler.stop_trace()
        except (OSError, ValueError, RuntimeError) as error:
            say(f"warning: the profile could not be written ({error}); {self._directory}")
        else:
            say(f"profile written; {self._directory}")

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        began, self.is_busy = time.perf_counter(), True
        try:
            yield
        finally:
            self.seconds, self.is_busy = self.seconds + time.perf_counter() - began, False
