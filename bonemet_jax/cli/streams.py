"""Guarded standard output and standard error: output files are written even if nobody reads what is printed."""

import contextlib
import os
import sys
from typing import Any, Self, TextIO

_LAST_STANDARD_DESCRIPTOR = 2


class GuardedStream:
    """A text stream that discards what cannot be written any more, and keeps the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or discard once a write has failed; the number of characters."""
        if self.error is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._discard(error)
        return len(text)

    def flush(self) -> None:
        """Flush; a failure is kept in `error`."""
        if self.error is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._discard(error)

    def _discard(self, error: OSError) -> None:
        """Point the descriptor at the null device: what is still buffered is flushed there when the process ends."""
        self.error = error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class GuardedStreams:
    """Guards standard output and standard error in a block; both may be closed."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._out: GuardedStream | None = None

    @property
    def error(self) -> OSError | None:
        """Why standard output could not be written; none where nobody reads it any more (a closed pipe)."""
        error = None if self._out is None else self._out.error
        return None if isinstance(error, BrokenPipeError) else error

    def __enter__(self) -> Self:
        _open_standard_descriptors()
        self._out = self._guard(sys.stdout, contextlib.redirect_stdout)
        self._guard(sys.stderr, contextlib.redirect_stderr)
        return self

    def _guard(self, stream: TextIO | None, redirect: Any) -> GuardedStream | None:
        if stream is None:
            return None
        guard = GuardedStream(stream)
        self._stack.enter_context(redirect(guard))
        self._stack.callback(guard.flush)
        return guard

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _open_standard_descriptors() -> None:
    """Open descriptors 0 to 2 that are closed (`>&-`) on the null device: no output file may get one of them, in which
    libraries would print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_DESCRIPTOR:
        os.set_inheritable(descriptor, True)  # so that child processes have all three as well
    os.close(descriptor)
