"""The files below a path: of a folder, or of a zip archive read in memory and never unpacked."""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from data_pipelines.findings import refusal

#: A patient's export has fewer files than this.
MAX_FILES = 20_000
#: One file, and all files of an archive together, unpacked: bytes.
MAX_FILE_BYTES, MAX_ARCHIVE_BYTES = 1 << 30, 4 << 30
#: Unpacked by packed size: CT packs by 2 to 4, a slice of nothing but air by 1000, a bomb by 1000 too but is large.
MAX_RATIO, RATIO_FLOOR_BYTES = 200.0, 8 << 20
#: Archives inside an archive; a compressed NIfTI volume is none.
NESTED = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz")
_ENCRYPTED_BIT, _SYMLINK_TYPE = 0x1, 0xA


@dataclass(frozen=True)
class InputFile:
    """One file, wherever it lies."""

    name: str
    """Base name."""
    where: str
    """What a message shows: the path, or archive:member."""
    n_bytes: int
    open: Callable[[], BinaryIO]
    verified: list[int] = field(default_factory=list, repr=False, compare=False)
    """Empty until a reader has read the whole file and verified its checksum, then what it found: bytes to spare."""


def find_files(path: Path) -> list[InputFile]:
    """Every file of a folder (hidden ones left out), the members of a zip, or the file itself; sorted by name.

    Raises: InputDataError for a path that is not there, too many or too large files, or a dangerous archive.
    """
    if not path.exists():
        raise refusal("file-missing", path)
    if path.is_file():
        return _of_zip(path) if path.suffix.lower() == ".zip" else [_of_file(path)]
    try:
        found = sorted(f for f in path.rglob("*") if f.is_file() and not _is_hidden(f.relative_to(path).parts))
    except OSError as error:
        raise refusal("file-unreadable", path) from error
    if len(found) > MAX_FILES:
        raise refusal("file-too-many", path, fact=f"{len(found)} files, limit {MAX_FILES}")
    return [_of_file(f) for f in found]


def count_volume_bytes(path: Path) -> int:
    """Packed bytes of a file, or of the NIfTI volumes directly in a folder: those are read whole."""
    try:
        files = path.glob("*.nii*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:  # reported when it is read
        return 0


def compute_unpacked_limit(n_packed: int) -> int:
    """Bytes that data of `n_packed` bytes may unpack to: a ratio, but small data may hold much nothing."""
    return min(MAX_FILE_BYTES, max(RATIO_FLOOR_BYTES, int(MAX_RATIO * n_packed)))


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _of_file(path: Path) -> InputFile:
    def open_file() -> BinaryIO:
        try:
            return open(path, "rb")
        except OSError as error:
            raise refusal("file-unreadable", path) from error

    n_bytes = path.stat().st_size
    if n_bytes > MAX_FILE_BYTES:
        raise refusal("file-large", path, fact=f"{n_bytes} bytes, limit {MAX_FILE_BYTES}")
    return InputFile(path.name, str(path), n_bytes, open_file)


def _of_zip(path: Path) -> list[InputFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise refusal("file-archive-damaged", path) from error
    members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) > MAX_FILES:
        raise refusal("file-too-many", path, fact=f"{len(members)} members, limit {MAX_FILES}")
    for number, info in enumerate(members, start=1):
        _check_member(info, path, number)
    n_bytes = sum(info.file_size for info in members)
    if n_bytes > min(MAX_ARCHIVE_BYTES, max(RATIO_FLOOR_BYTES, MAX_RATIO * path.stat().st_size)):
        raise refusal("file-archive-bomb", path, fact=f"{n_bytes} bytes unpacked from {path.stat().st_size}")
    shown = [info for info in members if not _is_hidden(_path_of(info).parts)]
    return [_of_member(archive, info, path) for info in sorted(shown, key=lambda info: info.filename)]


def _path_of(info: zipfile.ZipInfo) -> PurePosixPath:
    """Path of a member as written; some packers write backslashes."""
    return PurePosixPath(info.orig_filename.replace("\\", "/"))


def _check_member(info: zipfile.ZipInfo, path: Path, number: int) -> None:
    """Refuse what no export of images holds. Nothing is ever unpacked to disk: an archive that tries is not trusted."""
    name, fact = str(_path_of(info)), f"member {number}"
    if name.startswith("/") or name[1:2] == ":" or "\0" in name or ".." in _path_of(info).parts:
        raise refusal("file-archive-path", path, fact=fact)
    if info.external_attr >> 28 == _SYMLINK_TYPE:
        raise refusal("file-archive-link", path, fact=fact)
    if info.flag_bits & _ENCRYPTED_BIT:
        raise refusal("file-archive-encrypted", path, fact=fact)
    if name.lower().endswith(NESTED) and not name.lower().endswith(".nii.gz"):
        raise refusal("file-archive-nested", path, fact=fact)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refusal("file-archive-method", path, fact=f"{fact}, method {info.compress_type}")
    if info.file_size > compute_unpacked_limit(info.compress_size):
        raise refusal("file-archive-bomb", path, fact=f"{fact}: {info.file_size} bytes from {info.compress_size}")


def _of_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> InputFile:
    where = f"{path}:{info.filename}"

    def open_member() -> BinaryIO:
        try:
            # Reads no more than the size declared, which was checked, and compares the checksum.
            return io.BytesIO(archive.read(info))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise refusal("file-archive-damaged", where) from error

    return InputFile(_path_of(info).name, where, info.file_size, open_member)
