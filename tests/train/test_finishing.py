"""A training killed between its last checkpoint and done.json, or robbed of one that counts, ends the same."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config, EngineConfig
from bonemet_jax.errors import Terminated
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.train import parallel
from bonemet_jax.train.loop import get_engine, train_folds
from bonemet_jax.train.watchdog import Watchdog
from tests.train.runs import assert_same, assert_same_results, load, load_metrics, terminate

pytestmark = pytest.mark.usefixtures("own_process")


def _flip_bit(fold_dir: Path, epoch: int) -> None:
    file = max((fold_dir / "checkpoints" / f"{epoch}").rglob("d/*"), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _forbid_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Watchdog, kind: str, number: int) -> None:
        raise AssertionError(f"{kind} {number}")

    monkeypatch.setattr(Watchdog, "begin_step", refuse)


@pytest.mark.parametrize("lost", ["done.json", "timing.json", "an older checkpoint"])
def test_a_training_at_its_end_is_finished_without_a_step(
    lost: str, trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_dir = shutil.copytree(trained, tmp_path / "run")
    if lost == "an older checkpoint":
        _flip_bit(run_dir / "fold_0", 3)
    else:
        for name in {lost, "done.json"}:
            (run_dir / "fold_0" / name).unlink()
    with monkeypatch.context() as patched:
        _forbid_steps(patched)
        train_folds(records, folds, config, run_dir, (0,))
    assert_same_results(run_dir, trained, config)
    assert load(run_dir, "timing.json")["step_time_s"]["median_s"] > 0


def test_an_early_stop_is_remembered(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(config, train=replace(config.train, early_stop_epochs=2))
    train_folds(records, folds, own, tmp_path / "run", (0,))
    whole = shutil.copytree(tmp_path / "run", tmp_path / "whole")
    assert load(whole, "done.json")["epoch"] == 3
    (tmp_path / "run" / "fold_0" / "done.json").unlink()
    _forbid_steps(monkeypatch)
    train_folds(records, folds, own, tmp_path / "run", (0,))
    assert_same(tmp_path / "run", whole, own)


def test_a_damaged_best_checkpoint_is_trained_again(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(config, train=replace(config.train, embed_epoch="best"))
    train_folds(records, folds, own, tmp_path / "run", (0,))
    whole = shutil.copytree(tmp_path / "run", tmp_path / "whole")
    scores = [line["val_auc"] for line in load_metrics(whole)]
    best = scores.index(max(scores)) + 1
    _flip_bit(tmp_path / "run" / "fold_0", best)
    train_folds(records, folds, own, tmp_path / "run", (0,))
    assert f"checkpoint of epoch {best} is damaged" in capsys.readouterr().err
    assert_same(tmp_path / "run", whole, own)


@pytest.mark.slow
def test_a_training_beside_one_that_is_done_gives_the_same_bytes(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path
) -> None:
    own = replace(config, engine=EngineConfig(folds="vmap"))
    train_folds(records, folds, own, tmp_path / "run")
    whole = shutil.copytree(tmp_path / "run", tmp_path / "whole")
    for fold in (0, 1):
        shutil.rmtree(tmp_path / "run" / f"fold_{fold}")
        train_folds(records, folds, own, tmp_path / "run")
        done = [artifacts.load_json(d / f"fold_{fold}" / "done.json") for d in (tmp_path / "run", whole)]
        assert done[0] == done[1]


def test_a_whole_epoch_saved_at_sigterm_keeps_its_score(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Epoch 3 is not due, and was asked to end while it was written."""
    own = replace(config, train=replace(config.train, checkpoint_epochs=2))
    real = artifacts.append_line

    def append_line(path: Path, line: str) -> None:
        real(path, line)
        if json.loads(line)["epoch"] == 3:
            terminate()

    with monkeypatch.context() as patched, pytest.raises(Terminated, match="state after epoch 3 saved"):
        patched.setattr(artifacts, "append_line", append_line)
        train_folds(records, folds, own, tmp_path, (0,))
    manifest = load(tmp_path, "checkpoints/manifest.json")
    assert manifest["epochs"]["3"]["val_auc"] == load_metrics(trained)[2]["val_auc"]
    train_folds(records, folds, own, tmp_path, (0,))
    assert load(tmp_path, "done.json") == load(trained, "done.json")


@pytest.mark.slow
def test_folds_of_unequal_length_share_one_scanned_program(
    records: RecordArrays, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 and 9 training patients at batch 4: two and three updates, however many folds are asked for."""
    rows = [("train", "test")] * 8 + [("val", "test")] * 4 + [("test", "train")] * 9 + [("test", "val")] * 3
    folds = Folds(0, dict(zip(records.patient_id, rows, strict=True)))
    run = {}
    for scans in (True, False):
        monkeypatch.setattr(parallel, "scans_epochs", lambda platform, scans=scans: scans)
        get_engine.cache_clear()
        train_folds(records, folds, config, tmp_path / f"{scans}")
        run[scans] = [load_metrics(tmp_path / f"{scans}", fold) for fold in (0, 1)]
    get_engine.cache_clear()
    assert [line["train_loss"] for line in run[True][1]] == pytest.approx(
        [line["train_loss"] for line in run[False][1]], rel=1e-3)
