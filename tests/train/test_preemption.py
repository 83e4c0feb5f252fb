"""SIGTERM: the training saves within the epoch, leaves with 143, and goes on to the same bytes."""

import contextvars
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bonemet_jax import cli, hosts
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config, InputConfig
from bonemet_jax.errors import Terminated
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.process_state import process_control
from bonemet_jax.train.checkpoint import CheckpointStore, Place
from bonemet_jax.train.loop import train_folds
from bonemet_jax.train.preemption import Preemption
from tests.train.runs import assert_same, assert_same_results, load, load_metrics, terminate, terminate_at
from tests.train.test_parallel import ROOT

pytestmark = [pytest.mark.every_change, pytest.mark.usefixtures("own_process")]


def _places(run_dir: Path) -> list[Place]:
    key = json.loads((run_dir / "fold_0" / "checkpoints" / "manifest.json").read_text())["key"]
    return CheckpointStore(run_dir / "fold_0" / "checkpoints", key).places()


@pytest.mark.parametrize("mode", ["auto", "stream"])
@pytest.mark.parametrize(
    ("label", "place"),
    [
        ("fold 0, epoch 1, training 1", Place(0, 1)),
        ("fold 0, epoch 2, training 2", Place(1, 2)),
        ("fold 0, epoch 2, training 3", Place(1, 3)),
        ("fold 0, epoch 3, evaluation 1", Place(3)),
    ],
)
def test_a_training_goes_on_within_the_epoch(
    mode: Any, label: str, place: Place, trained: Path, records: RecordArrays, folds: Folds, config: Config,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the bytes of the training that nobody stopped; a validation of one step is finished."""
    own = replace(config, input=InputConfig(mode=mode))
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched, pytest.raises(Terminated) as told:
        terminate_at(patched, label)
        train_folds(records, folds, own, tmp_path, (0,))
    assert str(told.value) == f"terminated; fold 0, state after {place.words} saved; run the same command again"
    assert told.value.exit_code == 143 and _places(tmp_path)[-1] == place
    assert len(load_metrics(tmp_path)) == place.epoch
    assert signal.getsignal(signal.SIGTERM) is handler and signal.set_wakeup_fd(-1) == -1
    assert not [t for t in threading.enumerate() if t.name in {"bonemet-preemption", "bonemet-input"}]
    train_folds(records, folds, own, tmp_path, (0,))
    assert_same(tmp_path, trained, config)
    timing = load(tmp_path, "timing.json")
    assert (timing["resumed_after_epoch"], timing["resumed_after_step"]) == place


def test_twice_in_one_epoch_and_once_behind_it(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each goes on from the last; behind an epoch that is not due to be saved, it is saved until the next one is."""
    own, save = replace(config, train=replace(config.train, checkpoint_epochs=2)), CheckpointStore.save

    def stop(self: CheckpointStore, epoch: int, state: Any, *facts: Any) -> None:
        terminate()
        save(self, epoch, state, *facts)

    for label, places in [
        ("fold 0, epoch 1, training 1", [Place(0, 1)]),
        ("fold 0, epoch 1, training 1", [Place(0, 2)]),
        ("fold 0, epoch 1, evaluation 1", [Place(1)]),
    ]:
        with monkeypatch.context() as patched, pytest.raises(Terminated):
            terminate_at(patched, label)
            train_folds(records, folds, own, tmp_path, (0,))
        assert _places(tmp_path) == places
    with monkeypatch.context() as patched, pytest.raises(Terminated, match="after epoch 2 saved"):
        patched.setattr(CheckpointStore, "save", stop)
        train_folds(records, folds, own, tmp_path, (0,))
    assert _places(tmp_path) == [Place(2)]
    train_folds(records, folds, own, tmp_path, (0,))
    assert_same_results(tmp_path, trained, config)


def test_behind_the_last_epoch_and_before_the_first_step(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restore = CheckpointStore.find_sound

    def stop(self: CheckpointStore) -> Any:
        terminate()
        return restore(self)

    with monkeypatch.context() as patched, pytest.raises(Terminated, match="fold 0, nothing to save yet"):
        patched.setattr(CheckpointStore, "find_sound", stop)
        train_folds(records, folds, config, tmp_path, (0, 1))
    with monkeypatch.context() as patched, pytest.raises(Terminated, match="terminated; fold 0 trained"):
        terminate_at(patched, "fold 0, epoch 4, evaluation 1")
        train_folds(records, folds, config, tmp_path, (0, 1))
    assert not (tmp_path / "fold_1" / "metrics.jsonl").exists()
    assert_same(tmp_path, trained, config)


def test_an_epoch_in_one_program_goes_on_within_it(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the program it is saved; where single steps were stopped, the program makes those that are left."""
    with monkeypatch.context() as patched, pytest.raises(Terminated, match="epoch 1, step 2 saved"):
        terminate_at(patched, "fold 0, epoch 2, training 2")
        train_folds(records, folds, config, tmp_path / "stopped", (0,))
    monkeypatch.setattr("bonemet_jax.train.parallel.scans_epochs", lambda _: True)
    train_folds(records, folds, config, tmp_path / "whole", (0,))
    with monkeypatch.context() as patched, pytest.raises(Terminated, match="epoch 1, step 3 saved"):
        terminate_at(patched, "fold 0, epoch 2, scan 1")
        train_folds(records, folds, config, tmp_path / "scanned", (0,))
    train_folds(records, folds, config, tmp_path / "scanned", (0,))
    assert_same(tmp_path / "scanned", tmp_path / "whole", config)
    train_folds(records, folds, config, tmp_path / "stopped", (0,))
    for found, wanted in zip(load_metrics(tmp_path / "stopped"), load_metrics(tmp_path / "whole"), strict=True):
        assert found == pytest.approx(wanted, rel=1e-2)
    assert set(load(tmp_path / "stopped", "timing.json")["programs"]) == {"train", "train_epoch", "evaluate"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("asked", "compiling", "words"), [(1, True, "while compiling"), (2, False, "asked twice")])
def test_leaves_at_once(
    asked: int, compiling: bool, words: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Terminated] = []
    monkeypatch.setattr(hosts, "leave", told.append)
    with Preemption() as preemption:
        preemption.has_nothing_new = lambda: compiling
        for _ in range(asked):
            os.kill(os.getpid(), number)
            time.sleep(0.1)
    assert len(told) == 1 and words in str(told[0]) and told[0].exit_code == 128 + number


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Preemption() as preemption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN and not preemption.is_asked()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_hang_up_saves_and_is_reported(
    trained: Path, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGHUP, as when a terminal closes: the state is saved, exit code and report are 129, and the training goes on."""
    with monkeypatch.context() as patched, pytest.raises(Terminated, match="epoch 1, step 2 saved") as told:
        terminate_at(patched, "fold 0, epoch 2, training 2", signal.SIGHUP)
        train_folds(records, folds, config, tmp_path / "run", (0,))
    with monkeypatch.context() as patched:
        patched.setattr("bonemet_jax.cli.info.collect_info", lambda: (_ for _ in ()).throw(told.value))
        assert cli.main(["info", "--report", str(tmp_path / "report.json")]) == 129
    assert json.loads((tmp_path / "report.json").read_text())["exit_code"] == 129
    train_folds(records, folds, config, tmp_path / "run", (0,))
    assert_same(tmp_path / "run", trained, config)


def test_without_control_of_the_process_nothing_is_changed() -> None:
    found: list[Any] = []

    def enter() -> None:
        with Preemption() as preemption:
            found.append((signal.getsignal(signal.SIGTERM), preemption.is_asked()))

    contextvars.Context().run(enter)
    assert found == [(signal.getsignal(signal.SIGTERM), False)]


def test_outside_the_main_thread_nothing_is_changed() -> None:
    handlers: list[Any] = []

    def enter() -> None:
        with process_control(), Preemption() as preemption:
            handlers.append((signal.getsignal(signal.SIGTERM), preemption.is_asked()))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [(signal.getsignal(signal.SIGTERM), False)]


@pytest.mark.slow
def test_a_study_is_asked_to_end(tmp_path: Path) -> None:
    """`bonemet run`: while it trains, 143 with one line; in other stages the system's own end, 143 to a shell."""
    size = ["--phantom.n", "24", "--phantom.spacing-mm", "3.0", "--phantom.height", "112", "--phantom.width", "144",
            "--records.height", "112", "--records.width", "144", "--records.spacing-mm", "3.0",
            "--train.epochs", "40", "--train.batch-size", "8"]  # fmt: skip
    program = "from bonemet_jax.cli import run_from_shell; run_from_shell()"
    command = [sys.executable, "-c", program, "run", str(ROOT / "configs" / "smoke.py"), "-o", str(tmp_path), *size]
    for begun, code in [(tmp_path / "cohort", -signal.SIGTERM), (tmp_path / "fold_1" / "metrics.jsonl", 143)]:
        study = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while study.poll() is None and not begun.exists():
            time.sleep(0.01)
        study.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, told = study.communicate(timeout=60)
        assert study.returncode == code and time.monotonic() - began < 30, told
    assert told.splitlines()[-1].startswith("bonemet: terminated; fold 1, ")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "fold 0: already trained" in done.stderr, done.stderr
