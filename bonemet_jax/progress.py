"""Progress of long work: a bar on a terminal, a quiet line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from bonemet_jax.process_state import SharedChange, Undo, change_environment

T = TypeVar("T")
_QUIET_SECONDS = 15.0


def say(text: str) -> None:
    """One line for the person watching, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """A bar with a label, a count, time left and a free text; plain lines when standard error is no terminal."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done, self.text = label, total, 0, ""
        self._start = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"), console=Console(stderr=True),
            )
            self._task = self._bar.add_task(label, total=total, text="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def advance(self, steps: int = 1, text: str = "") -> None:
        """Count `steps` more; `text` (loss, images/s) is shown behind the bar."""
        self.done += steps
        self.text = text or self.text
        if self._bar is not None:
            self._bar.update(self._task, advance=steps, text=self.text)
        elif time.monotonic() - self._last > _QUIET_SECONDS:
            self._last = time.monotonic()
            left = (self._last - self._start) / self.done * (self.total - self.done)
            say(f"{self.label}: {self.done}/{self.total}, {left:.0f} s left  {self.text}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif error is None:
            say(f"{self.label}: {self.done}/{self.total} in {time.monotonic() - self._start:.1f} s  {self.text}")


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield `items`, showing how many are done."""
    with Progress(label, total) as progress:
        for item in items:
            yield item
            progress.advance()


def _silence_tensorflow() -> Undo:
    # oneDNN: tensorflow only reads records here; with it on, it prints two lines.
    restore = change_environment({"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}, replace=False)
    levels = {log: log.level for log in (logging.getLogger(), logging.getLogger("absl"))}
    for log in levels:
        log.setLevel(logging.CRITICAL)

    def undo() -> None:
        restore()
        for log, level in levels.items():
            log.setLevel(level)

    return undo


_QUIET_TENSORFLOW = SharedChange(_silence_tensorflow)


def quiet_tensorflow() -> SharedChange:
    """Keep tensorflow, TFDS and Beam from logging; import them inside. Their logs print whole configs, and a failure's
    traceback; what fails raises all the same.
    """
    return _QUIET_TENSORFLOW
