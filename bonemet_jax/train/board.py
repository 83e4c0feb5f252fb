"""Epoch metrics for TensorBoard: the only owner of tensorboardX, which may be missing."""

import functools
import time
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from bonemet_jax.missing_package import install_command
from bonemet_jax.progress import say


def open_board(directory: Path, first_epoch: int) -> "Board | None":
    """Event files under `directory` (see Board); None, with one message per process, without tensorboardX.

    Raises: DiskError.
    """
    try:
        return Board(directory, first_epoch)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorboardX":
            raise
        _say_missing()
        return None


@functools.cache
def _say_missing() -> None:
    say(f"no TensorBoard logs: tensorboardX is not installed; {install_command('tensorboardX')} "
        "(metrics.jsonl holds the same numbers)")


class Board:
    """Event files under `directory`.

    Written in the calling thread: SummaryWriter's own thread dies silently on a full disk, and training then waits for
    ever on its queue.
    """

    def __init__(self, directory: Path, first_epoch: int) -> None:
        """Events of `first_epoch` and later that a killed run left behind are hidden by TensorBoard.

        Raises: DiskError; ModuleNotFoundError without tensorboardX.
        """
        from tensorboardX.event_file_writer import EventsWriter

        # pyrefly: ignore[missing-module-attribute]  protobuf makes these two at import
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.directory = directory
        with artifacts.disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(directory / "events"))
            start = Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START))
            self._write([start])

    def write(self, metrics: dict[str, Any]) -> None:
        """One epoch's numbers, as in metrics.jsonl; missing ones are left out. Raises: DiskError."""
        # pyrefly: ignore[missing-module-attribute]  protobuf makes it at import
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        numbers = {name: value for name, value in metrics.items() if name != "epoch" and value is not None}
        with artifacts.disk_errors(self.directory):
            self._write([Event(step=metrics["epoch"], summary=scalar(name, value)) for name, value in numbers.items()])

    def close(self) -> None:
        """Close the file. Raises: DiskError."""
        with artifacts.disk_errors(self.directory):
            self._writer.close()

    def _write(self, events: list[Any]) -> None:
        for event in events:
            event.wall_time = time.time()
            self._writer.write_event(event)
        self._writer.flush()
