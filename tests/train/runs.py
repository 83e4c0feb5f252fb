"""What a run directory holds, for the tests that compare an interrupted training with one that was not."""

import json
import os
import signal
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bonemet_jax.config import Config
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.state import TrainState
from bonemet_jax.train.watchdog import Watchdog

TIMES = {"images_per_s", "step_time_s", "data_wait_s", "seconds"}


def load(run_dir: Path, name: str) -> dict[str, Any]:
    """A JSON file of fold 0."""
    return json.loads((run_dir / "fold_0" / name).read_text())


def load_metrics(run_dir: Path, fold: int = 0) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl, less times."""
    lines = (run_dir / f"fold_{fold}" / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


@lru_cache
def _make_template(config: Config) -> TrainState:
    return Engine(config).state_template()


def load_state(run_dir: Path, config: Config) -> list[np.ndarray]:
    """Every array of the last epoch's checkpoint."""
    done = load(run_dir, "done.json")
    store = CheckpointStore(run_dir / "fold_0" / "checkpoints", done["key"])
    return jax.tree.leaves(store.restore(done["epoch"], _make_template(config)))


def assert_same_results(run_dir: Path, wanted: Path, config: Config) -> None:
    """Weights, moments, statistics and metrics equal, bit for bit."""
    assert load(run_dir, "done.json") == load(wanted, "done.json")
    assert load_metrics(run_dir) == load_metrics(wanted)
    for found, other in zip(load_state(run_dir, config), load_state(wanted, config), strict=True):
        assert found.dtype == other.dtype and found.tobytes() == other.tobytes()


def assert_same(run_dir: Path, wanted: Path, config: Config) -> None:
    """As `assert_same_results`, and the same files: nothing lies about."""
    assert_same_results(run_dir, wanted, config)
    names = [
        sorted(str(f.relative_to(d)) for f in d.rglob("*") if f.name != "told.txt" and not _has_time(f.relative_to(d)))
        for d in (run_dir, wanted)
    ]
    assert names[0] == names[1]


def _has_time(path: Path) -> bool:
    """Whether its name holds a time or a checksum."""
    return "tensorboard" in path.parts or "d" in path.parts


def terminate(number: int = signal.SIGTERM) -> None:
    """SIGTERM or another signal to this process, and time to receive it."""
    assert any(thread.name == "bonemet-preemption" for thread in threading.enumerate())
    os.kill(os.getpid(), number)
    time.sleep(0.1)


def terminate_at(monkeypatch: pytest.MonkeyPatch, label: str, signal_number: int = signal.SIGTERM) -> None:
    """SIGTERM or another signal when the step of this name begins."""
    begin = Watchdog.begin_step

    def spy(self: Watchdog, kind: str, number: int) -> None:
        begin(self, kind, number)
        if f"{self.place}, {kind} {number}" == label:
            terminate(signal_number)

    monkeypatch.setattr(Watchdog, "begin_step", spy)
