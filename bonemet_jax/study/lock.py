"""One process at a time works on a run directory, or builds a cohort, records or another folder.

The operating system releases the lock when its holder ends, however it ends. On file systems without such locks the
library falls back to a lock file, which names its process.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from filelock import FileLock, Timeout

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError, TryAgainError
from bonemet_jax.progress import say

LOCK = ".lock"
#: Time for a holder that is just removing its lock.
_PATIENCE_S = 0.5
#: A folder can be removed between its making and the lock's: so often in a row only if something else removes it.
_TRIES = 100


class _Holder(TypedDict):
    """The file beside a lock."""

    host: str
    pid: int
    since: str


@contextlib.contextmanager
def lock_run(directory: Path, wait: bool = False) -> Iterator[None]:
    """Hold a run directory, which is made if it is missing, while the block runs.

    Args:
        directory: run directory.
        wait: wait for the current holder instead of raising.

    Raises: TryAgainError naming host, process and start time of the process that holds it; DiskError.
    """
    lock = directory / LOCK

    def clean() -> None:
        if [file.name for file in directory.iterdir()] == [LOCK]:  # nothing came of it
            lock.unlink()

    with _lock(lock, directory, "works on this run", wait, clean):
        yield


@contextlib.contextmanager
def lock_output(directory: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder that is written as a whole while the block runs; the lock is beside it and goes afterwards.

    Args:
        directory: folder; it need not exist.
        wait: wait for the current holder instead of raising.

    Raises: as `lock_run`.
    """
    place = Path(os.path.realpath(directory))  # one lock, whatever name the folder is given by
    lock = place.with_name(f".{place.name}{LOCK}")

    def clean() -> None:  # while it is held: who opened it before then finds it gone, and tries again
        lock.unlink(missing_ok=True)

    with _lock(lock, directory, "writes this folder", wait, clean):
        yield


@contextlib.contextmanager
def _lock(lock: Path, directory: Path, doing: str, wait: bool, clean: Callable[[], None]) -> Iterator[None]:
    held, made = FileLock(lock), list[Path]()
    with artifacts.disk_errors(lock):
        try:
            _acquire(held, lock, made, _PATIENCE_S)
        except Timeout as error:
            holder = f"another process {doing} ({_describe_holder(lock)})"
            if not wait:
                raise TryAgainError(holder, directory, "wait until it ends, or add --wait") from error
            say(f"waiting: {holder}; {directory}")
            _acquire(held, lock, made)
    try:
        artifacts.write_json(_name_holder(lock), _Holder(
            host=socket.gethostname(), pid=os.getpid(), since=datetime.now(UTC).isoformat(timespec="seconds")))
        yield
    finally:
        _name_holder(lock).unlink(missing_ok=True)
        clean()
        held.release()
        with contextlib.suppress(OSError):  # those that are not empty stay
            for folder in made:
                folder.rmdir()


def _acquire(held: FileLock, lock: Path, made: list[Path], timeout: float = -1) -> None:
    """Acquire the lock; anew where a holder that just ended has removed the folders that it had made.

    Folders that this process makes are added to `made`, innermost first.
    """
    for left in reversed(range(_TRIES)):
        made[:] = [folder for folder in lock.parents if folder in made or not folder.exists()]
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=timeout)
            return
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise


def _name_holder(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.json")


def _describe_holder(lock: Path) -> str:
    try:
        holder = artifacts.load_json(_name_holder(lock), _Holder)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (CorruptFileError, OSError):
        return "it has only just begun, or is just ending"
