"""A run directory has one owner at a time; the lock of a process that was killed does not stay."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bonemet_jax.errors import TryAgainError
from bonemet_jax.study.run_lock import HOLDER, LOCK, lock_run

HOLD = """
import sys
from pathlib import Path
from bonemet_jax.study.run_lock import lock_run
with lock_run(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "output").touch()
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(run: Path) -> subprocess.Popen[str]:
    """Another process that holds `run` until its input is closed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
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
        assert json.loads((run / HOLDER).read_text())["pid"] == os.getpid()
    assert not (run / HOLDER).exists()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    with start_holder(tmp_path / "run") as holder:
        holder.kill()
        holder.wait()
    assert (tmp_path / "run" / HOLDER).exists()  # nobody was left to remove it
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
