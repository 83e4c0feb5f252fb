"""Shell: train one fold, epoch by epoch, and leave its files behind (docs/contracts.md)."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bonemet_jax import artifacts
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config
from bonemet_jax.errors import CorruptFileError, NumericsError, UsageError
from bonemet_jax.input_pipeline.choose import SourceKeeper, pick_mode
from bonemet_jax.input_pipeline.order import EpochPlan
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.input_pipeline.source import Feeds, Mode, Source
from bonemet_jax.models.flops import compute_train_gflop_per_image
from bonemet_jax.progress import Progress, say
from bonemet_jax.telemetry.device import describe_device
from bonemet_jax.telemetry.step_timer import summarize
from bonemet_jax.train.board import Board
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.epoch import evaluate, join_evaluations, join_losses, train_epoch
from bonemet_jax.train.fold_data import EpochPlans, FoldData, FoldPlans, compute_training_key, make_fold_data
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.state import TrainState, params_sha256
from bonemet_jax.train.step import needed_arrays
from bonemet_jax.train.validation import compute_auc

#: As engines are kept: one cohort on the devices for all folds, training and embedding.
_SOURCES = SourceKeeper()


class EpochResult(NamedTuple):
    """One epoch's numbers on the host."""

    train_loss: float
    val_loss: float
    val_auc: float | None
    train_s: float
    data_wait_s: float
    """Seconds that the devices stood still for data, training and validation."""


@lru_cache(maxsize=2)
def get_engine(config: Config, steps_per_epoch: int, mode: Mode, ct_shape: tuple[int, ...]) -> Engine:
    """One engine for all folds of a run: equal configs and shapes never compile twice in a process.

    Args:
        config: The run.
        steps_per_epoch: Updates of one epoch.
        mode: Whether the programs take a resident cohort.
        ct_shape: What they are compiled for: (patient, height, width) of the resident CT, (height, width) of a stream.
    """
    del mode, ct_shape  # part of the key only
    return Engine(config, steps_per_epoch)


class Fed(NamedTuple):
    """An engine and what feeds it."""

    engine: Engine
    source: Source
    reason: str
    """Why this source, for the person watching."""


def get_fed_engine(records: Records, config: Config, steps_per_epoch: int) -> Fed:
    """The engine for these records and the source that the config asks for or that fits."""
    names = needed_arrays(config)
    mode, reason = pick_mode(config.input, len(records), records.bytes_per_patient(names), jax.local_devices()[0])
    patients = (len(records),) if mode == "resident" else ()
    engine = get_engine(config, steps_per_epoch, mode, (*patients, *records.image_shape))
    return Fed(engine, _SOURCES.get(mode, records, engine.split, names), reason)


def train_fold(records: Records, folds: Folds, fold: int, config: Config, run_dir: Path) -> None:
    """Train one fold into `run_dir/fold_<fold>/`, or go on where a killed call stopped; a finished fold costs nothing.

    Raises:
        NumericsError: a loss is not finite; that epoch leaves nothing behind.
        DiskError: a file could not be written; earlier checkpoints still stand.
        UsageError: the best epoch is wanted, but an earlier call, asked for the last, did not save it.
        InputDataError: folds and records disagree.
    """
    fold_dir = Path(run_dir) / f"fold_{fold}"
    key = compute_training_key(records, folds, fold, config)
    store = CheckpointStore(fold_dir / "checkpoints", key)
    if _is_done(fold_dir, store, key):
        _check_best_saved(fold_dir, store, config)
        say(f"fold {fold}: already trained")
        return
    (fold_dir / "done.json").unlink(missing_ok=True)
    data = make_fold_data(records, folds, fold, config)
    engine, source, reason = get_fed_engine(records, config, data.steps_per_epoch)
    say(f"fold {fold}: {reason}")
    _FoldRun(engine, records, source, data, fold, config, fold_dir, store).run(key)


@dataclass
class _FoldRun:
    """One fold's training in one process."""

    engine: Engine
    records: Records
    source: Source
    data: FoldData
    fold: int
    config: Config
    fold_dir: Path
    store: CheckpointStore
    checkpoint_s: float = 0.0
    """Seconds spent saving so far."""
    data_wait_share: float | None = None
    """Share of the epochs' seconds that the devices stood still for data."""

    def run(self, key: str) -> None:
        """From the newest sound checkpoint, or from the start, to the last epoch."""
        began = time.perf_counter()
        restored = self.store.restore_newest(self.engine.state_template())
        first = restored.epoch if restored else 0
        if restored:
            say(f"fold {self.fold}: going on after epoch {first}")
        state = restored.state if restored else self.engine.make_state(self.config.train.seed, self.fold)
        _truncate_metrics(self.fold_dir / "metrics.jsonl", first)
        _check_best_saved(self.fold_dir, self.store, self.config)
        state, step_times_s = self._run_epochs(state, first)
        self._write_timing(step_times_s, first, time.perf_counter() - began)
        artifacts.write_json(self.fold_dir / "done.json", {
            "epoch": self.config.train.epochs,
            "key": key,
            "params_sha256": params_sha256(state.variables),
            "steps_per_epoch": self.data.steps_per_epoch,
        })

    def _run_epochs(self, state: TrainState, first: int) -> tuple[TrainState, list[float]]:
        """Epochs first + 1 to the last; returns the last state and each epoch's seconds a step."""
        class_weight = self.engine.put(self.data.class_weight)
        step_times_s: list[float] = []
        waits_s: list[tuple[float, float]] = []
        n_epochs, plans = self.config.train.epochs, FoldPlans(self.data, self.config, self.fold)
        with (
            self.source.feeds(self._feed_plans(plans, first + 1)) as feeds,
            contextlib.closing(Board(self.fold_dir / "tensorboard", first + 1)) as board,
            Progress(f"fold {self.fold}", n_epochs - first) as progress,
        ):
            for epoch in range(first + 1, n_epochs + 1):
                began = time.perf_counter()
                with jax.transfer_guard("disallow"):
                    state, result = self._run_epoch(state, feeds, plans.get(epoch), class_weight, epoch)
                step_times_s.append(result.train_s / self.data.steps_per_epoch)
                metrics = self._make_metrics(epoch, result, time.perf_counter() - began)
                waits_s.append((result.data_wait_s, metrics["seconds"]))
                saves = self._saves(epoch, result.val_auc)
                if saves:
                    self.store.check_space(state)
                artifacts.append_line(self.fold_dir / "metrics.jsonl", json.dumps(metrics))
                board.write(metrics)
                if saves:
                    began = time.perf_counter()
                    self.store.save(epoch, state, result.val_auc)
                    self.checkpoint_s += time.perf_counter() - began
                progress.advance(1, f"loss {result.train_loss:.3f}, {metrics['images_per_s']:.1f} images/s")
        self.data_wait_share = _share(waits_s[1:] or waits_s)
        return state, step_times_s

    def _feed_plans(self, plans: FoldPlans, first: int) -> Iterator[EpochPlan]:
        """What is read, in order: each epoch's updates, unless they are one program, and its validation."""
        for epoch in range(first, self.config.train.epochs + 1):
            if not self.engine.scans(self.source):
                yield plans.get(epoch).train
            yield plans.get(epoch).val

    def _saves(self, epoch: int, val_auc: float | None) -> bool:
        """Whether this epoch becomes a checkpoint."""
        train = self.config.train
        due = epoch % train.checkpoint_epochs == 0 or epoch == train.epochs
        return due or (train.embed_epoch == "best" and self.store.is_best(val_auc))

    def _run_epoch(
        self, state: TrainState, feeds: Feeds, plans: EpochPlans, class_weight: jax.Array, epoch: int
    ) -> tuple[TrainState, EpochResult]:
        """Train, validate, and fetch the epoch's numbers in one transfer.

        Raises: NumericsError naming epoch and step of the first loss that is not finite.
        """
        engine, n_train, n_val = self.engine, len(self.data.train), len(self.data.val)
        compiled_s = self._train_compile_s()
        began = time.perf_counter()
        state, sums, train_wait_s = train_epoch(engine, state, self.source, feeds, plans.train, class_weight)
        jax.block_until_ready(state)
        train_s = time.perf_counter() - began - (self._train_compile_s() - compiled_s)
        evaluations, val_wait_s = evaluate(
            engine, state.variables, self.source, feeds, len(plans.val.index), class_weight
        )
        sums, evaluations = jax.device_get((sums, evaluations))
        losses = join_losses(sums)
        val_loss, val_score, _ = join_evaluations(evaluations, n_val)
        self._check_finite(epoch, losses, val_loss)
        auc = compute_auc(self.records.label[self.data.val], val_score)
        mean_loss = float(losses.sum() / n_train)
        return state, EpochResult(mean_loss, float(val_loss.mean()), auc, train_s, train_wait_s + val_wait_s)

    def _train_compile_s(self) -> float:
        return self.engine.train.seconds + self.engine.train_epoch.seconds

    def _check_finite(self, epoch: int, train_losses: np.ndarray, val_loss: np.ndarray) -> None:
        where = f"fold {self.fold}, epoch {epoch}"
        mend = "lower optim.lr, or look at the records of this fold; earlier epochs are kept"
        if not np.isfinite(train_losses).all():
            step = int(np.flatnonzero(~np.isfinite(train_losses))[0]) + 1
            raise NumericsError("a training loss, gradient or input is not finite", f"{where}, step {step}", mend)
        if not np.isfinite(val_loss).all():
            raise NumericsError("the validation loss is not finite", where, mend)

    def _make_metrics(self, epoch: int, result: EpochResult, seconds: float) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "train_loss": result.train_loss,
            "val_loss": result.val_loss,
            "val_auc": result.val_auc,
            "images_per_s": round(len(self.data.train) / result.train_s, 3),
            "step_time_s": round(result.train_s / self.data.steps_per_epoch, 6),
            "data_wait_s": round(result.data_wait_s, 6),
            "seconds": round(seconds, 3),
        }

    def _write_timing(self, step_times_s: list[float], first: int, seconds: float) -> None:
        """timing.json: this process's part of the fold. The first epoch's step time is left out when there are more."""
        model = self.config.model
        artifacts.write_json(self.fold_dir / "timing.json", {
            "device": describe_device(),
            "programs": self.engine.describe_programs(),
            "step_time_s": summarize(step_times_s[1:] or step_times_s)._asdict() if step_times_s else None,
            "input": {"mode": self.source.mode, "channels": self.config.input.channels,
                      "data_wait_share": self.data_wait_share},
            "train_gflop_per_image": round(compute_train_gflop_per_image(model, *self.records.image_shape), 4),
            "resumed_after_epoch": first,
            "checkpoint_s": round(self.checkpoint_s, 3),
            "seconds": round(seconds, 3),
        })


def _share(waits_s: list[tuple[float, float]]) -> float | None:
    """Seconds waited over seconds passed; None when none passed."""
    passed_s = sum(seconds for _, seconds in waits_s)
    return round(sum(wait for wait, _ in waits_s) / passed_s, 6) if passed_s else None


def _is_done(fold_dir: Path, store: CheckpointStore, key: str) -> bool:
    """True when this very training finished and all its kept checkpoints are sound."""
    path = fold_dir / "done.json"
    if not path.is_file() or artifacts.load_json(path).get("key") != key:
        return False
    try:
        for epoch in store.epochs():
            store.check(epoch)
    except CorruptFileError as error:
        say(f"warning: {error}")
        return False
    return True


def _check_best_saved(fold_dir: Path, store: CheckpointStore, config: Config) -> None:
    """Raises: UsageError when the best epoch of metrics.jsonl is wanted but was never saved."""
    if config.train.embed_epoch != "best":
        return
    lines = [json.loads(line) for line in (fold_dir / "metrics.jsonl").read_text().splitlines()]
    scored = {line["epoch"]: line["val_auc"] for line in lines if line["val_auc"] is not None}
    if scored and (best := max(scored, key=scored.__getitem__)) not in store.epochs():
        raise UsageError(f"epoch {best}, the best by validation AUC, was not saved", fold_dir,
                         "use --train.embed-epoch last, or delete the fold's folder and train again")


def _truncate_metrics(path: Path, last_epoch: int) -> None:
    """Drop lines of epochs that are going to be trained again, and a line cut short by a kill."""
    kept = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            kept += [line] if json.loads(line)["epoch"] <= last_epoch else []
    artifacts.write_text(path, "".join(f"{line}\n" for line in kept))
