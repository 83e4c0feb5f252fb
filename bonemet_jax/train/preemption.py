"""SIGTERM, which a cluster sends before it takes the machine, and SIGHUP, sent when a terminal closes: the training
saves its state and ends."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

from bonemet_jax import hosts
from bonemet_jax.errors import Terminated
from bonemet_jax.process_state import has_process_control

MEND = "run the same command again"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Preemption:
    """Whether the process was asked to end; a context in which SIGTERM and SIGHUP only ask. The second ends it at once.

    Handlers are changed in `process_control` and the main thread alone; elsewhere the signals do what they did before.
    A thread listens: handlers written in Python wait until the main thread is back from the compiler. A signal that is
    ignored (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.has_nothing_new: Callable[[], bool] = lambda: False
        """Whether there is nothing to save, as the first update is still being compiled: the process ends at once."""
        self._asked = threading.Event()
        self._number = int(signal.SIGTERM)
        self._stack = contextlib.ExitStack()

    def is_asked(self) -> bool:
        """Whether one of the signals was received."""
        return self._asked.is_set()

    def make_error(self, where: str, what: str = "terminated") -> Terminated:
        """The error of this end; its exit code names the signal, SIGTERM where only another process received one."""
        return Terminated(what, where, MEND, self._number)

    def __enter__(self) -> Self:
        if has_process_control() and threading.current_thread() is threading.main_thread():
            heard, told = os.pipe()
            os.set_blocking(told, False)
            listener = threading.Thread(target=self._listen, args=(heard,), name="bonemet-preemption", daemon=True)
            listener.start()
            self._stack.callback(os.close, heard)
            self._stack.callback(listener.join)
            self._stack.callback(os.close, told)
            self._stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told, warn_on_full_buffer=False))
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._stack.callback(signal.signal, number, signal.signal(number, _wait))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _listen(self, heard: int) -> None:
        """Take the numbers of signals as they come, until the other end is closed."""
        while number := os.read(heard, 1):
            if number[0] not in _SIGNALS:
                continue
            self._number = number[0]
            if self.is_asked():
                hosts.leave(self.make_error("", "terminated at once, asked twice"))
            if self.has_nothing_new():
                hosts.leave(self.make_error("nothing new to save", "terminated while compiling"))
            self._asked.set()


def _wait(_number: int, _frame: Any) -> None:
    """The handler: the listener does the rest."""
