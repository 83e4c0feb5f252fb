"""TotalSegmentator as a program: a stand-in of the same name on PATH."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.totalsegmentator import PROGRAM, segment_volume
from tests.ingest.conftest import make_hu, save_nifti


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in is to be written: the only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder / PROGRAM


def _write(program: Path, body: str) -> None:
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}")
    program.chmod(0o755)


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    save_nifti(make_hu(), tmp_path / "-rf" / "ct.nii.gz")
    return tmp_path / "-rf"


#: Writes a mask for every structure asked for, and its arguments beside.
WRITES = """
import json, pathlib, nibabel, numpy
args = sys.argv[1:]
image = nibabel.load(args[args.index("-i") + 1])
out = pathlib.Path(args[args.index("-o") + 1])
for n, name in enumerate(args[args.index("--roi_subset") + 1 :]):
    mask = numpy.zeros(image.shape, numpy.uint8)
    mask[20:60, 20:30, n] = 1
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), out / f"{name}.nii.gz")
(out / "arguments.json").write_text(json.dumps(args))
print("canary on standard output", file=sys.stderr)
"""


def test_masks_come_back_and_give_the_level(
    program: Path, patient: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """T10, T11, T12 on slices 0, 1, 2."""
    _write(program, WRITES)
    masks = segment_volume(patient, tmp_path / "out", seconds=120)
    asked = json.loads((masks / "arguments.json").read_text())
    assert all(f"vertebrae_{name}" in asked for name in ("T10", "T11", "T12")) and "autochthon_left" in asked
    assert str(patient / "ct.nii.gz") in asked
    assert "canary" not in "".join(capfd.readouterr())
    found = read_source(patient, masks, Choice(segment="totalsegmentator"))
    assert found.index == 1


def test_not_installed(program: Path, patient: Path, tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"not on PATH.*pip install TotalSegmentator") as refusal:
        segment_volume(patient, tmp_path / "out")
    assert refusal.value.code == "mask-segmenter-missing"
    with pytest.raises(InputDataError, match="has left no masks"):
        read_source(patient, choice=Choice(segment="totalsegmentator"))


@pytest.mark.parametrize(("body", "says"), [("print('canary'); sys.exit(3)", "exit code 3"), ("", "no mask of T11")])
def test_failure_is_told_without_its_output(program: Path, patient: Path, tmp_path: Path, body: str, says: str) -> None:
    _write(program, body)
    with pytest.raises(InputDataError, match=says) as refusal:
        segment_volume(patient, tmp_path / "out", seconds=120)
    assert refusal.value.code == "mask-segmenter-failed" and "canary" not in str(refusal.value)


def test_time_limit_ends_the_program_and_what_it_started(program: Path, patient: Path, tmp_path: Path) -> None:
    """The child holds a pipe open; it is at its end once no process holds it any more."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    _write(program, f"""
import subprocess, time
held = open({str(pipe)!r}, "w")
subprocess.Popen([{sys.executable!r}, "-c", "import time; time.sleep(600)"], pass_fds=[held.fileno()])
time.sleep(600)
""")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(InputDataError, match="2 s") as refusal:
            segment_volume(patient, tmp_path / "out", seconds=2)
        assert refusal.value.code == "mask-segmenter-slow"
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_name_of_a_folder_is_no_flag(program: Path, patient: Path, tmp_path: Path, monkeypatch) -> None:
    _write(program, WRITES)
    monkeypatch.chdir(tmp_path)
    segment_volume(Path("-rf"), Path("out"), seconds=120)
    assert np.any([file.name == "vertebrae_T11.nii.gz" for file in (tmp_path / "out").iterdir()])
