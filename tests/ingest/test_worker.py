"""Guarded reading: what hangs, swells, dies or raises is an error of that one input; the others are read."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.ingest.level import find_slice
from data_pipelines.ingest.source import read_source
from data_pipelines.ingest.worker import Limits, count_workers, run_guarded


def _codes(outcomes: list[object]) -> list[object]:
    return [outcome.code if isinstance(outcome, InputDataError) else outcome for outcome in outcomes]


def test_results_come_in_the_order_of_the_tasks() -> None:
    """The first is the slowest."""
    assert list(run_guarded(time.sleep, [(0.5,), (0,), (0,)], 2)) == [None] * 3
    assert list(run_guarded(pow, [(2, k) for k in range(20)], 2)) == [2**k for k in range(20)]


def test_a_reader_that_hangs_is_stopped_and_the_next_one_read() -> None:
    start = time.monotonic()
    outcomes = list(run_guarded(time.sleep, [(3600,), (0,)], 1, Limits(seconds=1)))
    assert _codes(outcomes) == ["file-too-slow", None]
    assert "limit 1 s" in str(outcomes[0]) and "--seconds" in str(outcomes[0])
    assert time.monotonic() - start < 60


def test_a_reader_that_wants_too_much_memory_is_refused_and_the_next_one_read() -> None:
    assert _codes(list(run_guarded(len, [(b"x",), (b"",)], 1))) == [1, 0]
    outcomes = list(run_guarded(bytes, [(1 << 30,), (3,)], 1, Limits(memory_gib=0.5)))
    assert _codes(outcomes) == ["file-too-large", b"\0\0\0"]


def test_a_reader_that_dies_is_an_error_and_the_next_one_read() -> None:
    """A wild pointer in a decoder, a call of exit."""
    assert _codes(list(run_guarded(ctypes.string_at, [(0,), (b"ok",)], 1))) == ["file-crashed-reader", b"ok"]
    outcomes = list(run_guarded(os._exit, [(3,), (4,), (5,)], 2))
    assert _codes(outcomes) == ["file-crashed-reader"] * 3
    assert _codes(list(run_guarded(sys.exit, [(0,)], 1))) == ["file-crashed-reader"]


def test_an_unforeseen_error_tells_its_kind_and_none_of_its_words() -> None:
    """Its words may quote the header."""
    (outcome,) = run_guarded(int, [("canary",)], 1)
    assert isinstance(outcome, InputDataError) and outcome.fact == "ValueError"


def test_refusals_cross_whole(tmp_path: Path) -> None:
    (outcome,) = run_guarded(read_source, [(tmp_path / "absent",)], 1)
    with pytest.raises(InputDataError) as here:
        read_source(tmp_path / "absent")
    assert str(outcome) == str(here.value)
    assert vars(outcome) == vars(here.value)


def test_a_usage_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="out of range"):
        list(run_guarded(Limits, [(-1.0,)], 1))
    with pytest.raises(UsageError, match="--workers 0"):
        count_workers(0, 3)
    assert count_workers(8, 3) == 3 and count_workers(None, 10_000) >= 1


def test_a_fault_of_ours_is_named_with_its_place() -> None:
    (outcome,) = run_guarded(find_slice, [(None, 1.0, "")], 1)
    assert "AttributeError at ingest/" in str(outcome)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_computes_with_one_thread_prints_nothing_and_writes_no_file(tmp_path: Path, capfd) -> None:
    assert list(run_guarded(os.getenv, [("OMP_NUM_THREADS",)], 1)) == ["1"]
    list(run_guarded(print, [("canary",)], 1))
    (outcome,) = run_guarded(Path.write_bytes, [(tmp_path / "x", b"canary")], 1)
    assert _codes([outcome]) == ["file-crashed-reader"]
    told = capfd.readouterr()
    assert "canary" not in told.out + told.err


_CTRL_C = """
import time
from data_pipelines.ingest.worker import Limits, run_guarded
if __name__ == "__main__":
    print("ready", flush=True)
    for outcome in run_guarded(time.sleep, [(0,), (3600,)], 2, Limits(seconds=3600)):
        print("read", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_the_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_CTRL_C)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline(), parent.stdout.readline()] == [b"ready\n", b"read\n"]
        children = [child for child in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
                    if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
        parent.send_signal(signal.SIGINT)
        parent.wait(60)
    assert len(children) == 2 and not [child for child in children if Path(f"/proc/{child}").exists()]


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    """Spawned processes import the script again."""
    script = tmp_path / "script.py"
    script.write_text("from data_pipelines.ingest.worker import run_guarded\nprint(list(run_guarded(len, ['a'], 1)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0 and "the processes that read files do not start" in done.stderr
