"""The one door for writing files: atomic, checksummed, with a disk-full error that names path and bytes.

Every stage writes under a temporary name, flushes it to disk and renames; a reader never meets half a file.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from bonemet_jax.errors import BonemetError, CorruptFileError, DiskError, TryAgainError
from bonemet_jax.loaders import load_json, load_json_lines, load_npz, load_table

__all__ = ["load_json", "load_json_lines", "load_npz", "load_table"]  # of loaders.py: one name for both directions

MANIFEST = "manifest.json"
#: Name, in JSON files that are checked on their own, of the sha256 over the rest.
CHECKSUM = "sha256"
_PARTIAL = ".partial"
#: Folder of a resumable directory that no manifest holds.
NOTES = ".notes.partial"
_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
#: What to do where more space does not help.
_DISK_REMEDIES = {
    os.strerror(errno.EROFS): "write to a disk that is not read-only",
    os.strerror(errno.EFBIG): "write to a file system that holds files of this size",
    os.strerror(errno.EIO): "the disk or its connection fails: write to another disk",
}


class ManifestEntry(TypedDict):
    """What is known of a file."""

    sha256: str
    bytes: int


class Manifest(TypedDict):
    """manifest.json."""

    files: dict[str, ManifestEntry]
    facts: dict[str, Any]


class ConfigFile(TypedDict):
    """config.json of a run."""

    fingerprint: str
    config: dict[str, Any]


@contextlib.contextmanager
def disk_errors(path: Path, n_bytes: int | None = None, partial: Path | None = None) -> Iterator[None]:
    """Turn a failed write of `path` into DiskError; libraries that wrap the OSError are seen through.

    n_bytes is what was to be written, where known; else what reached `partial` is told.
    """
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        told = next((link for link in _chain(error) if isinstance(link, DiskError)), None)
        if told is not None:  # a clean-up that failed too must not hide the first message
            raise told from error
        reason = _disk_reason(error)
        if reason is None:
            raise
        size = f"{_written_bytes(partial or path)} bytes written so far" if n_bytes is None else f"{n_bytes} bytes"
        remedy = _DISK_REMEDIES.get(reason, "free some space and run the same command again")
        raise DiskError(f"could not write ({reason})", f"{path}, {size}", remedy) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _disk_reason(error: BaseException) -> str | None:
    """The system's words for a failed write, found in the errno or, where a library kept only text, in the text."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in _DISK_ERRNOS:
            return os.strerror(link.errno)
        words = next((os.strerror(code) for code in _DISK_ERRNOS if os.strerror(code) in str(link)), None)
        if words is not None:
            return words
    return None


def _written_bytes(target: Path) -> int:
    if target.is_dir():
        return sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
    return target.stat().st_size if target.exists() else 0


def partial_name(path: Path) -> Path:
    """The temporary name beside `path` under which it is written; the suffix stays, for libraries that read it."""
    path = path if path.name else path.resolve()  # "." has no name
    return path.with_name(f".{path.stem}{_PARTIAL}{path.suffix}")


def old_name(path: Path) -> Path:
    """The name under which an earlier directory `path` is kept while the new one takes its place."""
    path = path if path.name else path.resolve()
    return path.with_name(f".{path.name}.old")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path | str, n_bytes: int | None = None) -> Iterator[Path]:
    """Yield a temporary file name beside `path`; rename to `path` when the block ends well, remove it otherwise."""
    path = Path(path)
    partial = partial_name(path)
    try:
        with disk_errors(path, n_bytes, partial):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)  # a link with this name must not lead the write to another file
            yield partial
            _fsync(partial)
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_dir(path: Path | str) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; it takes the place of `path` when the block ends well."""
    path = Path(path)
    partial = partial_name(path)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with disk_errors(path, partial=partial):
            partial.mkdir(parents=True)
            yield partial
            _put_in_place(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def resumable_dir(path: Path | str, key: str) -> Iterator[Path]:
    """As atomic_dir, but what a killed try with the same `key` left behind is yielded again.

    The caller judges what of it is whole, and keeps its own notes in the folder `NOTES` there: no manifest holds it,
    and it goes when `path` is in place. A fault whose remedy changes the key sweeps the whole; after a full disk and
    after what the same command takes up again it stays.
    """
    path = Path(path)
    partial = partial_name(path)
    notes = partial / NOTES
    try:
        with disk_errors(path, partial=partial):
            if not (notes / key).is_file():
                shutil.rmtree(partial, ignore_errors=True)
                write_text(notes / key, "")
            yield partial
            _put_in_place(partial, path)
            shutil.rmtree(path / NOTES)
    except BonemetError as error:
        if not isinstance(error, (DiskError, TryAgainError)):
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _put_in_place(partial: Path, path: Path) -> None:
    """Flush every file of a finished directory to disk, then rename it over `path`."""
    old = old_name(path)
    for file in partial.rglob("*"):
        if file.is_file():
            _fsync(file)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(partial, path)
    shutil.rmtree(old, ignore_errors=True)


def check_space(path: Path | str, n_bytes: int) -> None:
    """Refuse to begin a write that the disk cannot hold: for libraries that fail badly halfway.

    Raises: DiskError naming the path, the bytes needed and the bytes free.
    """
    path = Path(path)
    standing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    free = shutil.disk_usage(standing).free
    if free < n_bytes:
        raise DiskError(
            f"could not write ({os.strerror(errno.ENOSPC)})", f"{path}, {n_bytes} bytes, {free} free",
            "free some space and run the same command again",
        )


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` atomically."""
    with atomic_path(path, len(data)) as partial:
        partial.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically: sorted keys, NaN refused (missing is null, said by the caller)."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def load_config_values(path: Path | str) -> dict[str, Any]:
    """Plain values of the config in a run's config.json.

    Raises: CorruptFileError when the file is damaged, or its values differ from its fingerprint.
    """
    value = load_json(path, ConfigFile)
    if value["fingerprint"] != sha256_json(value["config"])[: len(value["fingerprint"])] or not value["fingerprint"]:
        raise CorruptFileError("config differs from its fingerprint", path, "restore the file, or run again")
    return value["config"]


def append_line(path: Path | str, line: str) -> None:
    """Append one line to a log such as metrics.jsonl and flush it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path, len(line) + 1), open(path, "a", encoding="utf-8", opener=_open_no_link) as stream:
        stream.write(line + "\n")
        stream.flush()


def _open_no_link(path: str, flags: int) -> int:
    """Open a file, never the target of a symbolic link of this name."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def save_npz(path: Path | str, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed npz, atomically; equal arrays give equal bytes."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def save_table(path: Path | str, frame: Any) -> None:
    """Write a pandas frame as parquet, atomically. Raises: ModuleNotFoundError without pyarrow."""
    import pyarrow  # noqa: F401  pandas would report its absence as another kind of error

    with atomic_path(path) as partial:
        frame.to_parquet(partial, index=False)


def sha256_file(path: Path | str) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex digest of a JSON value, whatever the order of its keys."""
    return sha256_text(json.dumps(value, sort_keys=True))


def add_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the sha256 over itself."""
    return {**value, CHECKSUM: sha256_json(dict(value))}


def has_own_checksum(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object holds the sha256 over the rest of itself."""
    rest = {name: item for name, item in value.items() if name != CHECKSUM}
    return value.get(CHECKSUM) == sha256_json(rest)


def sha256_text(text: str) -> str:
    """Hex sha256 of UTF-8 text."""
    return hashlib.sha256(text.encode()).hexdigest()


def list_files(directory: Path, with_manifests: bool = False) -> list[Path]:
    """Every finished file below `directory`, sorted; temporary files left out, and manifests unless they are wanted.

    Folders behind symbolic links count (records may lie on another disk), each once, however it is reached.
    """
    found, seen = list[Path](), set[str]()
    for folder, names, files in os.walk(directory, followlinks=True):
        names[:] = sorted(name for name in names if _PARTIAL not in name)
        if (place := os.path.realpath(folder)) in seen:
            names.clear()
            continue
        seen.add(place)
        found += [Path(folder, name) for name in files if _PARTIAL not in name and (with_manifests or name != MANIFEST)]
    return sorted(file for file in found if file.is_file())


def is_listed(directory: Path, name: str) -> bool:
    """Whether the manifest of `directory` names this file: others in the folder are not part of it.

    Raises: CorruptFileError for a manifest that cannot be read.
    """
    path = directory / MANIFEST
    return path.is_file() and name in load_json(path, Manifest)["files"]


def write_manifest(
    directory: Path | str, facts: Mapping[str, Any] | None = None, known: Mapping[str, str] | None = None,
    unlisted: Collection[str] = (),
) -> dict[str, Any]:
    """Write manifest.json: sha256 and size of every file below `directory`, `facts` (counts, versions), its own sha256.

    known: sha256 of files, by name, that the caller has read since they were written.
    unlisted: names of files that the manifest leaves out.
    """
    directory, known = Path(directory), known or {}
    names = {name: f for f in list_files(directory) if (name := str(f.relative_to(directory))) not in unlisted}
    files = {
        name: {"sha256": known.get(name) or sha256_file(f), "bytes": f.stat().st_size} for name, f in names.items()
    }
    manifest: dict[str, Any] = {"files": files, "facts": dict(facts or {})}
    write_json(directory / MANIFEST, add_checksum(manifest))
    return manifest


def check_manifest(directory: Path | str, mend: str = "delete its folder and run again") -> dict[str, Any]:
    """Compare every file with manifest.json and return it; `mend` is the remedy told.

    Raises: CorruptFileError naming the first file that is missing, changed or truncated, the manifest among them.
    """
    directory = Path(directory)
    manifest = _load_manifest(directory / MANIFEST, mend)
    for name, wanted in manifest["files"].items():
        file = directory / name
        if not file.is_file():
            raise CorruptFileError("file named in the manifest is missing", file, mend)
        if file.stat().st_size != wanted["bytes"] or sha256_file(file) != wanted["sha256"]:
            raise CorruptFileError("file differs from its manifest (sha256)", file, mend)
    return manifest


def _load_manifest(path: Path, mend: str) -> dict[str, Any]:
    """files and facts, held against their checksum, which the first manifests did not have yet."""
    value, known = load_json(path, Manifest), {"files", "facts"}
    if set(value) not in (known, known | {CHECKSUM}):
        raise CorruptFileError("not a manifest", path, mend)
    if CHECKSUM in value and not has_own_checksum(value):
        raise CorruptFileError("manifest differs from its own checksum", path, mend)
    return {name: value[name] for name in known}
