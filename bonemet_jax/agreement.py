"""Several processes that stop behind the same step, though one alone was asked to.

All put the same questions in the same order ("stop here?"). Once one of them wants to, each says how many it has
answered with no, and answers none until it knows the others' figures; the largest is the question all say yes to. The
figures travel on a thread of their own: a process may stand in a collective that waits for one that already asks.
"""

import threading
from typing import Any

_KEYS = "bonemet/stop/"
_EVERY_S = 0.1


class Agreement:
    """This process among those that stop together."""

    def __init__(self, client: Any, index: int, count: int) -> None:
        """Args:
        client: jax's key-value store.
        index: This process.
        count: All of them.
        """
        self._client, self._index, self._count = client, index, count
        self._n_passed = 0
        self._is_wanted = self._is_closing = False
        self._stop_at: int | None = None
        self._change = threading.Condition()

    def stops(self, is_wanted: bool) -> bool:
        """The next question: whether to stop here.

        Args:
            is_wanted: Whether this process was asked to.
        """
        with self._change:
            self._is_wanted |= is_wanted
            while (self._is_closing or self._is_wanted) and self._stop_at is None:
                self._change.wait(_EVERY_S)
            if self._stop_at is not None and self._n_passed >= self._stop_at:
                return True
            self._n_passed += 1
            return False

    def exchange(self) -> None:
        """Tell and hear. To be called again and again, by another thread than the one that asks."""
        if self._stop_at is not None:
            return
        figures = self._client.key_value_dir_get(_KEYS)
        with self._change:
            if (not figures and not self._is_wanted) or self._is_closing:
                n_passed = None
            else:
                self._is_closing, n_passed = True, self._n_passed
        if n_passed is not None:
            self._client.key_value_set(f"{_KEYS}{self._index}", str(n_passed))
        elif len(figures) == self._count:
            with self._change:
                self._stop_at = max(int(figure) for _, figure in figures)
                self._change.notify_all()
