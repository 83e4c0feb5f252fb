"""Guarded reading: what hangs, swells, dies or raises is an error of that one input; the others are read."""

import ctypes
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.ingest.grid import Grid
from data_pipelines.ingest.source import read_source
from data_pipelines.ingest.worker import Limits, count_workers, run_guarded

LIMITS = Limits(seconds=2.0, memory_gib=0.5)
#: What a reader may do: function and argument. One process after the other does them.
ACTS: dict[str, tuple[Callable[..., object], object]] = {
    "sound": (len, b"x"),
    "hangs": (time.sleep, 3600),
    "sound after it hung": (len, b"xx"),
    "wild pointer": (ctypes.string_at, 0),
    "sound after it died": (len, b"xxx"),
    "too much memory": (bytes, 1 << 30),
    "sound after it was refused memory": (bytes, 3),
    "leaves": (sys.exit, 0),
    "raises": (int, "canary"),
    "prints": (print, "canary"),
    "threads": (os.getenv, "OMP_NUM_THREADS"),
    "fault of ours": (Grid.__init__, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes() -> dict[str, object]:
    return dict(zip(ACTS, run_guarded(operator.call, list(ACTS.values()), 1, LIMITS), strict=True))


def _code(outcome: object) -> str:
    assert isinstance(outcome, InputDataError), outcome
    return outcome.code


def test_results_come_in_the_order_of_the_tasks() -> None:
    """The first is the slowest."""
    tasks = [(time.sleep, 0.5), *((abs, -k) for k in range(20))]
    assert list(run_guarded(operator.call, tasks, 2)) == [None, *range(20)]


def test_a_reader_that_hangs_is_stopped_and_the_next_one_read(outcomes: dict[str, object]) -> None:
    assert _code(outcomes["hangs"]) == "file-too-slow" and outcomes["sound after it hung"] == 2
    assert "limit 2 s" in str(outcomes["hangs"]) and "--seconds" in str(outcomes["hangs"])


def test_a_reader_that_dies_is_an_error_and_the_next_one_read(outcomes: dict[str, object]) -> None:
    assert _code(outcomes["wild pointer"]) == "file-crashed-reader" and outcomes["sound after it died"] == 3
    assert _code(outcomes["leaves"]) == "file-crashed-reader"


def test_a_reader_that_wants_too_much_memory_is_refused(outcomes: dict[str, object]) -> None:
    if sys.platform == "linux":
        assert _code(outcomes["too much memory"]) == "file-too-large"
    assert outcomes["sound after it was refused memory"] == bytes(3)


def test_an_unforeseen_error_tells_its_kind_and_none_of_its_words(outcomes: dict[str, object]) -> None:
    """Its words may quote the header."""
    assert _code(outcomes["raises"]) == "file-crashed-reader"
    assert "ValueError" in str(outcomes["raises"]) and "canary" not in str(outcomes["raises"])
    assert _code(outcomes["fault of ours"]) == "file-crashed-reader" and "TypeError" in str(outcomes["fault of ours"])


def test_the_process_computes_with_one_thread_and_leaves_the_environment_as_it_was(outcomes: dict[str, object]) -> None:
    before = dict(os.environ)
    assert outcomes["threads"] == "1"
    assert list(run_guarded(len, [], 1)) == [] and dict(os.environ) == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set on Linux")
def test_the_process_prints_nothing_and_writes_no_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    acts = [(print, "canary"), (os.system, f"echo canary; echo canary > {tmp_path / 'x'}")]
    outcomes = list(run_guarded(operator.call, acts, 1))
    assert outcomes[0] is None
    told = capfd.readouterr()
    assert "canary" not in told.out + told.err
    assert not [f for f in tmp_path.iterdir() if f.stat().st_size]


def test_refusals_cross_whole(tmp_path: Path) -> None:
    """A fault of ours among them: with its place in the package."""
    outcome, fault = run_guarded(read_source, [(tmp_path / "absent",), (tmp_path, None, "no choice")], 1)
    with pytest.raises(InputDataError) as here:
        read_source(tmp_path / "absent")
    assert str(outcome) == str(here.value)
    assert vars(outcome) == vars(here.value)
    assert "AttributeError at ingest/source.py:" in str(fault)


def test_a_usage_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="out of range"):
        list(run_guarded(Limits, [(-1.0,)], 1))
    with pytest.raises(UsageError, match="--workers 0"):
        count_workers(0, 3)
    assert count_workers(8, 3) == 3 and count_workers(None, 10_000) >= 1


_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits deaf ears
import time
from data_pipelines.ingest.worker import Limits, run_guarded
if __name__ == "__main__":
    print("ready", flush=True)
    for outcome in run_guarded(time.sleep, [(0,), (3600,)], 2, Limits(seconds=3600)):
        print("read", flush=True)
"""


def list_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether it is there and has not ended, waiting to be asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_the_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_CTRL_C)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline(), parent.stdout.readline()] == [b"ready\n", b"read\n"]
        servers = [child for child in list_children(parent.pid)
                   if "forkserver" in Path(f"/proc/{child}/cmdline").read_text()]
        readers = [reader for server in servers for reader in list_children(server)]
        parent.send_signal(signal.SIGINT)
        parent.wait(60)
    assert len(servers) == 1 and len(readers) == 2
    deadline = time.monotonic() + 10  # the server ends once it sees that its parent has
    while (alive := [pid for pid in servers + readers if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive


@pytest.mark.every_change
def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    """Spawned processes import the script again."""
    script = tmp_path / "script.py"
    script.write_text("from data_pipelines.ingest.worker import run_guarded\nprint(list(run_guarded(len, ['a'], 1)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0 and "the processes that read files do not start" in done.stderr


def test_readers_start_after_the_folder_of_their_socket_is_gone() -> None:
    """A long-lived program, and a cleaner of temporary files."""
    assert list(run_guarded(operator.neg, [(1,)], 1)) == [-1]
    folder = multiprocessing.current_process()._config.get("tempdir")
    assert folder
    aside = Path(f"{folder}.aside")
    Path(folder).rename(aside)
    try:
        assert list(run_guarded(operator.neg, [(2,), (3,)], 1)) == [-2, -3]
    finally:
        aside.rename(folder)
