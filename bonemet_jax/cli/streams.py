"""Guarded standard output and standard error: output files are written even if nobody reads what is printed."""

import os
import sys
from typing import Any, Self, TextIO

from bonemet_jax.process_state import REPLACING_STREAMS, has_process_control

_LAST_STANDARD_DESCRIPTOR = 2


class GuardedStream:
    """A text stream that discards what cannot be written any more, and keeps the first error."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None
        self.is_over = False
        """Whether the block that it guarded has ended."""

    def write(self, text: str) -> int:
        """Write, or discard once a write has failed; the number of characters."""
        if self.error is None:
            try:
                return self.stream.write(text)
            except OSError as error:
                self._discard(error)
        return len(text)

    def flush(self) -> None:
        """Flush; a failure is kept in `error`."""
        if self.error is None:
            try:
                self.stream.flush()
            except OSError as error:
                self._discard(error)

    def _discard(self, error: OSError) -> None:
        """Keep the error; a process of our own has its descriptor pointed at the null device, where what is still
        buffered is flushed when the process ends."""
        self.error = error
        if not has_process_control():
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class GuardedStreams:
    """Guards standard output and standard error in a block; both may be closed."""

    def __init__(self) -> None:
        self._guards: dict[str, GuardedStream] = {}

    @property
    def error(self) -> OSError | None:
        """Why standard output could not be written; none where nobody reads it any more (a closed pipe)."""
        error = self._guards["stdout"].error if "stdout" in self._guards else None
        return None if isinstance(error, BrokenPipeError) else error

    def __enter__(self) -> Self:
        if has_process_control():
            _open_standard_descriptors()
        with REPLACING_STREAMS:
            for name in ("stdout", "stderr"):
                if (stream := getattr(sys, name)) is not None:
                    self._guards[name] = GuardedStream(stream)
                    setattr(sys, name, self._guards[name])
        return self

    def __exit__(self, *error: object) -> None:
        with REPLACING_STREAMS:
            for name, guard in reversed(self._guards.items()):
                guard.flush()
                guard.is_over = True
                while isinstance(stream := getattr(sys, name), GuardedStream) and stream.is_over:
                    setattr(sys, name, stream.stream)


def _open_standard_descriptors() -> None:
    """Open descriptors 0 to 2 that are closed (`>&-`) on the null device: no output file may get one of them, in which
    libraries would print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_DESCRIPTOR:
        os.set_inheritable(descriptor, True)  # so that child processes have all three as well
    os.close(descriptor)
