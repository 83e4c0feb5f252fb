"""Trainings killed at random points, inside a save, or asked to end: they go on to the bytes of one that was not."""

import contextlib
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
from tests.train.runs import assert_same, load, load_metrics

# The module's fixture trains networks for tens of seconds.
pytestmark = pytest.mark.every_change

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
        return self._read("began")

    def kill(self, pid: int, number: signal.Signals) -> None:
        """Send a signal, unless the training has ended by itself."""
        assert pid > 1, "0 and below are groups of processes"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def wait(self) -> int:
        """The exit code."""
        return self._read("ended")

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

    def _read(self, wanted: str) -> int:
        """The number behind this word; what a test that failed has left unread is passed over."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, number = line.split()
            if word == wanted:
                return int(number)
        raise AssertionError("the process that forks has ended")


@pytest.fixture(scope="module")
def trainer(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    """Seven epochs, so that most of the time is training."""
    longer = replace(config, train=replace(config.train, epochs=7))
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
    """Until its line is written; at once for none."""
    metrics = run_dir / "fold_0" / "metrics.jsonl"
    _wait_until(lambda: epoch == 0 or (metrics.is_file() and len(metrics.read_text().splitlines()) >= epoch), pid)


@pytest.mark.parametrize(("n", "per_run"), [(3, 3), pytest.param(40, 1, marks=pytest.mark.slow)])
def test_killed_at_random_points(
    n: int, per_run: int, trainer: Trainer, whole: tuple[Path, float], tmp_path: Path
) -> None:
    """A random while behind a random epoch, or behind the process's start."""
    random, (wanted, seconds), killed, resumed = np.random.default_rng(n), whole, 0, set()
    while killed < n:
        run_dir, here = tmp_path / f"{killed}", 0
        for epoch in sorted(random.choice(7, per_run, replace=False)):
            pid = trainer.start(run_dir)
            _wait_for_epoch(run_dir, epoch, pid)
            time.sleep(random.uniform(0, 0.1 * seconds if epoch else 0.5 * seconds))
            trainer.kill(pid, signal.SIGKILL)
            here += trainer.wait() == -signal.SIGKILL  # else it was faster
        trainer.train(run_dir)
        assert_same(run_dir, wanted, trainer.config)
        killed += here
        resumed.add(load(run_dir, "timing.json")["resumed_after_epoch"])
    print(f"{killed}/{killed} trainings killed at random points: weights, moments and metrics of those that went on "
          f"equal the uninterrupted one's bytes; they last went on after epochs {sorted(resumed)}")


@pytest.mark.parametrize("n", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_inside_a_save(n: int, trainer: Trainer, whole: tuple[Path, float], tmp_path: Path) -> None:
    """It opens at an epoch that was finished; what lies about is named and removed."""
    random, reopened, swept, n_runs = np.random.default_rng(n), 0, 0, 0
    while reopened < n:
        n_runs += 1
        assert n_runs <= n, "the kills miss the saves"
        run_dir, left = tmp_path / f"{n_runs}", []
        checkpoints = run_dir / "fold_0" / "checkpoints"
        for epoch in (2, 4, 6):
            pid = trainer.start(run_dir)
            _wait_until(lambda epoch=epoch, path=checkpoints: any(path.glob(f"{epoch}*")), pid)
            time.sleep(random.uniform(0, 0.05))
            trainer.kill(pid, signal.SIGKILL)
            trainer.wait()
            swept += _check_told(run_dir, left)
            left, whole_epochs = _list_left(checkpoints)
            assert whole_epochs[-1] >= epoch - 1
            reopened += whole_epochs[-1] == epoch - 1  # else the kill came late
        trainer.train(run_dir)
        swept += _check_told(run_dir, left)
        assert_same(run_dir, whole[0], trainer.config)
    assert swept > 0
    print(f"{reopened}/{reopened} killed inside a save reopened at the epoch before it and went on to the same bytes; "
          f"{swept} left something, which was named and removed")


def _list_left(checkpoints: Path) -> tuple[list[str], list[int]]:
    """What lies there besides the epochs that the manifest names, and these, sound."""
    manifest = json.loads((checkpoints / "manifest.json").read_text())
    store = CheckpointStore(checkpoints, manifest["key"])
    for epoch in store.epochs():
        store.check(epoch)
    left = {path.name for path in checkpoints.iterdir()} - {"manifest.json", *manifest["epochs"]}
    return sorted(left), store.epochs()


def _check_told(run_dir: Path, left: list[str]) -> bool:
    """Whether something was left; it must have been named by the next training."""
    told = (run_dir / "told.txt").read_text()
    assert not left or f"left in {run_dir / 'fold_0' / 'checkpoints'}: {', '.join(left)}\n" in told, (left, told)
    return bool(left)


@pytest.mark.parametrize("n", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_asked_to_end(n: int, trainer: Trainer, whole: tuple[Path, float], tmp_path: Path) -> None:
    """SIGTERM while it trains, twice a training: 143 within 30 s, and it goes on from the very step."""
    random, places, slowest_s = np.random.default_rng(n), [Place(0)], 0.0
    for trial in range(n):
        run_dir = tmp_path / f"{trial // 2}"
        pid = trainer.start(run_dir)
        _wait_for_epoch(run_dir, int(random.integers(1, 3)) + 3 * (trial % 2), pid)
        time.sleep(random.uniform(0, 0.05))
        trainer.kill(pid, signal.SIGTERM)
        began = time.monotonic()
        assert trainer.wait() == 143, (run_dir / "told.txt").read_text()
        slowest_s = max(slowest_s, time.monotonic() - began)
        told = (run_dir / "told.txt").read_text()
        assert "bonemet: terminated; fold 0, state after epoch " in told.splitlines()[-1]
        assert trial % 2 == 0 or f"going on after {places[-1].words}\n" in told
        manifest = json.loads((run_dir / "fold_0" / "checkpoints" / "manifest.json").read_text())
        places.append(CheckpointStore(run_dir / "fold_0" / "checkpoints", manifest["key"]).places()[-1])
        assert places[-1].words in told and len(load_metrics(run_dir)) == places[-1].epoch
        if trial % 2:
            trainer.train(run_dir)
            timing = load(run_dir, "timing.json")
            assert (timing["resumed_after_epoch"], timing["resumed_after_step"]) == places[-1]
            assert_same(run_dir, whole[0], trainer.config)
    assert slowest_s < 30
    print(f"{n}/{n} asked to end: 143 after at most {slowest_s:.2f} s, saved at "
          f"{', '.join(map(str, places[1:]))} (epoch+step); each went on to the same bytes")


def test_asked_to_end_while_compiling(trainer: Trainer, tmp_path: Path) -> None:
    """There is nothing to save: it leaves at once, not when the compiler is done."""
    pid = trainer.start(tmp_path, BONEMET_CACHE_DIR="off")
    file = tmp_path / "told.txt"
    _wait_until(lambda: file.is_file() and "compiling train" in file.read_text(), pid)
    time.sleep(0.5)
    began = time.monotonic()
    trainer.kill(pid, signal.SIGTERM)
    assert trainer.wait() == 143 and time.monotonic() - began < 1
    told = file.read_text()
    assert "terminated while compiling; nothing new to save" in told and "compiled" not in told
    assert not (tmp_path / "fold_0" / "checkpoints").exists()
