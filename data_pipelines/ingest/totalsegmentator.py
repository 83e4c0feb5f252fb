"""TotalSegmentator, where it is installed: run as a program of its own, never imported."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from data_pipelines.findings import refusal
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.label_tables import VERTEBRAE
from data_pipelines.ingest.nifti import SUFFIXES

PROGRAM = "TotalSegmentator"
#: A CPU needs about ten minutes for a chest and abdomen.
SECONDS = 3600.0


def segment_volume(path: Path, out: Path, level: str = "T11", seconds: float = SECONDS) -> Path:
    """Label the vertebra, its neighbours and the deep back muscles of a patient's CT.

    Args:
        path: DICOM folder, zip of DICOM files, NIfTI volume, or a folder with ct.nii.gz.
        out: folder for the masks, best a temporary one; made where it is missing.
        level: vertebra, C1 to L5.
        seconds: time limit; the program and all it started is ended then.

    Returns: the folder of masks, for read_source.

    Raises: InputDataError when the program is not on PATH, fails, takes too long or leaves no mask of the vertebra.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise refusal("mask-segmenter-missing", path)
    at = VERTEBRAE.index(level)
    wanted = [f"vertebrae_{name}" for name in VERTEBRAE[max(0, at - 1) : at + 2]]
    out.mkdir(parents=True, exist_ok=True)
    # Absolute: a name that begins with a dash is no flag then.
    command = [program, "-i", str(_find_volume(path).absolute()), "-o", str(out.absolute()),
               "--roi_subset", *wanted, "autochthon_left", "autochthon_right"]  # fmt: skip
    status = _run(command, seconds, path)
    if status != 0:
        raise refusal("mask-segmenter-failed", path, fact=f"exit code {status}")
    if not any((out / f"vertebrae_{level}{suffix}").is_file() for suffix in SUFFIXES):
        raise refusal("mask-segmenter-failed", path, fact=f"no mask of {level} written")
    return out


def _find_volume(path: Path) -> Path:
    """What the program is given: ct.nii.gz of a folder, else the path itself."""
    if path.is_dir():
        named = [f for f in find_files(path) if f.name in ("ct.nii.gz", "ct.nii")]
        return Path(named[0].where) if named else path
    return path


def _run(command: list[str], seconds: float, path: Path) -> int:
    """Exit status. The program's own output is dropped: it quotes paths."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise refusal("mask-segmenter-slow", path, fact=f"{seconds:g} s") from error
    finally:
        if process.poll() is None:  # Ctrl-C comes here too; the group holds the workers it started
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
