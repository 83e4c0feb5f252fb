"""Where a training goes on: on other devices, under a schedule, near an early stop, side by side with others."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config, EngineConfig
from bonemet_jax.errors import Terminated
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.train.loop import train_folds
from tests.train.runs import assert_same, load, load_metrics, terminate_at
from tests.train.test_parallel import FLAGS, ROOT

pytestmark = pytest.mark.usefixtures("own_process")


def test_saved_on_eight_devices_restored_on_fewer(tmp_path: Path) -> None:
    env = os.environ | {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "tests/train/eight_devices_restore.py", tmp_path]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    equal = [n for n in "124" if told["found"][n] == [True, told["arrays"]]]
    print(f"{len(equal)}/3: saved on 8 devices, {told['arrays']} arrays restored bit-equal on {', '.join(equal)}")
    assert len(equal) == 3 and told["found"]["8"] == [True, told["arrays"]]


def _stop_at(
    monkeypatch: pytest.MonkeyPatch, label: str, run_dir: Path, records: RecordArrays, folds: Folds, config: Config,
    which: tuple[int, ...] = (0,),
) -> None:
    """Train until this step begins, then SIGTERM."""
    with monkeypatch.context() as patched, pytest.raises(Terminated):
        terminate_at(patched, label)
        train_folds(records, folds, config, run_dir, which)


@pytest.mark.parametrize("schedule", ["cosine", pytest.param("step", marks=pytest.mark.slow)])
@pytest.mark.every_change
def test_a_schedule_goes_on(
    schedule: str, trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the rate it had come to."""
    own = replace(config, optim=replace(config.optim, schedule=schedule, step_epochs=1))
    train_folds(records, folds, own, tmp_path / "whole", (0,))
    for label in ("fold 0, epoch 2, training 2", "fold 0, epoch 4, training 1"):
        _stop_at(monkeypatch, label, tmp_path / "stopped", records, folds, own)
    train_folds(records, folds, own, tmp_path / "stopped", (0,))
    assert_same(tmp_path / "stopped", tmp_path / "whole", own)
    assert load(tmp_path / "whole", "done.json") != load(trained, "done.json")


@pytest.mark.every_change
def test_an_early_stop_counts_the_epochs_before(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two epochs without a lower validation loss end it, also where they lie on both sides of a stop."""
    losses = [line["val_loss"] for line in load_metrics(trained)]
    assert losses[0] == min(losses), "the first is the lowest, so that the third is the last"
    own = replace(config, train=replace(config.train, early_stop_epochs=2))
    train_folds(records, folds, own, tmp_path / "whole", (0,))
    assert load(tmp_path / "whole", "done.json")["epoch"] == 3
    _stop_at(monkeypatch, "fold 0, epoch 3, training 2", tmp_path / "stopped", records, folds, own)
    train_folds(records, folds, own, tmp_path / "stopped", (0,))
    assert_same(tmp_path / "stopped", tmp_path / "whole", own)
    assert load_metrics(tmp_path / "stopped") == load_metrics(trained)[:3]


@pytest.mark.slow
def test_folds_side_by_side_go_back_together(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGTERM in epoch 3, then one fold's newest checkpoint is damaged: both go on behind epoch 2."""
    own, stopped = replace(config, engine=EngineConfig(folds="vmap")), tmp_path / "stopped"
    train_folds(records, folds, own, tmp_path / "whole")
    _stop_at(monkeypatch, "fold 0, fold 1, epoch 3, training 2", stopped, records, folds, own, (0, 1))
    for fold in (0, 1):
        assert (stopped / f"fold_{fold}" / "checkpoints" / "2+2").is_dir()
    damaged = max((stopped / "fold_1" / "checkpoints" / "2+2").rglob("d/*"), key=lambda f: f.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    train_folds(records, folds, own, stopped)
    told = capsys.readouterr().err
    assert "checkpoint of epoch 2, step 2 is damaged" in told and str(damaged) in told
    assert "fold 0, fold 1: going on after epoch 2\n" in told
    assert_same(stopped, tmp_path / "whole", own)
    found, wanted = (json.loads((d / "fold_1" / "done.json").read_text()) for d in (stopped, tmp_path / "whole"))
    assert found == wanted
