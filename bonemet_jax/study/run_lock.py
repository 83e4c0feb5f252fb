"""One process at a time works on a run directory.

The operating system releases the lock when its holder ends, however it ends. On file systems without such locks the
library falls back to a lock file, which names its process.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError, TryAgainError
from bonemet_jax.progress import say

LOCK, HOLDER = ".lock", ".lock.json"


@contextlib.contextmanager
def lock_run(directory: Path, wait: bool = False) -> Iterator[None]:
    """Hold the run directory, which is made if it is missing, while the block runs.

    Args:
        directory: run directory.
        wait: wait for the current holder instead of raising.

    Raises: TryAgainError naming host, process and start time of the process that holds it; DiskError.
    """
    is_new = not directory.exists()
    with artifacts.disk_errors(directory / LOCK):
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            holder = f"another process works on this run ({_describe_holder(directory / HOLDER)})"
            if not wait:
                raise TryAgainError(holder, directory, "wait until it ends, or add --wait") from error
            say(f"waiting: {holder}; {directory}")
            lock.acquire()
    try:
        _write_holder(directory / HOLDER)
        yield
    finally:
        try:
            (directory / HOLDER).unlink(missing_ok=True)
            if is_new and [file.name for file in directory.iterdir()] == [LOCK]:  # nothing came of it
                (directory / LOCK).unlink()
                directory.rmdir()
        finally:
            lock.release()


def _write_holder(path: Path) -> None:
    artifacts.write_json(path, {
        "host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds"),
    })


def _describe_holder(path: Path) -> str:
    try:
        holder = artifacts.load_json(path)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (CorruptFileError, OSError, KeyError, TypeError, json.JSONDecodeError):
        return "it has only just begun, or is just ending"
