"""Trainings killed at random points, inside a save, or asked to end: they go on to the bytes of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax.config import Config, to_dict
from bonemet_jax.train.checkpoint import CheckpointStore, Place
from tests.train.runs import assert_same, load, load_metrics, load_state

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("forked_trainings.py")


class Trainer:
    """Trainings in processes of their own, which share a compilation cache."""

    def __init__(self, cache: Path, config: Config) -> None:
        self.config = config
        env = os.environ | {"BONEMET_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def start(self, run_dir: Path, **env: str) -> int:
        """Begin to train; the process id."""
        assert self._process.stdin is not None
        command = {"run_dir": str(run_dir), "config": to_dict(self.config), "env": env}
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def wait(self) -> int:
        """The exit code."""
        return int(self._read())

    def train(self, run_dir: Path) -> float:
        """Train to the end; seconds."""
        began = time.monotonic()
        self.start(run_dir)
        assert self.wait() == 0, (run_dir / "told.txt").read_text()
        return time.monotonic() - began

    def close(self) -> None:
        """End the process that forks."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def trainer(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    """Eight epochs, so that most of the time is training."""
    longer = replace(config, train=replace(config.train, epochs=8))
    trainer = Trainer(tmp_path_factory.mktemp("cache"), longer)
    yield trainer
    trainer.close()


@pytest.fixture(scope="module")
def whole(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A training that nobody stopped, and the seconds of one whose programs are in the cache."""
    folder = tmp_path_factory.mktemp("whole")
    trainer.train(folder / "first")
    seconds = trainer.train(folder / "second")
    assert_same(folder / "first", folder / "second", trainer.config)
    return folder / "second", seconds


def _wait_until(condition: Callable[[], bool], pid: int, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end and Path(f"/proc/{pid}").exists():
        time.sleep(0.0005)


def _wait_for_epoch(run_dir: Path, epoch: int, pid: int) -> None:
    """Until its line is written."""
    metrics = run_dir / "fold_0" / "metrics.jsonl"
    _wait_until(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) >= epoch, pid)


@pytest.mark.parametrize("n", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_random_points(n: int, trainer: Trainer, whole: tuple[Path, float], tmp_path: Path) -> None:
    random, (wanted, seconds), equal, resumed = np.random.default_rng(n), whole, 0, set()
    for trial in range(n):
        run_dir = tmp_path / f"{trial}"
        pid = trainer.start(run_dir)
        time.sleep(random.uniform(0.3, 0.95) * seconds)
        os.kill(pid, signal.SIGKILL)
        assert trainer.wait() == -signal.SIGKILL
        trainer.train(run_dir)
        assert_same(run_dir, wanted, trainer.config)
        equal += 1
        resumed.add(load(run_dir, "timing.json")["resumed_after_epoch"])
    print(f"{equal}/{n} trainings killed at random points: weights, moments and metrics equal the uninterrupted one's "
          f"bytes; they went on after epochs {sorted(resumed)}")


@pytest.mark.parametrize("n", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_inside_a_save(n: int, trainer: Trainer, whole: tuple[Path, float], tmp_path: Path) -> None:
    """It opens at an epoch that was finished; what lies about is named and removed."""
    random, reopened, swept, tries = np.random.default_rng(n), 0, 0, 0
    while reopened < n:
        tries += 1
        assert tries < 4 * n, "the kills miss the saves"
        run_dir, epoch = tmp_path / f"{tries}", int(random.integers(2, 8))
        checkpoints, pid = run_dir / "fold_0" / "checkpoints", trainer.start(run_dir)
        _wait_until(lambda checkpoints=checkpoints, epoch=epoch: any(checkpoints.glob(f"{epoch}*")), pid)
        time.sleep(random.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        trainer.wait()
        named = json.loads((checkpoints / "manifest.json").read_text())
        if str(epoch) in named["epochs"]:
            continue
        left = sorted({path.name for path in checkpoints.iterdir()} - {"manifest.json", *named["epochs"]})
        store = CheckpointStore(checkpoints, named["key"])
        assert store.epochs()[-1] == epoch - 1
        store.check(epoch - 1)
        trainer.train(run_dir)
        told = (run_dir / "told.txt").read_text()
        assert f"going on after epoch {epoch - 1}\n" in told
        assert not left or f"left in {checkpoints}: {', '.join(left)}\n" in told, (left, told)
        assert_same(run_dir, whole[0], trainer.config)
        reopened, swept = reopened + 1, swept + bool(left)
    assert swept > 0
    print(f"{reopened}/{n} killed inside a save reopened at the epoch before it and went on to the same bytes; "
          f"{swept} left something, which was named and removed")


@pytest.mark.parametrize("n", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_asked_to_end(n: int, trainer: Trainer, whole: tuple[Path, float], tmp_path: Path) -> None:
    """SIGTERM while it trains: 143 within 30 s, and it goes on from the very step."""
    random, places, slowest_s = np.random.default_rng(n), [], 0.0
    for trial in range(n):
        run_dir = tmp_path / f"{trial}"
        pid = trainer.start(run_dir)
        _wait_for_epoch(run_dir, int(random.integers(1, 7)), pid)
        time.sleep(random.uniform(0, 0.05))
        os.kill(pid, signal.SIGTERM)
        began = time.monotonic()
        assert trainer.wait() == 143, (run_dir / "told.txt").read_text()
        slowest_s = max(slowest_s, time.monotonic() - began)
        told = (run_dir / "told.txt").read_text().splitlines()[-1]
        assert told.startswith("bonemet: terminated; fold 0, state after epoch ") and told.endswith("again")
        manifest = json.loads((run_dir / "fold_0" / "checkpoints" / "manifest.json").read_text())
        places.append(CheckpointStore(run_dir / "fold_0" / "checkpoints", manifest["key"]).places()[-1])
        assert places[-1].words in told and len(load_metrics(run_dir)) == places[-1].epoch
        trainer.train(run_dir)
        timing = load(run_dir, "timing.json")
        assert (timing["resumed_after_epoch"], timing["resumed_after_step"]) == places[-1]
        assert_same(run_dir, whole[0], trainer.config)
    assert slowest_s < 30
    print(f"{n}/{n} asked to end: 143 after at most {slowest_s:.2f} s, saved at "
          f"{', '.join(map(str, places))}; each went on to the same bytes")


def test_asked_to_end_while_compiling(trainer: Trainer, tmp_path: Path) -> None:
    """There is nothing to save: it leaves at once, not when the compiler is done."""
    pid = trainer.start(tmp_path, BONEMET_CACHE_DIR="off")
    file = tmp_path / "told.txt"
    _wait_until(lambda: file.is_file() and "compiling train" in file.read_text(), pid)
    time.sleep(0.5)
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert trainer.wait() == 143 and time.monotonic() - began < 1
    told = file.read_text()
    assert "terminated while compiling; nothing new to save" in told and "compiled" not in told
    assert not (tmp_path / "fold_0" / "checkpoints").exists()


def test_a_damaged_newest_checkpoint_after_a_kill(
    trainer: Trainer, whole: tuple[Path, float], tmp_path: Path
) -> None:
    """It falls back to the one before and says so."""
    pid = trainer.start(tmp_path)
    _wait_for_epoch(tmp_path, 5, pid)
    os.kill(pid, signal.SIGKILL)
    trainer.wait()
    checkpoints = tmp_path / "fold_0" / "checkpoints"
    newest = max(map(int, json.loads((checkpoints / "manifest.json").read_text())["epochs"]))
    file = max((checkpoints / f"{newest}").rglob("*"), key=lambda f: f.stat().st_size if f.is_file() else 0)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    trainer.train(tmp_path)
    told = (tmp_path / "told.txt").read_text()
    assert f"checkpoint of epoch {newest} is damaged" in told and str(file) in told
    assert "falling back" in told and f"going on after {Place(newest - 1).words}\n" in told
    assert_same(tmp_path, whole[0], trainer.config)
    assert load_state(tmp_path, trainer.config)
