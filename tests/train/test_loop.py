"""train_fold: its files, one compilation, and the same bytes however often it was stopped."""

import json
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config
from bonemet_jax.errors import InputDataError, LeakageError, NumericsError, UsageError
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.train.board import Board
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.loop import get_fed_engine, train_folds
from tests.train.runs import TIMES, assert_same, assert_same_results, load, load_metrics


def _done(run_dir: Path, fold: int = 0) -> dict[str, Any]:
    return json.loads((run_dir / f"fold_{fold}" / "done.json").read_text())


def test_files_of_a_fold(trained: Path, config: Config) -> None:
    fold_dir = trained / "fold_0"
    lines = [json.loads(line) for line in (fold_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert set(lines[0]) == {"epoch", "train_loss", "val_loss", "val_auc", *TIMES}
    assert re.fullmatch(r"[0-9a-f]{64}", _done(trained)["params_sha256"])
    assert list((fold_dir / "tensorboard").iterdir())
    kept = {int(p.name) for p in (fold_dir / "checkpoints").iterdir() if p.is_dir()}
    best = max(lines, key=lambda line: (line["val_auc"], -line["epoch"]))["epoch"]
    assert kept == {3, 4, best}
    assert not list(trained.rglob("*.partial*"))


def test_one_compilation_for_all_folds(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path
) -> None:
    train_folds(records, folds, config, tmp_path, (1,))
    timing = json.loads((tmp_path / "fold_1" / "timing.json").read_text())
    n_traces = {name: program["n_traces"] for name, program in timing["programs"].items()}
    assert {"train", "evaluate"} <= set(n_traces) and set(n_traces.values()) == {1}
    assert _done(tmp_path, 1)["params_sha256"] != _done(trained)["params_sha256"]
    assert 0 < timing["checkpoint_s"] < timing["seconds"]
    assert timing["step_time_s"]["n"] == 3 and timing["step_time_s"]["median_s"] > 0


def test_state_is_donated(trained: Path, records: RecordArrays, config: Config) -> None:
    engine = get_fed_engine(records, config).engine
    alias = engine.train.compiled.memory_analysis().alias_size_in_bytes
    state = jax.tree.leaves(engine.state_template())
    assert alias == sum(leaf.size * leaf.dtype.itemsize for leaf in state)


def test_finished_fold_is_left_alone(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {f: f.stat().st_mtime_ns for f in trained.rglob("*")}
    train_folds(records, folds, config, trained, (0,))
    assert {f: f.stat().st_mtime_ns for f in trained.rglob("*")} == before
    assert "already trained" in capsys.readouterr().err


@pytest.mark.parametrize("saved", [False, True])
def test_stopped_by_an_exception(
    saved: bool, trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = CheckpointStore.save

    def stop(self: CheckpointStore, epoch: int, state: Any, *facts: Any) -> None:
        if saved or epoch < 3:
            save(self, epoch, state, *facts)
        if epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(CheckpointStore, "save", stop)
        train_folds(records, folds, config, tmp_path, (0,))
    train_folds(records, folds, config, tmp_path, (0,))
    assert_same(tmp_path, trained, config)
    assert load(tmp_path, "timing.json")["resumed_after_epoch"] == (3 if saved else 2)


def _saved(run_dir: Path) -> set[int]:
    return {int(p.name) for p in (run_dir / "fold_0" / "checkpoints").iterdir() if p.is_dir()}


def test_stopped_between_two_checkpoints(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(config, train=replace(config.train, checkpoint_epochs=2))
    write = Board.write

    def stop(self: Board, metrics: dict[str, Any]) -> None:
        write(self, metrics)
        if metrics["epoch"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Board, "write", stop)
        train_folds(records, folds, config, tmp_path, (0,))
    assert len(load_metrics(tmp_path)) == 3 and _saved(tmp_path) == {2}
    train_folds(records, folds, config, tmp_path, (0,))
    assert_same_results(tmp_path, trained, config)
    assert load(tmp_path, "timing.json")["resumed_after_epoch"] == 2
    assert _saved(tmp_path) == {2, 4}


def test_last_epoch_and_wanted_best_are_saved_outside_the_interval(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aucs = iter([0.5, 0.7, 0.7, 0.6])
    monkeypatch.setattr("bonemet_jax.train.loop.compute_auc", lambda *_: next(aucs))
    train = replace(config.train, checkpoint_epochs=9, embed_epoch="best")
    save, saved = CheckpointStore.save, []

    def spy(self: CheckpointStore, epoch: int, state: Any, *facts: Any) -> None:
        saved.append(epoch)
        save(self, epoch, state, *facts)

    monkeypatch.setattr(CheckpointStore, "save", spy)
    train_folds(records, folds, replace(config, train=train), tmp_path, (0,))
    assert saved == [1, 2, 4] and _saved(tmp_path) == {2, 4}
    assert _done(tmp_path)["params_sha256"] == _done(trained)["params_sha256"]


def test_best_epoch_that_was_not_saved_is_refused(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aucs = iter([0.9, 0.5, 0.6, 0.7])
    monkeypatch.setattr("bonemet_jax.train.loop.compute_auc", lambda *_: next(aucs))
    last = replace(config, train=replace(config.train, checkpoint_epochs=2))
    train_folds(records, folds, last, tmp_path, (0,))
    assert _saved(tmp_path) == {2, 4}
    best = replace(last, train=replace(last.train, embed_epoch="best"))
    with pytest.raises(UsageError, match="epoch 1, the best"):
        train_folds(records, folds, best, tmp_path, (0,))


def test_damaged_newest_checkpoint_falls_back(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained / "fold_0", tmp_path / "fold_0")
    newest = tmp_path / "fold_0" / "checkpoints" / "4"
    file = max((f for f in newest.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    train_folds(records, folds, config, tmp_path, (0,))
    told = capsys.readouterr().err
    assert "checkpoint of epoch 4 is damaged" in told and str(file) in told and "going on after epoch 3" in told
    assert_same(tmp_path, trained, config)


def test_another_config_starts_anew(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained / "fold_0", tmp_path / "fold_0")
    other = replace(records, ct=records.ct[::-1].copy())
    train_folds(other, folds, config, tmp_path, (0,))
    assert "another training" in capsys.readouterr().err
    assert len(load_metrics(tmp_path)) == 4
    assert _done(tmp_path)["params_sha256"] != _done(trained)["params_sha256"]


def test_nan_stops_before_anything_is_saved(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path
) -> None:
    row = records.patient_id.index(folds.patient_ids(0, "train")[0])
    hog = records.hog.copy()
    hog[row] = np.nan
    with pytest.raises(NumericsError, match=r"not finite; fold 0, epoch 1, step \d"):
        train_folds(replace(records, hog=hog), folds, config, tmp_path, (0,))
    assert not list((tmp_path / "fold_0").rglob("checkpoints/*"))
    assert not (tmp_path / "fold_0" / "metrics.jsonl").read_text()


def test_patients_without_records_are_refused(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path
) -> None:
    few = replace(records, patient_id=(*records.patient_id[:-1], "another"))
    with pytest.raises(LeakageError, match="no fold"):
        train_folds(few, folds, config, tmp_path, (0,))
    some = {f.name: getattr(records, f.name)[:-6] for f in fields(records)}
    with pytest.raises(InputDataError, match="have no record"):
        train_folds(RecordArrays(**some), folds, config, tmp_path, (0,))
    assert not list(tmp_path.iterdir())
