"""What belongs to the whole process: settings that are put back, and permission to end it or to handle its signals.

A library call must leave the process of its caller as it was. The command line owns its process and asks for more.
"""

import contextlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

Undo = Callable[[], object]
#: Held while `sys.stdout` or `sys.stderr` are replaced and while they are put back, so that threads take turns.
REPLACING_STREAMS = threading.RLock()
#: The same for filters of warnings: `warnings.catch_warnings` puts back what it found.
REPLACING_WARNINGS = threading.RLock()
_HAS_CONTROL: ContextVar[bool] = ContextVar("bonemet_process_control", default=False)


class SharedChange(contextlib.ContextDecorator):
    """A context that changes a setting of the whole process. Blocks of several threads may overlap: the first one
    makes the change, and the last one undoes it."""

    def __init__(self, change: Callable[[], Undo]) -> None:
        """Args:
        change: Makes the change and returns what undoes it.
        """
        self._change = change
        self._lock = threading.Lock()
        self._n_inside = 0
        self._undo: Undo = bool

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._undo = self._change()
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._undo()


def make_quiet(logger: str) -> SharedChange:
    """A context in which this logger of a library prints nothing."""

    def disable() -> Undo:
        found = logging.getLogger(logger)
        before, found.disabled = found.disabled, True
        return lambda: setattr(found, "disabled", before)

    return SharedChange(disable)


def change_environment(values: Mapping[str, str], *, replace: bool = True) -> Undo:
    """Set environment variables; returns the function that restores them.

    Args:
        values: New values by name.
        replace: Whether values that are set already are replaced.
    """
    changed = {name: value for name, value in values.items() if replace or name not in os.environ}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    return restore


def _keep_start_method() -> Undo:
    is_chosen = multiprocessing.get_start_method(allow_none=True) is not None
    return bool if is_chosen else lambda: multiprocessing.set_start_method(None, force=True)


#: Context for work that starts processes, which chooses Python's start method for good: that is left to the caller.
KEEPS_START_METHOD = SharedChange(_keep_start_method)


@contextlib.contextmanager
def process_control() -> Iterator[None]:
    """Inside, work that this thread starts may handle signals of the process and end it.

    A training then saves its state on SIGTERM and SIGHUP (in the main thread), and a step that never ends, or a lost
    process of a distributed run, ends the process with exit code 75. The `bonemet` program runs inside it. Without it,
    signals keep their handlers, and a stuck step is only reported.
    """
    token = _HAS_CONTROL.set(True)
    try:
        yield
    finally:
        _HAS_CONTROL.reset(token)


def has_process_control() -> bool:
    """Whether this thread is inside `process_control`."""
    return _HAS_CONTROL.get()


_RESTORED: ContextVar[contextlib.ExitStack | None] = ContextVar("bonemet_restored", default=None)


@contextlib.contextmanager
def restoring() -> Iterator[None]:
    """Inside, `change_meanwhile` changes settings of the process; all are put back at the end."""
    with contextlib.ExitStack() as stack:
        token = _RESTORED.set(stack)
        try:
            yield
        finally:
            _RESTORED.reset(token)


def change_meanwhile(change: SharedChange) -> None:
    """Make this change until `restoring` ends; do nothing outside of it."""
    stack = _RESTORED.get()
    if stack is not None:
        stack.enter_context(change)
