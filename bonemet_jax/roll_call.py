"""Roll call of processes that work as one: each says every second that it lives and how far it is.

Who is missed, or says that it failed, is named by all the others, who then leave with exit code 75: a collective would
wait for it for ever. jax's own heartbeat ends processes too, but names nobody and no step.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bonemet_jax.agreement import Agreement
from bonemet_jax.errors import TryAgainError, UsageError
from bonemet_jax.jax_workarounds import call_on_abort
from bonemet_jax.process_state import has_process_control

#: Seconds of silence after which a process counts as lost; BONEMET_WATCHDOG_S takes its place (docs/many-hosts.md).
SILENCE_S = 20.0
_EVERY_S = 1.0
#: Silence is enough to be named once a sum over the processes has failed: two calls missed, and time to spare.
_FAILED_SILENCE_S = 4.0
#: Process 0 holds the store in which all this stands: it leaves last.
_LINGER_S = 3.0
#: A wait for process 0 is asked again after this; one for all ends after a day, or when one is lost.
_ASK_MS, _MEET_MS = 60_000, 86_400_000
_MEND = "run the same command again on all hosts"


class Said(NamedTuple):
    """What one process last said."""

    tick: int
    """Changes with every call."""
    n_begun: int
    """Steps begun."""
    label: str
    """The last of them."""
    failure: str
    """Why it is leaving; empty while it works."""


def read_silence_s() -> float:
    """Seconds until a process counts as lost or a step as stuck. Raises: UsageError."""
    text = os.environ.get("BONEMET_WATCHDOG_S", str(SILENCE_S))
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"BONEMET_WATCHDOG_S {text}: not a number of seconds", "", "for example 60") from None


class RollCall:
    """This process among the others."""

    def __init__(self, client: Any, index: int, count: int, silence_s: float | None = None) -> None:
        """Args:
        client: jax's key-value store.
        index: This process.
        count: All of them.
        silence_s: As `read_silence_s` where None.
        """
        self.index, self.count = index, count
        self.silence_s = read_silence_s() if silence_s is None else silence_s
        self._client = client
        self.agreement = Agreement(client, index, count)
        self._mine = Said(0, 0, "its start", "")
        self._changing = threading.Lock()
        self._others: dict[int, Said] = {}
        self._heard_at: dict[int, float] = {}
        self._asked_at = time.monotonic()
        self._n_once = self._n_met = 0
        self._failed = False
        self._ended = threading.Event()
        self._leaving = threading.Lock()
        self.may_end_process = has_process_control()
        self._threads = [threading.Thread(target=target, name=f"bonemet-roll-call{target.__name__}", daemon=True)
                         for target in (self._exchange, self._judge)]

    def begin(self) -> None:
        """Start calling and listening. From now on a lost process ends this one in `process_control`, and is reported
        elsewhere."""
        now = time.monotonic()
        self._heard_at = dict.fromkeys(set(range(self.count)) - {self.index}, now)
        if self.may_end_process:
            self._undo_abort = call_on_abort(lambda: self._name_lost(self._explain_abort()))
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop: all are done."""
        self._ended.set()
        if self.may_end_process:
            self._undo_abort()
        for thread in self._threads:
            thread.join(_ASK_MS / 1000)

    def note(self, n_begun: int, label: str) -> None:
        """How far this process is; the next call says so."""
        self._say(n_begun=n_begun, label=label)

    def once(self, work: Callable[[], Any]) -> Any:
        """As `hosts.once`."""
        key, self._n_once = f"bonemet/once/{self._n_once}", self._n_once + 1
        if self.index == 0:
            text = json.dumps(work())
            self._client.key_value_set(key, text)
            return json.loads(text)
        while True:
            try:
                return json.loads(self._client.blocking_key_value_get(key, _ASK_MS))
            except RuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def meet(self) -> None:
        """As `hosts.meet`."""
        self._n_met += 1
        self._client.wait_at_barrier(f"bonemet/meet/{self._n_met}", _MEET_MS)

    def tell(self, reason: str) -> None:
        """Say why this process leaves, and give the others time to hear it."""
        self._say(failure=" ".join(reason.split())[:500])
        time.sleep(_LINGER_S if self.index == 0 else 2 * _EVERY_S)

    def fail(self, error: BaseException) -> None:
        """This process raised: a sum that failed because another is gone names that one and leaves; else say it."""
        self._failed = True
        if any(name in str(error) for name in ("Gloo", "NCCL")):
            time.sleep(self.silence_s + _FAILED_SILENCE_S)  # _judge leaves before, if it was another's fault
        self.tell(f"{type(error).__name__}: {error}")

    def describe_laggards(self) -> str:
        """As `hosts.describe_laggards`, after listening for a while."""
        time.sleep(2.5 * _EVERY_S)
        silent = self._find_silent(2.2 * _EVERY_S)
        others = dict(self._others)
        least = min((said.n_begun for said in others.values()), default=self._mine.n_begun)
        behind = [i for i, said in others.items() if said.n_begun == least < self._mine.n_begun]
        return "; ".join(self._describe(i) for i in sorted({*silent, *behind}))

    def _exchange(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._say(tick=self._mine.tick + 1)
            with contextlib.suppress(RuntimeError, ValueError):  # _judge sees that it was not asked
                self._client.key_value_set(f"bonemet/said/{self.index}", json.dumps(self._mine), allow_overwrite=True)
                for key, text in self._client.key_value_dir_get("bonemet/said/"):
                    self._hear(int(key.rpartition("/")[2]), Said(*json.loads(text)))
                self.agreement.exchange()
                self._asked_at = time.monotonic()

    def _say(self, **changed: Any) -> None:
        with self._changing:
            self._mine = self._mine._replace(**changed)

    def _hear(self, index: int, said: Said) -> None:
        if index != self.index and said != self._others.get(index):
            self._others[index], self._heard_at[index] = said, time.monotonic()

    def _judge(self) -> None:
        while not self._ended.wait(_EVERY_S / 2):
            failed = {i: said.failure for i, said in dict(self._others).items() if said.failure}
            if failed:
                i = min(failed)
                self._name_lost(f"process {i} of {self.count} failed at {self._others[i].label} ({failed[i]})")
            if silent := self._find_silent(_FAILED_SILENCE_S if self._failed else self.silence_s):
                self._name_lost("; ".join(map(self._describe, silent)))

    def _find_silent(self, limit_s: float) -> list[int]:
        """Processes not heard of for so long; 0 alone where its store does not answer, as nobody is heard then."""
        now = time.monotonic()
        if now - self._asked_at > limit_s:
            return [0] if self.index else []
        return [i for i, heard_at in sorted(self._heard_at.items()) if now - heard_at > limit_s]

    def _describe(self, index: int) -> str:
        said = self._others.get(index)
        silent_s = time.monotonic() - self._heard_at[index]
        heard = f"not heard of for {silent_s:.0f} s" if silent_s > 2 * _EVERY_S else "behind"
        return f"process {index} of {self.count} is {heard}, last at {said.label if said else 'its start'}"

    def _explain_abort(self) -> str:
        silent = self._find_silent(_FAILED_SILENCE_S)
        return "; ".join(map(self._describe, silent)) or (
            f"process 0 of {self.count}, which holds the others together, is gone, last at "
            f"{self._others[0].label if 0 in self._others else 'its start'}"
        )

    def leave(self, told: TryAgainError, is_own: bool = True) -> None:
        """As `hosts.leave`; what a second thread wants to tell meanwhile is left out, and so is all after the first
        time where the process goes on.

        Args:
            is_own: Whether the fault is this process's, for the others to hear; process 0 tells them in any case.
        """
        if self._leaving.acquire(blocking=False):
            say_last(told)
            if is_own or self.index == 0:
                self.tell(told.what)
            if self.may_end_process:
                os._exit(told.exit_code)

    def _name_lost(self, what: str) -> None:
        self.leave(TryAgainError(what, f"process {self.index} was at {self._mine.label}", _MEND), is_own=False)


def say_last(told: TryAgainError) -> None:
    """The one line of an error that no caller will see."""
    print(f"bonemet: {' '.join(str(told).split())}", file=sys.stderr, flush=True)
