"""Independent fits side by side, through joblib: processes here (loky), or a dask cluster."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config

from bonemet_jax.config import FusionConfig
from bonemet_jax.errors import TryAgainError, UsageError
from bonemet_jax.process_state import KEEPS_START_METHOD

T = TypeVar("T")
_ADDRESS = "DASK_SCHEDULER_ADDRESS"


def count_workers(config: FusionConfig) -> int:
    """Processes to use here: as asked, or one for each core that this process may use."""
    return config.workers or len(os.sched_getaffinity(0))


@contextlib.contextmanager
def ending_workers() -> Iterator[None]:
    """joblib keeps its processes, for the next call and then for minutes: those started inside end with the block."""
    from joblib.externals.loky import reusable_executor

    before = reusable_executor._executor
    with KEEPS_START_METHOD:
        try:
            yield
        finally:
            if (executor := reusable_executor._executor) is not None and executor is not before:
                executor.shutdown(wait=True)


def run_all(work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], config: FusionConfig) -> Iterator[T]:
    """`work(*task)` of every task, in their order, as they come; with one worker in this process.

    Raises: UsageError when dask is asked for and not there; TryAgainError when a worker died.
    """
    if config.backend == "dask":
        yield from _run_on_dask(work, tasks)
        return
    n_workers = min(count_workers(config), len(tasks))
    if n_workers <= 1:
        yield from (work(*task) for task in tasks)
        return
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        with parallel_config(backend="loky", n_jobs=n_workers, inner_max_num_threads=1):
            yield from Parallel(return_as="generator")(delayed(work)(*task) for task in tasks)
    except TerminatedWorkerError as error:
        raise TryAgainError("a fitting process died", f"one of {n_workers}", "run the same command again; with less "
                            "memory use --fusion.workers 1") from error


def _run_on_dask(work: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> list[T]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("dask is not installed", "--fusion.backend dask",
                         "install the extra `distributed`, or leave the flag out") from error
    address = os.environ.get(_ADDRESS)
    if not address:
        raise UsageError("no dask cluster given", _ADDRESS, "set it to the scheduler's address, tcp://host:8786")
    try:
        client = Client(address, timeout=20)
    except OSError as error:
        raise TryAgainError("the dask cluster does not answer", address, "start it, or mend the address") from error
    with client, parallel_config(backend="dask"):
        return list(Parallel()(delayed(work)(*task) for task in tasks))
