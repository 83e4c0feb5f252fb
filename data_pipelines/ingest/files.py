"""The files below a path: of a folder, or of a zip archive read in memory and never unpacked."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from data_pipelines.findings import refusal

#: A patient's export has fewer files than this.
MAX_FILES = 20_000
#: One file, and all files of an archive together, unpacked: bytes.
MAX_FILE_BYTES, MAX_ARCHIVE_BYTES = 1 << 30, 4 << 30
#: Unpacked by packed size of a member: CT packs by 2 to 4, a bomb by 1000.
MAX_RATIO = 200.0


@dataclass(frozen=True)
class InputFile:
    """One file, wherever it lies."""

    name: str
    """Base name."""
    where: str
    """What a message shows: the path, or archive:member."""
    n_bytes: int
    open: Callable[[], BinaryIO]


def find_files(path: Path) -> list[InputFile]:
    """Every file of a folder (hidden ones left out), the members of a zip, or the file itself; sorted by name.

    Raises: InputDataError for a path that is not there, too many or too large files, or a dangerous archive.
    """
    if not path.exists():
        raise refusal("file-missing", path)
    if path.is_file():
        return _of_zip(path) if path.suffix.lower() == ".zip" else [_of_file(path)]
    return [_of_file(f) for f in sorted(path.rglob("*")) if f.is_file() and not f.name.startswith(".")]


def _of_file(path: Path) -> InputFile:
    return InputFile(path.name, str(path), path.stat().st_size, lambda: open(path, "rb"))


def _of_zip(path: Path) -> list[InputFile]:
    archive = zipfile.ZipFile(path)
    members = [info for info in archive.infolist() if not info.is_dir()]
    return [
        InputFile(PurePosixPath(info.filename).name, f"{path}:{info.filename}", info.file_size,
                  lambda info=info: io.BytesIO(archive.read(info)))
        for info in sorted(members, key=lambda info: info.filename)
    ]
