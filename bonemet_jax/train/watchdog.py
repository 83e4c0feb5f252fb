"""A thread that reports a step that takes far longer than the others did (a stuck device or host), and then ends the
process where that is allowed."""

import contextlib
import faulthandler
import io
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from bonemet_jax import artifacts, hosts
from bonemet_jax.errors import BonemetError, TryAgainError
from bonemet_jax.process_state import has_process_control
from bonemet_jax.roll_call import read_silence_s, say_last

#: The deadline in median steps; at least `read_silence_s`, 20 s.
_TIMES = 5
_KEPT = 101


class Watchdog:
    """Beaten after each finished step; while `watching`, the next must follow by the deadline.

    Before the first finished step there is none: how long one takes is not known. That another process is gone then
    the roll call tells.
    """

    def __init__(
        self, directory: Path | None = None, is_excused: Callable[[], bool] = lambda: False,
        floor_s: float | None = None,
    ) -> None:
        """Args:
        directory: Where the stacks are left; on standard error alone when None.
        is_excused: Whether time that passes now does not count: a program compiles.
        floor_s: The shortest deadline; as `read_silence_s` where None.
        """
        self._directory, self._is_excused = directory, is_excused
        self._floor_s = read_silence_s() if floor_s is None else floor_s
        self.place = ""
        """Where in the training, for messages: fold and epoch."""
        self._seconds: dict[str, deque[float]] = {}
        self._n_begun, self._kind, self._label = 0, "", "its start"
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._watching = self._reported = False
        self._thread = threading.Thread(target=self._watch, name="bonemet-watchdog", daemon=True)
        self._may_end_process = has_process_control()

    def deadline_s(self) -> float | None:
        """Seconds that a step of this kind may take; None before one is finished."""
        seconds = self._seconds.get(self._kind)
        return max(self._floor_s, _TIMES * statistics.median(seconds)) if seconds else None

    def begin_step(self, kind: str, number: int) -> None:
        """A step is handed to the devices; only steps of one kind are held against each other."""
        self._n_begun, self._kind, self._label = self._n_begun + 1, kind, f"{self.place}, {kind} step {number}"
        hosts.note_step(self._n_begun, self._label)

    def beat(self) -> None:
        """A step is finished."""
        now = time.monotonic()
        self._seconds.setdefault(self._kind, deque(maxlen=_KEPT)).append(now - self._last)
        self._last, self._reported = now, False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Steps follow one another meanwhile; at other times (saving, between folds) nothing is due."""
        self._last, self._watching = time.monotonic(), True
        try:
            yield
        finally:
            self._watching = False

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._floor_s / 4)):
            if not self._watching or self._is_excused():
                self._last = time.monotonic()
            deadline_s, waited_s = self.deadline_s(), time.monotonic() - self._last
            if deadline_s is not None and waited_s > deadline_s and not self._reported:
                self._reported = True
                self._expire(waited_s)

    def _expire(self, waited_s: float) -> None:
        """Print the stacks of all threads and one line, save the stacks in the directory, and end the process in
        `process_control`; elsewhere its owner decides."""
        with contextlib.suppress(io.UnsupportedOperation, AttributeError):  # a notebook's has no file descriptor
            faulthandler.dump_traceback(sys.stderr)
        left = self._save_stacks()
        who = hosts.describe_laggards()
        told = TryAgainError(
            f"{self._label} is not finished after {waited_s:.0f} s, its like took "
            f"{statistics.median(self._seconds[self._kind]):.2f} s" + (f"; {who}" if who else ""), left,
            "run the same command again; if it comes back, look at the device",
        )
        if self._may_end_process:
            hosts.leave(told)
        else:
            say_last(told)

    def _save_stacks(self) -> Path | str:
        """File of the stacks; none where it cannot be written, which must not keep the process."""
        if self._directory is None:
            return ""
        path = self._directory / f"stacks_{os.getpid()}.txt"
        with contextlib.suppress(BonemetError, OSError):
            with artifacts.atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
                faulthandler.dump_traceback(file)
            return path
        return ""
