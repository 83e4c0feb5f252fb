"""Shell: the files of one member's training: checkpoints, metrics.jsonl, TensorBoard events, done.json."""

import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from bonemet_jax import artifacts, hosts
from bonemet_jax.cohort.folds import Splits
from bonemet_jax.config import Config
from bonemet_jax.errors import CorruptFileError, UsageError
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.progress import say
from bonemet_jax.train.board import Board, open_board
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.fold_data import compute_training_key, make_fold_data
from bonemet_jax.train.members import Member
from bonemet_jax.train.state import TrainState, params_sha256


class EpochResult(NamedTuple):
    """One member's numbers of one epoch, on the host."""

    train_loss: float
    val_loss: float
    val_auc: float | None
    train_s: float
    """Seconds of the updates, all members of the wave together, compilation left out."""
    data_wait_s: float
    """Seconds that the devices stood still for data, training and validation."""
    seconds: float
    """Of the whole epoch."""


class MetricsLine(TypedDict):
    """A line of metrics.jsonl."""

    epoch: int
    train_loss: float
    val_loss: float
    val_auc: float | None
    step_time_s: float


class Done(TypedDict):
    """done.json."""

    epoch: int
    epochs: NotRequired[int]
    """train.epochs; fewer were done where the training stopped early."""
    key: str
    params_sha256: str


class MemberRun:
    """One member's folder while it trains."""

    def __init__(self, member: Member, records: Records, folds: Splits, n_data: int = 1) -> None:
        """`n_data`: devices that share a batch."""
        train = member.config.train
        self.member = member
        self.key = compute_training_key(records, folds, member.fold, member.config, n_data)
        self.store = CheckpointStore(
            member.directory / "checkpoints", self.key, train.keep_epochs, train.embed_epoch == "best"
        )
        self.data = make_fold_data(records, folds, member.fold, member.config)
        self.stopped = False
        """Whether its last epoch is behind it."""
        self.finished = False
        """Whether its files say so."""
        self.val_auc: float | None = None
        """Of the epoch behind it."""
        self.step_times_s: list[float] = []
        """Mean of each epoch behind it, also those of earlier calls."""
        self._val_losses: list[float] = []
        self._metrics = member.directory / "metrics.jsonl"
        self._board: Board | None = None

    def is_done(self) -> bool:
        """True when this very training finished and all its kept checkpoints are sound.

        Raises: UsageError when it did, but not every epoch now asked for was saved.
        """
        path = self.member.directory / "done.json"
        if not path.is_file():
            return False
        try:
            done = load_done(path)
            if (done["key"], done.get("epochs")) != (self.key, self.member.config.train.epochs):
                return False
            _check_timing(self.member.directory / "timing.json", self.key)
            for epoch in self.store.epochs():
                self.store.check(epoch)
        except CorruptFileError as error:
            say(f"warning: {error}")
            return False
        _check_best_saved(self.member.directory, self.store, self.member.config)
        say(f"{self.member.name}: already trained")
        return True

    def begin(self, first: int) -> contextlib.AbstractContextManager[Any]:
        """Go on behind epoch `first`: lines and events of later ones are dropped. Returns what is to be closed.

        A training whose last epoch that is, as one that was killed before it could say so, is then `stopped`.

        Raises: UsageError when the best epoch is wanted, but was not saved.
        """
        for line in hosts.once(lambda: self._sweep_files(first)):
            self._count(line["epoch"], line["val_loss"], line["val_auc"], line["step_time_s"])
        stack = contextlib.ExitStack()
        stack.callback(self.store.finish)
        if hosts.is_writer():
            self._board = open_board(self.member.directory / "tensorboard", first + 1)
            if self._board is not None:
                stack.callback(self._board.close)
        return stack

    def _sweep_files(self, first: int) -> list[dict[str, Any]]:
        """Drop what later epochs left; the lines of those that stay."""
        (self.member.directory / "done.json").unlink(missing_ok=True)
        lines = _truncate_metrics(self._metrics, first)
        _check_best_saved(self.member.directory, self.store, self.member.config)
        return lines

    def is_last(self, epoch: int, val_loss: float) -> bool:
        """Whether the member stops after this epoch: the config's last, or too many without a lower validation loss."""
        train = self.member.config.train
        losses = [*self._val_losses, val_loss]
        since_best = len(losses) - 1 - losses.index(min(losses))
        return epoch == train.epochs or 0 < train.early_stop_epochs <= since_best

    def saves(self, epoch: int, result: EpochResult) -> bool:
        """Whether this epoch becomes a checkpoint."""
        return self.is_last(epoch, result.val_loss) or self.is_due(epoch, result.val_auc)

    def is_due(self, epoch: int, val_auc: float | None) -> bool:
        """Whether an epoch's checkpoint is one of every so many, or a best one that is wanted."""
        train = self.member.config.train
        return epoch % train.checkpoint_epochs == 0 or (train.embed_epoch == "best" and self.store.is_best(val_auc))

    def log(self, epoch: int, result: EpochResult) -> None:
        """Append an epoch's numbers to metrics.jsonl and TensorBoard. Raises: DiskError."""
        steps = self.data.steps_per_epoch
        metrics = {
            "epoch": epoch,
            "train_loss": result.train_loss,
            "val_loss": result.val_loss,
            "val_auc": result.val_auc,
            "images_per_s": round(len(self.data.train) / result.train_s, 3),
            "step_time_s": round(result.train_s / steps, 6),
            "data_wait_s": round(result.data_wait_s, 6),
            "seconds": round(result.seconds, 3),
        }
        artifacts.append_line(self._metrics, json.dumps(metrics))
        if self._board is not None:
            self._board.write(metrics)

    def advance(self, epoch: int, result: EpochResult) -> None:
        """Count an epoch, on every process."""
        self._count(epoch, result.val_loss, result.val_auc, result.train_s / self.data.steps_per_epoch)

    def _count(self, epoch: int, val_loss: float, val_auc: float | None, step_time_s: float) -> None:
        self.stopped, self.val_auc = self.is_last(epoch, val_loss), val_auc
        self._val_losses.append(val_loss)
        self.step_times_s.append(step_time_s)

    def finish(self, state: TrainState, timing: dict[str, Any]) -> None:
        """timing.json and, last, done.json; for a training whose last epoch, with this state, is saved."""
        self.finished = True
        artifacts.write_json(self.member.directory / "timing.json", artifacts.add_checksum(timing | {"key": self.key}))
        artifacts.write_json(self.member.directory / "done.json", artifacts.add_checksum({
            "epoch": len(self._val_losses), "epochs": self.member.config.train.epochs, "key": self.key,
            "params_sha256": params_sha256(state.variables),
        }))


def load_done(path: Path) -> Done:
    """A finished training's done.json. Raises: CorruptFileError when it is not as the training wrote it."""
    done = artifacts.load_json(path, Done)
    if not artifacts.has_own_checksum(done):
        raise CorruptFileError("the record of a finished training is changed (sha256)", path, "train the fold again")
    return done


def _check_timing(path: Path, key: str) -> None:
    """Raises: CorruptFileError when it is not the timing that this training wrote."""
    timing = artifacts.load_json(path, dict[str, Any]) if path.is_file() else {}
    if not artifacts.has_own_checksum(timing) or timing.get("key") != key:
        raise CorruptFileError("the training's timing is missing or changed (sha256)", path, "train the fold again")


def _check_best_saved(fold_dir: Path, store: CheckpointStore, config: Config) -> None:
    """Raises: UsageError when the best epoch of metrics.jsonl is wanted but was never saved."""
    if config.train.embed_epoch != "best":
        return
    lines = artifacts.load_json_lines(fold_dir / "metrics.jsonl", MetricsLine)
    scored = {line["epoch"]: line["val_auc"] for line in lines if line["val_auc"] is not None}
    if scored and (best := max(scored, key=scored.__getitem__)) not in store.epochs():
        raise UsageError(f"epoch {best}, the best by validation AUC, was not saved", fold_dir,
                         "use --train.embed-epoch last, or delete the fold's folder and train again")


def _truncate_metrics(path: Path, last_epoch: int) -> list[dict[str, Any]]:
    """Drop lines of epochs that are going to be trained again, and a line cut short by a kill; the lines kept."""
    lines = artifacts.load_json_lines(path, MetricsLine, may_end_early=True) if path.is_file() else []
    kept = [line for line in lines if line["epoch"] <= last_epoch]
    artifacts.write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))
    return kept
