"""A finished training that is asked for more epochs goes on, and ends as one that was asked for them at once."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.train.loop import train_folds
from tests.train.runs import assert_same, assert_same_results, load, load_metrics

pytestmark = pytest.mark.every_change

Train = Callable[[Config, Path], Path]


@pytest.fixture
def train(records: RecordArrays, folds: Folds) -> Train:
    """Train fold 0 under a config into a folder, which is returned."""

    def work(config: Config, run_dir: Path) -> Path:
        train_folds(records, folds, config, run_dir, (0,))
        return run_dir

    return work


def _change(config: Config, epochs: int = 4, schedule: str = "constant", **train: object) -> Config:
    steps = {"step_epochs": 2} if schedule == "step" else {}
    return replace(config, optim=replace(config.optim, schedule=schedule, **steps),
                   train=replace(config.train, epochs=epochs, **train))


@pytest.mark.parametrize(("schedule", "options", "stops"), [
    ("constant", {}, (1, 3)), ("step", {"early_stop_epochs": 1}, (2, 3)),
    pytest.param("step", {}, (2,), marks=pytest.mark.slow),
    pytest.param("constant", {"embed_epoch": "best"}, (1, 2), marks=pytest.mark.slow),
    pytest.param("constant", {"checkpoint_epochs": 2}, (3,), marks=pytest.mark.slow),
])  # fmt: skip
def test_more_epochs_equal_one_longer_training(
    train: Train, config: Config, tmp_path: Path, schedule: str, options: dict[str, object], stops: tuple[int, ...],
) -> None:
    """Weights, moments, metrics and the checkpoints that are kept: bit for bit, whatever stops were between."""
    longer = _change(config, 4, schedule, **options)
    whole = train(longer, tmp_path / "whole")
    for epochs in stops:
        train(_change(config, epochs, schedule, **options), tmp_path / "run")
    first = load_metrics(tmp_path / "run")
    train(longer, tmp_path / "run")
    assert_same(tmp_path / "run", whole, longer)
    assert load_metrics(tmp_path / "run")[: len(first)] == first
    # One that had stopped early is only said to be done; nothing else is trained twice.
    n_left = len(load_metrics(whole)) - len(first)
    assert load(tmp_path / "run", "timing.json")["resumed_after_epoch"] == len(load_metrics(whole)) - n_left


def test_a_training_without_more_epochs_is_not_touched(train: Train, trained: Path, config: Config, tmp_path: Path,
                                                       capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = shutil.copytree(trained, tmp_path / "run")
    before = {f: f.stat().st_mtime_ns for f in run_dir.rglob("*") if f.is_file()}
    train(config, run_dir)
    assert {f: f.stat().st_mtime_ns for f in run_dir.rglob("*") if f.is_file()} == before
    assert "already trained" in capfd.readouterr().err


@pytest.mark.parametrize("options", [{}, {"embed_epoch": "best"}])
def test_fewer_epochs_are_a_training_of_their_own(
    train: Train, trained: Path, config: Config, tmp_path: Path, options: dict[str, object],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Checkpoints of later epochs are removed, and said to be."""
    run_dir = shutil.copytree(trained, tmp_path / "run")
    shorter = _change(config, 3, **options)
    train(shorter, run_dir)
    assert "training of more than 3 epochs; its later ones are removed" in capfd.readouterr().err
    assert_same_results(run_dir, train(shorter, tmp_path / "whole"), shorter)


def test_the_cosine_schedule_starts_anew(train: Train, config: Config, tmp_path: Path,
                                         capfd: pytest.CaptureFixture[str]) -> None:
    """Every rate depends on the number of epochs: what three epochs learned is of no use to four."""
    train(_change(config, 3, "cosine"), tmp_path / "run")
    longer = _change(config, 4, "cosine")
    train(longer, tmp_path / "run")
    assert "written by another training" in capfd.readouterr().err
    assert load(tmp_path / "run", "timing.json")["resumed_after_epoch"] == 0
    assert_same(tmp_path / "run", train(longer, tmp_path / "whole"), longer)


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.json", "done.json"])
@pytest.mark.parametrize("epochs", [pytest.param(4, marks=pytest.mark.slow), 5])
def test_files_of_another_training_count_for_nothing(
    train: Train, trained: Path, config: Config, tmp_path: Path, name: str, epochs: int
) -> None:
    """Copied from a training with another seed, or edited: the result is that of a training of its own."""
    other = train(replace(config, train=replace(config.train, seed=5)), tmp_path / "other")
    longer = _change(config, epochs)
    run_dir = shutil.copytree(trained, tmp_path / "run")
    shutil.copy(other / "fold_0" / name, run_dir / "fold_0" / name)
    train(longer, run_dir)
    whole = trained if epochs == 4 else train(longer, tmp_path / "whole")
    assert_same(run_dir, whole, longer)


def test_an_edited_last_epoch_is_noticed(train: Train, trained: Path, config: Config, tmp_path: Path,
                                         capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = shutil.copytree(trained, tmp_path / "run")
    path = run_dir / "fold_0" / "done.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epoch": 3}))
    train(config, run_dir)
    assert "the record of a finished training is changed (sha256)" in capfd.readouterr().err
    assert_same(run_dir, trained, config)


def test_edited_metrics_are_noticed(train: Train, trained: Path, config: Config, tmp_path: Path,
                                    capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = shutil.copytree(trained, tmp_path / "run")
    path = run_dir / "fold_0" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[3]["val_auc"] = 0.999
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    train(config, run_dir)
    assert "the epochs' metrics differ from their sha256" in capfd.readouterr().err
    assert_same(run_dir, trained, config)
    assert load(run_dir, "timing.json")["resumed_after_epoch"] == 3  # the lines before are whole
