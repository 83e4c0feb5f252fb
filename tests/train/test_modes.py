"""Resident or streamed, under scan or step by step: the same training."""

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from bonemet_jax.cohort.folds import Folds, make_folds
from bonemet_jax.config import Config, InputConfig
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import epoch_batches
from bonemet_jax.input_pipeline.records import RecordArrays, RecordReader, open_records
from bonemet_jax.readout.embeddings import embed
from bonemet_jax.train import fold_data
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.epoch import evaluate, fetch_sums, train_epoch
from bonemet_jax.train.fold_data import compute_training_key
from bonemet_jax.train.loop import train_folds
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import needed_arrays

pytestmark = pytest.mark.every_change

VARY = {"images_per_s", "step_time_s", "data_wait_s", "seconds"}


def _streamed(config: Config) -> Config:
    return replace(config, input=InputConfig(mode="stream"))


def _load(run_dir: Path, name: str) -> Any:
    return json.loads((run_dir / "fold_0" / name).read_text())


def _metrics(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "fold_0" / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in VARY} for line in lines]


@pytest.fixture(scope="module")
def reader(small_records: dict[str, Path]) -> RecordReader:
    """13 patients on disk."""
    return open_records(small_records["tfrecord"])


@pytest.fixture(scope="module")
def reader_folds(reader: RecordReader, config: Config) -> Folds:
    """Their folds."""
    return make_folds(reader.patient_id, reader.label.tolist(), config.folds)


@pytest.fixture(scope="module")
def resident(
    reader: RecordReader, reader_folds: Folds, config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run directory whose fold 0 was trained with the cohort on the device; not to be changed."""
    run_dir = tmp_path_factory.mktemp("resident")
    train_folds(reader, reader_folds, config, run_dir, (0,))
    return run_dir


def test_streamed_training_leaves_the_same_bytes(
    resident: Path, reader: RecordReader, reader_folds: Folds, config: Config, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_folds(reader, reader_folds, _streamed(config), tmp_path, (0,))
    assert "fold 0: stream: 13 patients, 0.00 GB; as asked" in capsys.readouterr().err
    assert _load(tmp_path, "done.json") == _load(resident, "done.json")
    assert _metrics(tmp_path) == _metrics(resident)
    timing = _load(tmp_path, "timing.json")
    assert timing["input"]["mode"] == "stream" and 0 <= timing["input"]["data_wait_share"] < 1
    assert {name: p["n_traces"] for name, p in timing["programs"].items()} == {"train": 1, "evaluate": 1}
    assert _load(resident, "timing.json")["input"]["mode"] == "resident"
    wanted = embed(reader, config, resident, [0])
    for one, other in zip(embed(reader, _streamed(config), resident, [0]), wanted, strict=True):
        assert one.shape[:2] == (1, 13)
        np.testing.assert_array_equal(one, other)


def test_a_training_may_go_on_in_the_other_mode(
    resident: Path, reader: RecordReader, reader_folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Streamed for two epochs, stopped, then resident: the bytes of the resident run."""
    save = CheckpointStore.save

    def stop(self: CheckpointStore, epoch: int, state: Any, *facts: Any) -> None:
        save(self, epoch, state, *facts)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(CheckpointStore, "save", stop)
        train_folds(reader, reader_folds, _streamed(config), tmp_path, (0,))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bonemet-input")]
    train_folds(reader, reader_folds, config, tmp_path, (0,))
    assert _load(tmp_path, "timing.json")["resumed_after_epoch"] == 2
    assert _load(tmp_path, "done.json") == _load(resident, "done.json")
    assert _metrics(tmp_path) == _metrics(resident)


def test_a_resident_cohort_is_read_once_for_all_folds(
    reader: RecordReader, reader_folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and embedding; and each epoch's plans are made once."""
    read, plan, reads, epochs = RecordReader.read, fold_data.make_epoch_plans, [], []

    def spy(self: RecordReader, positions: Any, *rest: Any) -> dict[str, np.ndarray]:
        reads.append(len(positions))
        return read(self, positions, *rest)

    def spy_plan(data: Any, config: Config, fold: int, epoch: int) -> Any:
        epochs.append((fold, epoch))
        return plan(data, config, fold, epoch)

    monkeypatch.setattr(RecordReader, "read", spy)
    monkeypatch.setattr(fold_data, "make_epoch_plans", spy_plan)
    fresh = replace(reader, sha256="read by no other test")
    for fold in (0, 1):
        train_folds(fresh, reader_folds, config, tmp_path, (fold,))
    for fold in (0, 1):
        embed(fresh, config, tmp_path, [fold])
    assert reads == [13]
    assert epochs == [(fold, epoch) for fold in (0, 1) for epoch in (1, 2, 3, 4)]


@pytest.mark.parametrize("mode", ["stream", pytest.param("resident", marks=pytest.mark.slow)])
def test_channels_on_the_device_train_from_ct_and_mask_alone(
    resident: Path, reader: RecordReader, reader_folds: Folds, config: Config, tmp_path: Path, mode: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only these travel; the first loss is that of the stored channels to the ties of the LBP."""
    read, names = RecordReader.read, set()

    def spy(self: RecordReader, positions: Any, wanted: Any, *allocate: Any) -> dict[str, np.ndarray]:
        names.add(tuple(wanted))
        return read(self, positions, wanted, *allocate)

    monkeypatch.setattr(RecordReader, "read", spy)
    config = replace(config, input=InputConfig(mode=mode, channels="on_device"))
    train_folds(reader, reader_folds, replace(config, train=replace(config.train, epochs=1)), tmp_path, (0,))
    assert names == {("ct", "mask")}
    assert _metrics(tmp_path)[0]["train_loss"] == pytest.approx(_metrics(resident)[0]["train_loss"], rel=0.02)
    assert _load(tmp_path, "timing.json")["input"]["channels"] == "on_device"


def test_the_key_names_records_and_channels_not_the_mode(
    reader: RecordReader, reader_folds: Folds, config: Config
) -> None:
    def key(config: Config) -> str:
        return compute_training_key(reader, reader_folds, 0, config)

    assert key(config) == key(_streamed(config))
    assert key(config) != key(replace(config, input=InputConfig(channels="on_device")))
    other = replace(reader, sha256="other")
    assert key(config) != compute_training_key(other, reader_folds, 0, config)


def test_a_shard_lost_during_training_stops_it(
    small_records: dict[str, Path], reader_folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was saved stands, no thread stays, and the file is named."""
    directory = shutil.copytree(small_records["tfrecord"], tmp_path / "records")
    reader, save = open_records(directory), CheckpointStore.save

    def lose(self: CheckpointStore, epoch: int, state: Any, *facts: Any) -> None:
        save(self, epoch, state, *facts)
        if epoch == 1:
            for shard in directory.glob("*.tfrecord-*"):
                shard.write_bytes(b"")

    monkeypatch.setattr(CheckpointStore, "save", lose)
    with pytest.raises(CorruptFileError, match="shorter while it was read"):
        train_folds(reader, reader_folds, _streamed(config), tmp_path / "run", (0,))
    assert (tmp_path / "run" / "fold_0" / "checkpoints" / "1").is_dir()
    assert not (tmp_path / "run" / "fold_0" / "done.json").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bonemet-input")]


class _Feeds:
    """Five feeds, each there at once or after 20 ms."""

    def __init__(self, late: bool) -> None:
        self.late, self.left = late, 5

    def ready(self) -> bool:
        return not self.late

    def __next__(self) -> dict[str, Any]:
        time.sleep(0.02)
        self.left -= 1
        return {"left": self.left}


@pytest.mark.parametrize("late", [False, True])
def test_waits_are_counted_where_there_is_nothing_to_compute(late: bool) -> None:
    engine = SimpleNamespace(evaluate=lambda variables, resident, feed, weight: feed["left"])
    source: Any = SimpleNamespace(resident={})
    feeds: Any = _Feeds(late)
    found, wait_s = evaluate(engine, {}, source, feeds, 4, jax.numpy.ones(2))  # type: ignore[arg-type]
    assert found == [4, 3, 2, 1] and feeds.left == 1
    assert wait_s >= 4 * 0.02 if late else wait_s == 0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_one_epoch_as_one_program_gives_the_same_numbers(records: RecordArrays, config: Config, dtype: Any) -> None:
    """In float64 to rounding. In float32 a compiler may round elsewhere: printed, and held to what it was measured."""
    config = replace(config, model=replace(config.model, compute_dtype=dtype))
    with jax.enable_x64(dtype == "float64"):
        looped, scanned = (_one_epoch(records, config, scans) for scans in (False, True))
    assert looped.dtype == dtype and len(looped) > 1000
    difference = float(np.abs(scanned - looped).max())
    print(f"{dtype}: losses and weights of a scanned epoch differ by {difference:.1e}")
    # Adam's first steps are the rate, 1e-3, whatever the gradient's size: where that is rounding, so is its sign.
    assert difference < (1e-12 if dtype == "float64" else 3 * 2 * 1e-3)


def _one_epoch(records: RecordArrays, config: Config, scans: bool) -> np.ndarray:
    """Losses of an epoch's three steps, then the weights after it."""
    engine = Engine(config)
    engine.scans = lambda source: scans  # type: ignore[method-assign]
    source = make_source("resident", records, engine.split, needed_arrays(config))
    plan = engine.arrange([epoch_batches(10, 4, 0, 0, 1)])
    with source.feeds([plan]) as feeds:
        hyper = engine.put_hyper([1e-3], [3], [np.ones(2)])
        state, metrics, _, wait_s = train_epoch(engine, engine.make_state([(0, 0)]), source, feeds, plan, hyper)
    assert wait_s == 0 and int(state.step[0]) == 3
    assert set(engine.programs()) == {"train_epoch" if scans else "train"}
    weights = jax.device_get(jax.tree.leaves(state.params))
    return np.concatenate([fetch_sums(metrics).loss_sum[:, 0], *(np.ravel(w) for w in weights)])
