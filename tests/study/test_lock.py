"""A run directory has one owner at a time; the lock of a process that was killed does not stay."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.errors import DiskError, TryAgainError
from bonemet_jax.study.lock import LOCK, lock_output, lock_run

HOLD = """
import sys
from pathlib import Path
from bonemet_jax.study import lock
with getattr(lock, sys.argv[1])(Path(sys.argv[2])):
    Path(sys.argv[2]).mkdir(exist_ok=True)
    (Path(sys.argv[2]) / "output").touch()
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(folder: Path, lock: str = "lock_run") -> subprocess.Popen[str]:
    """Another process that holds `folder` until its input is closed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, lock, str(folder)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_second_process_gets_exit_code_75_and_the_holder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with start_holder(run) as holder:
        with pytest.raises(TryAgainError) as caught, lock_run(run):
            raise AssertionError
        assert caught.value.exit_code == 75
        for part in (f"process {holder.pid}", socket.gethostname(), "since 20", str(run), "--wait"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)
        holder.communicate("")
    with lock_run(run):
        assert json.loads((run / ".lock.json").read_text())["pid"] == os.getpid()
    assert not (run / ".lock.json").exists()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    with start_holder(tmp_path / "run") as holder:
        holder.kill()
        holder.wait()
    assert (tmp_path / "run" / ".lock.json").exists()  # nobody was left to remove it
    with lock_run(tmp_path / "run"):
        pass


def test_waiting_ends_when_the_holder_does(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, order = tmp_path / "run", []
    with start_holder(run) as holder:

        def wait() -> None:
            with lock_run(run, wait=True):
                order.append("waiter")

        waiter = threading.Thread(target=wait)
        waiter.start()
        while "waiting: " not in capfd.readouterr().err:
            time.sleep(0.05)
        order.append("holder ends")
        holder.communicate("")
        waiter.join()
    assert order == ["holder ends", "waiter"]


def test_a_run_refused_before_it_began_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock_run(tmp_path / "run"):
        raise RuntimeError
    assert not (tmp_path / "run").exists()
    with pytest.raises(RuntimeError), lock_run(tmp_path / "run"):
        (tmp_path / "run" / "config.json").touch()
        raise RuntimeError
    assert sorted(f.name for f in (tmp_path / "run").iterdir()) == [LOCK, "config.json"]


def test_a_folder_that_another_process_writes_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`bonemet phantom -o DIR` beside another that writes it, also by another name; afterwards no lock is left."""
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    argv = ["phantom", "-o", str(tmp_path / "link" / "cohort"), "--n", "12", "--height", "112", "--width", "144",
            "--spacing-mm", "3"]
    with start_holder(tmp_path / "cohort", "lock_output") as holder:
        assert main(argv) == 75
        told = capfd.readouterr().err.splitlines()
        assert len(told) == 1 and f"process {holder.pid}" in told[0] and "writes this folder" in told[0]
        holder.communicate("")
    shutil.rmtree(tmp_path / "cohort")
    assert main(argv) == 0
    assert sorted(f.name for f in tmp_path.iterdir()) == ["cohort", "link"]


def test_the_lock_of_a_killed_writer_does_not_stay(tmp_path: Path) -> None:
    with start_holder(tmp_path / "cohort", "lock_output") as holder:
        holder.kill()
        holder.wait()
    assert (tmp_path / ".cohort.lock").exists()
    with lock_output(tmp_path / "cohort"):
        pass
    assert [f.name for f in tmp_path.iterdir()] == ["cohort"]


def test_a_refused_output_leaves_no_folder_above_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock_output(tmp_path / "a" / "b" / "cohort"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_writers_in_turn(tmp_path: Path) -> None:
    """Many threads with --wait: one at a time, though each removes its lock."""
    held, most = [], []

    def work() -> None:
        with lock_output(tmp_path / "cohort", wait=True):
            held.append(1)
            most.append(len(held))
            time.sleep(0.01)
            held.pop()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("lock", [lock_run, lock_output])
def test_a_lock_whose_holder_cannot_be_written_leaves_nothing(
    lock: Callable[[Path], AbstractContextManager[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DiskError("could not write", tmp_path)

    monkeypatch.setattr(artifacts, "write_json", fail)
    with pytest.raises(DiskError), lock(tmp_path / "made" / "folder"):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


_LOOP = """
import sys
from pathlib import Path
from bonemet_jax.study import lock
for _ in range(25):
    with getattr(lock, sys.argv[1])(Path(sys.argv[2]), wait=True):
        pass
"""


@pytest.mark.parametrize("lock", ["lock_run", "lock_output"])
def test_a_waiter_outlives_a_holder_that_removes_the_folders_it_made(lock: str, tmp_path: Path) -> None:
    """Four processes in turn on a folder whose parent none of them leaves."""
    argv = [sys.executable, "-c", _LOOP, lock, str(tmp_path / "made" / "folder")]
    started = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        _, told = process.communicate()
        assert process.returncode == 0, told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
