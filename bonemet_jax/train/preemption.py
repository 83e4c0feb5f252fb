"""SIGTERM, which a cluster sends before it takes the machine: the training saves what it has done and leaves."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

from bonemet_jax import hosts
from bonemet_jax.errors import Terminated

MEND = "run the same command again"


class Preemption:
    """Whether the process was asked to end; a context in which SIGTERM only asks. Asked twice it ends at once.

    A thread listens: handlers written in Python wait until the main thread is back from the compiler. Only the main
    thread may change handlers; elsewhere nothing is changed, and SIGTERM ends the process as ever.
    """

    def __init__(self) -> None:
        self.has_nothing_new: Callable[[], bool] = lambda: False
        """Whether there is nothing to save, as the first update is still being compiled: the process ends at once."""
        self._asked = threading.Event()
        self._stack = contextlib.ExitStack()

    def is_asked(self) -> bool:
        """Whether SIGTERM came."""
        return self._asked.is_set()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard, told = os.pipe()
            os.set_blocking(told, False)
            listener = threading.Thread(target=self._listen, args=(heard,), name="bonemet-preemption", daemon=True)
            listener.start()
            self._stack.callback(os.close, heard)
            self._stack.callback(listener.join)
            self._stack.callback(os.close, told)
            self._stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told, warn_on_full_buffer=False))
            self._stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _wait))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _listen(self, heard: int) -> None:
        """Take the numbers of signals as they come, until the other end is closed."""
        while number := os.read(heard, 1):
            if number[0] != signal.SIGTERM:
                continue
            if self.is_asked():
                hosts.leave(Terminated("terminated at once, asked twice", "", MEND))
            if self.has_nothing_new():
                hosts.leave(Terminated("terminated while compiling", "nothing new to save", MEND))
            self._asked.set()


def _wait(_number: int, _frame: Any) -> None:
    """The handler: the listener does the rest."""
