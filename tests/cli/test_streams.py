"""Standard output that nobody reads, or that is full: every file is written and the exit code is right."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.process_state import process_control

PROGRAM = "from bonemet_jax.cli import run_from_shell; run_from_shell()"
SURVIVAL = ["--csv", "{table}", "--time", "t", "--event", "e"]
#: Command, and its exit code when all is printed.
COMMANDS = [
    (["stats", "km", *SURVIVAL], 0),
    (["stats", "cox", *SURVIVAL, "--covariates", "x"], 0),
    (["stats", "lasso-cox", *SURVIVAL, "--covariates", "x", "y"], 0),
    (["stats", "roc", "--csv", "{table}", "--label", "e", "--scores", "x", "--draws", "100"], 0),
    (["stats", "table1", "--csv", "{table}", "--by", "e", "--columns", "x"], 0),
    (["audit", "--example"], 8),
    (["verify", "--clinical", "{clinical}"], 0),
    (["verify", "--clinical", "{wrong}"], 8),
    (["info", "--json"], 0),
    (["info"], 0),
    (["configs", "list"], 0),
    (["configs", "show", "smoke"], 0),
]


@pytest.fixture
def names(tmp_path: Path) -> dict[str, Path]:
    rows = [f"{i},{1 + i * 7 % 23},{int(i % 3 == 0)},{i * 5 % 11},{i * 3 % 7}" for i in range(40)]
    (tmp_path / "table.csv").write_text("\n".join(["id,t,e,x,y", *rows]) + "\n")
    (tmp_path / "clinical.csv").write_text("patient_id,age_years\na,50\n")
    (tmp_path / "wrong.csv").write_text("patient_id,age_years\na,fifty\n")
    return {name: tmp_path / f"{name}.csv" for name in ("table", "clinical", "wrong")} | {
        "report": tmp_path / "report.json"}


@contextmanager
def closed_pipe() -> Iterator[int]:
    """A pipe that nobody reads any more, as behind `| head -1`."""
    read, write = os.pipe()
    os.close(read)
    yield write


@contextmanager
def full_device() -> Iterator[int]:
    """A device without space; skipped where there is none."""
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full here")
    yield os.open("/dev/full", os.O_WRONLY)


def call(argv: list[str], descriptor: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command in a process of its own that prints to this descriptor, line by line."""
    with os.fdopen(descriptor, "w", buffering=1) as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        with process_control():
            return main(argv)


@pytest.mark.parametrize(("argv", "code"), [COMMANDS[i] for i in (0, 5, 7, 8)])
def test_a_closed_pipe_loses_no_report(
    argv: list[str], code: int, names: dict[str, Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format_map(names) for word in argv]
    with closed_pipe() as pipe:
        assert call([*words, "--report", str(names["report"])], pipe, monkeypatch) == code
    report = artifacts.load_json(names["report"])
    assert report["exit_code"] == code and report["results"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("argv", "code"), [COMMANDS[0], COMMANDS[5]])
def test_a_full_device_is_named(
    argv: list[str], code: int, names: dict[str, Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The report is complete, and has the exit code of the command."""
    words = [word.format_map(names) for word in argv]
    with full_device() as device:
        assert call([*words, "--report", str(names["report"])], device, monkeypatch) == (code or 5)
    report = artifacts.load_json(names["report"])
    assert report["exit_code"] == (code or 5) and report["results"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bonemet: standard output could not be written ({os.strerror(errno.ENOSPC)}); ")


def run(argv: list[str], **streams: int) -> int:
    """The exit code in a process of its own."""
    return subprocess.run([sys.executable, "-c", PROGRAM, *argv], **streams, timeout=600).returncode


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_end_of_the_process_is_quiet_too(stream: str, names: dict[str, Path], tmp_path: Path) -> None:
    """What is still buffered then goes nowhere; Python would end with 120."""
    argv = ["stats", "km", *(word.format_map(names) for word in SURVIVAL), "--report", str(names["report"])]
    with closed_pipe() as pipe, open(tmp_path / "told", "wb") as told:
        assert run(argv, **({"stdout": pipe, "stderr": told.fileno()} if stream == "stdout" else {"stderr": pipe})) == 0
        os.close(pipe)
    assert (tmp_path / "told").read_bytes() == b"" and artifacts.load_json(names["report"])["exit_code"] == 0


def test_no_output_file_takes_the_place_of_a_closed_stream(names: dict[str, Path]) -> None:
    """`>&- 2>&-`: the first file that is opened would be descriptor 1, in which libraries print."""
    script = f'"$0" -c \'{PROGRAM}\' info --report "$1" >&- 2>&-'
    done = subprocess.run(["bash", "-c", script, sys.executable, str(names["report"])], timeout=120)
    assert done.returncode == 0 and artifacts.load_json(names["report"])["exit_code"] == 0


@pytest.mark.slow
def test_every_verb_writes_its_files_whoever_reads(
    names: dict[str, Path], small_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One process per verb and stream: exit code and files are those of a command whose output is read."""
    phantom = ["--n", "12", "--height", "128", "--width", "160", "--spacing-mm", "2.5"]
    records = ["--height", "64", "--width", "80", "--spacing-mm", "4"]
    image = ["-i", "{dicom}/patients/P000001", "--slice-index", "0"]
    commands = [
        (["phantom", "-o", "{out}", "--dicom", "{dicom}", *phantom], "{out}/manifest.json"),
        (["measure", *image, "-o", "{out}"], "{out}/areas.csv"),
        (["ingest", *image, "-o", "{out}"], "{out}/cohort.parquet"),
        (["verify", *image, "-o", "{out}"], "{out}/findings.json"),
        (["verify", "-i", "{cohort}"], "{cohort}"),
        (["build", "-i", "{cohort}", "-o", "{out}", *records], "{out}/bonemet_ct"),
        (["doctor"], "{cohort}"),
        (["doctor", "--json"], "{cohort}"),
        *((argv, "{cohort}") for argv, _ in COMMANDS),
    ]
    with capsys.disabled():
        print()
        for i, (argv, file) in enumerate(commands):
            codes = {}
            for how in ("read", "closed pipe", "full device"):
                at = names | {"out": tmp_path / f"{i} {how}", "dicom": tmp_path / how, "cohort": small_cohort}
                codes[how] = run_with(how, [word.format_map(at) for word in argv], names["report"])
                assert Path(file.format_map(at)).exists()
            print(f"streams, {' '.join(argv[:2])}: exit codes {codes}, report and files written")
            assert codes["closed pipe"] == codes["read"] and codes["full device"] == (codes["read"] or 5)


def run_with(how: str, words: list[str], report: Path) -> int:
    """The exit code of a command with such a standard output; its report is complete and has the same."""
    report.unlink(missing_ok=True)
    opened = {"closed pipe": closed_pipe, "full device": full_device}.get(how)
    with opened() if opened else nullcontext(os.open(os.devnull, os.O_WRONLY)) as descriptor:
        code = run([*words, "--report", str(report)], stdout=descriptor, stderr=subprocess.DEVNULL)
        os.close(descriptor)
    written = artifacts.load_json(report)
    assert written["exit_code"] == code and "results" in written, (words, written)
    return code
