"""Files of others are parsed in processes of their own with a memory cap and a time limit.

A reader that hangs, wants too much memory or dies becomes a finding of that one input; the pool goes on. Only plain
data cross: arguments there, results or refusals back.
"""

import contextlib
import os
import signal
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from bonemet_jax.errors import BonemetError, InputDataError, UsageError
from bonemet_jax.process_state import KEEPS_START_METHOD, SharedChange, change_environment
from data_pipelines.findings import refusal

T = TypeVar("T")
_PACKAGE = Path(__file__).parents[1]
#: Tasks handed out per process: one slow input does not starve the others, and few results wait in memory.
_AHEAD = 4
#: Packed bytes per second added to the time limit: three passes over a .nii.gz on a slow machine.
BYTES_PER_SECOND = 20e6
#: Libraries that would start a thread a core in every process.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
#: Processes started inside compute with one thread; the libraries read these names when they are imported.
_ONE_THREAD = dict.fromkeys(_THREADS, "1")
_ONE_THREAD_EACH = SharedChange(lambda: change_environment(_ONE_THREAD))


#: Bytes: Python adds 32, and 107 are allowed on Linux, 103 on macOS.
_LONGEST_TMPDIR = 70


@dataclass(frozen=True)
class Limits:
    """What one input may take."""

    seconds: float = 10.0
    """Wall time of one input, s; and one second more per BYTES_PER_SECOND of its volumes."""
    memory_gib: float = 0.75
    """Memory of one process beyond what its imports take, GiB: with these it stays below 1 GiB."""

    def __post_init__(self) -> None:
        ranges = (("--seconds", self.seconds, 0.1, 86400), ("--memory-gib", self.memory_gib, 0.1, 1024))
        for name, value, low, high in ranges:
            if not low <= value <= high:
                raise UsageError(f"{name} {value:g} is out of range", name, f"give {low:g} to {high:g}")


@dataclass(frozen=True)
class _Refused:
    """An error as plain data."""

    what: str
    where: str
    mend: str
    code: str = ""
    """Empty: a UsageError."""
    fact: str = ""

    def as_error(self) -> BonemetError:
        if not self.code:
            return UsageError(self.what, self.where, self.mend)
        return InputDataError(self.what, self.where, self.mend, self.code, self.fact)


def count_workers(wanted: int | None, n_tasks: int) -> int:
    """Processes to start: those asked for, else one a core; never more than tasks.

    Raises: UsageError for less than one.
    """
    if wanted is not None and wanted < 1:
        raise UsageError(f"--workers {wanted} is out of range", "--workers", "give 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(wanted or cores, n_tasks))


def run_guarded(
    function: Callable[..., T],
    tasks: Sequence[tuple[Any, ...]],
    workers: int | None = None,
    limits: Limits | None = None,
    n_bytes: Sequence[int] = (),
) -> Generator[T | InputDataError]:
    """Yield function(*task) of every task, in the order of the tasks, or the error that says why there is none.

    Args:
        function: found by its module and name; it takes and returns plain data.
        tasks: arguments; the first is named in errors.
        workers: processes; None: one a core.
        limits: of one task.
        n_bytes: packed bytes that each task has to read whole, for its time limit; empty: few.

    Raises: UsageError that the function raised; BonemetError when no process can be started.
    """
    limits, n_workers = limits or Limits(), count_workers(workers, len(tasks))
    seconds = [limits.seconds + n / BYTES_PER_SECOND for n in n_bytes or [0] * len(tasks)]
    n_done = n_broken = 0
    while n_done < len(tasks):
        try:
            left = list(zip(tasks, seconds, strict=True))[n_done:]
            context = _choose_context(function, is_careful=n_broken > 0)
            with contextlib.closing(_run(function, left, n_workers, limits.memory_gib, context)) as outcomes:
                for outcome in outcomes:
                    n_done, n_broken = n_done + 1, 0
                    yield outcome
        except BrokenProcessPool as error:  # a process died where the pool cannot tell whose task it held: once more
            n_broken += 1
            if n_broken == 1:
                continue
            if n_done == 0:
                raise BonemetError(
                    "the processes that read files do not start", "", "call it below `if __name__ == '__main__':`"
                ) from error
            yield _crashed(tasks[n_done], "the process ended")
            n_done, n_broken = n_done + 1, 0


def _run(
    function: Callable[..., T], tasks: Sequence[tuple[tuple[Any, ...], float]], n_workers: int, memory_gib: float,
    context: BaseContext,
) -> Generator[T | InputDataError]:
    """One pool's life; of each task arguments and time limit, s. Raises: BrokenProcessPool."""
    pool = ProcessPool(n_workers, context=context, initializer=_prepare,
                       initargs=(function, memory_gib, os.environ | _ONE_THREAD))  # fmt: skip
    left, running = deque(tasks), deque[tuple[tuple[Any, ...], float, ProcessFuture[Any]]]()
    with KEEPS_START_METHOD, _ONE_THREAD_EACH:
        try:
            while left or running:
                while left and len(running) < _AHEAD * n_workers:
                    task, seconds = left.popleft()
                    running.append((task, seconds, _schedule(pool, function, task, seconds)))
                yield _take(*running.popleft())
        finally:
            pool.stop()  # all results are taken, or nobody wants them any more: Ctrl-C
            pool.join()


def _choose_context(function: Callable[..., Any], is_careful: bool = False) -> BaseContext:
    """Processes are forked from one clean process, which imports the function's module (2 s) once for all of them and
    ends with this one; spawned where the system cannot do that, or the path of its socket would be too long.

    Args:
        function: what they call.
        is_careful: spawn them, as the first ones broke: the folder of the socket may be gone.
    """
    is_long = len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TMPDIR
    if is_careful or is_long or "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    return context


def _schedule(
    pool: ProcessPool, function: Callable[..., T], task: tuple[Any, ...], seconds: float
) -> ProcessFuture[Any]:
    try:
        return pool.schedule(_call, args=(function, task, seconds), timeout=seconds)
    except RuntimeError as error:  # the pool broke since the last result
        raise BrokenProcessPool from error


def _take(task: tuple[Any, ...], seconds: float, future: "ProcessFuture[Any]") -> Any:
    try:
        outcome = future.result()
    except TimeoutError:
        return refusal("file-too-slow", task[0], fact=f"limit {seconds:.3g} s")
    except ProcessExpired as error:
        return _crashed(task, f"exit code {error.exitcode}")
    if not isinstance(outcome, _Refused):
        return outcome
    error = outcome.as_error()
    if isinstance(error, InputDataError):
        return error
    raise error


def _crashed(task: tuple[Any, ...], fact: str) -> InputDataError:
    return refusal("file-crashed-reader", task[0], fact=fact)


# --- Inside the process -----------------------------------------------------------------------------


def _prepare(function: Callable[..., Any], memory_gib: float, environment: dict[str, str]) -> None:
    """Cap memory beyond what the imports took (unpickling `function` imported its module), and shut the mouths.

    The process it was forked from may have another environment. No core file (it would hold the patient's data), no
    file written at all, no line printed: libraries quote headers.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a hung decoder does not come back to run a handler
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    if sys.platform != "linux":  # others do not enforce it
        return
    import resource

    n_pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    cap = n_pages * resource.getpagesize() + int(memory_gib * 2**30)
    for what, limit in ((resource.RLIMIT_AS, cap), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _call(function: Callable[..., T], task: tuple[Any, ...], seconds: float) -> T | _Refused:
    _set_alarm(2 * seconds + 5)
    try:
        return function(*task)
    except BaseException as error:  # a library's SystemExit too: it must not end the parent
        return _as_data(error, task[0])
    finally:
        _set_alarm(0)


def _set_alarm(seconds: float) -> None:
    """End this process then, should the one that watches it be gone; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _as_data(error: BaseException, where: object) -> _Refused:
    """A reader may take a MemoryError for a damaged file: the chain is looked through."""
    if any(isinstance(link, MemoryError) or _is_no_memory(link) for link in _chain(error)):
        return _refused(refusal("file-too-large", where))
    if isinstance(error, InputDataError):
        return _refused(error)
    if isinstance(error, UsageError):
        return _Refused(error.what, error.where, error.mend)
    return _refused(refusal("file-crashed-reader", where, fact=f"{type(error).__name__}{_place(error)}"))


def _refused(error: InputDataError) -> _Refused:
    return _Refused(error.what, error.where, error.mend, error.code, error.fact)


def _is_no_memory(error: BaseException) -> bool:
    import errno

    return isinstance(error, OSError) and error.errno == errno.ENOMEM


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _place(error: BaseException) -> str:
    """Where in this package: for whoever reports it. Never the error's own words, which may quote a header."""
    own = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)
           if Path(frame.filename).is_relative_to(_PACKAGE) and frame.filename != __file__]
    return f" at {own[-1][0].relative_to(_PACKAGE)}:{own[-1][1]}" if own else ""
