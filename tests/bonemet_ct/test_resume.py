"""A build killed at random moments goes on: the same bytes, and no finished shard made twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.processes import list_tree
from bonemet_jax import artifacts
from bonemet_jax.config import RecordsConfig
from data_pipelines.bonemet_ct import build as build_module
from data_pipelines.bonemet_ct.build import build_records
from data_pipelines.bonemet_ct.tasks import make_tasks

CONFIG = RecordsConfig(height=64, width=80, spacing_mm=4.0, file_format="array_record", patients_per_shard=2)
N_SHARDS = 7
BUILD = """
import sys
from pathlib import Path
from bonemet_jax.config import RecordsConfig
from data_pipelines.bonemet_ct.build import build_records
config = RecordsConfig(height=64, width=80, spacing_mm=4.0, file_format="array_record", patients_per_shard=2)
build_records(Path(sys.argv[1]), Path(sys.argv[2]), config, "small")
"""


@pytest.fixture(scope="module")
def uninterrupted(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    built = build_records(small_cohort, tmp_path_factory.mktemp("whole"), CONFIG, "small")
    return (built / artifacts.MANIFEST).read_bytes()


def _final(out: Path) -> Path:
    return out / "bonemet_ct" / "small" / "1.0.0"


def _finished(out: Path) -> dict[str, int]:
    """Inode of every shard that has its note."""
    partial = artifacts.partial_name(_final(out))
    notes = [note.name.removesuffix(".json") for note in (partial / artifacts.NOTES).glob("*.json")]
    return {name: (partial / name).stat().st_ino for name in notes if (partial / name).is_file()}


def _start(cohort: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(cohort), str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def _kill_once_shards_come(process: subprocess.Popen[bytes], out: Path, n_shards: int, delay_s: float) -> None:
    """kill -9 `delay_s` after `n_shards` shards are finished."""
    while process.poll() is None and len(_finished(out)) < n_shards:
        time.sleep(0.005)
    time.sleep(delay_s)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _kill_and_go_on(cohort: Path, out: Path, wanted: bytes, rng: random.Random) -> int:
    """Returns how many shards the killed build left finished."""
    _kill_once_shards_come(_start(cohort, out), out, rng.randrange(N_SHARDS), rng.uniform(0, 0.1))
    left = {} if _final(out).exists() else _finished(out)
    built = build_records(cohort, out, CONFIG, "small")
    assert (built / artifacts.MANIFEST).read_bytes() == wanted
    artifacts.check_manifest(built)
    assert {name: (built / name).stat().st_ino for name in left} == left
    assert [path.name for path in built.parent.iterdir()] == ["1.0.0"]
    assert not (built / artifacts.NOTES).exists()
    return len(left)


@pytest.mark.parametrize("n_kills", [3, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.every_change
def test_killed_builds_go_on(small_cohort: Path, tmp_path: Path, uninterrupted: bytes, n_kills: int) -> None:
    rng = random.Random(n_kills)
    left = [_kill_and_go_on(small_cohort, tmp_path / str(i), uninterrupted, rng) for i in range(n_kills)]
    print(f"{n_kills}/{n_kills} builds killed and resumed to the same bytes; finished shards kept: {left}")
    assert any(left)


class _Stop(BaseException):
    """A kill that a test survives."""


def _interrupted(cohort: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a build that stopped when its shards were finished."""

    def stop(*_: object) -> None:
        raise _Stop

    with monkeypatch.context() as patch, pytest.raises(_Stop):
        patch.setattr(build_module, "_write_metadata", stop)
        build_records(cohort, out, CONFIG, "small")
    return artifacts.partial_name(_final(out))


def _going_on(capsys: pytest.CaptureFixture[str]) -> str:
    return next((line for line in capsys.readouterr().err.splitlines() if line.startswith("going on")), "")


def test_only_whole_shards_are_kept(
    small_cohort: Path, tmp_path: Path, uninterrupted: bytes, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    partial = _interrupted(small_cohort, tmp_path, monkeypatch)
    first, second, third, *rest = [task.file_name("array_record") for task in make_tasks(13, 2)]
    data = bytearray((partial / first).read_bytes())
    data[len(data) // 2] ^= 1
    (partial / first).write_bytes(data)
    (partial / second).write_bytes((partial / second).read_bytes()[:-1])
    (partial / artifacts.NOTES / f"{third}.json").unlink()
    (partial / "stale").write_text("half a shard")
    kept = {name: (partial / name).stat().st_ino for name in rest}
    capsys.readouterr()
    built = build_records(small_cohort, tmp_path, CONFIG, "small")
    assert _going_on(capsys) == "going on: 4 of 7 shards are there"
    assert (built / artifacts.MANIFEST).read_bytes() == uninterrupted
    assert {name: (built / name).stat().st_ino for name in rest} == kept


def test_all_shards_there(
    small_cohort: Path, tmp_path: Path, uninterrupted: bytes, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _interrupted(small_cohort, tmp_path, monkeypatch)
    built = build_records(small_cohort, tmp_path, CONFIG, "small")
    assert _going_on(capsys) == "going on: 7 of 7 shards are there"
    assert (built / artifacts.MANIFEST).read_bytes() == uninterrupted


def test_other_settings_start_anew(
    small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _interrupted(small_cohort, tmp_path, monkeypatch)
    other = RecordsConfig(height=64, width=96, spacing_mm=4.0, file_format="array_record", patients_per_shard=2)
    built = build_records(small_cohort, tmp_path, other, "small")
    assert _going_on(capsys) == ""
    assert artifacts.check_manifest(built)["facts"]["records"]["width"] == 96


@pytest.mark.slow
def test_a_worker_that_is_killed_is_noticed(small_cohort: Path, tmp_path: Path, uninterrupted: bytes) -> None:
    """Not waited for, which Beam would do for ever: exit 75, finished shards kept, no process left."""
    argv = ["build", "-i", str(small_cohort), "-o", str(tmp_path), "--name", "small", "--height", "64", "--width", "80",
            "--spacing-mm", "4", "--file-format", "array_record", "--patients-per-shard", "2",
            "--beam-option=--direct_num_workers=2"]  # fmt: skip
    program = "from bonemet_jax.cli import run_from_shell; run_from_shell()"
    command = [sys.executable, "-c", program, *argv]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not _finished(tmp_path):
        time.sleep(0.01)
    workers = [pid for pid in list_tree(process.pid)[1:] if "sdk_worker_main" in _command_of(pid)]
    os.kill(workers[-1], signal.SIGKILL)
    said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 75 and said[-1].startswith("bonemet: a worker process of the build is gone"), said[-3:]
    assert _finished(tmp_path)
    built = build_records(small_cohort, tmp_path, CONFIG, "small")
    assert (built / artifacts.MANIFEST).read_bytes() == uninterrupted


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
