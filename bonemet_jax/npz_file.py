"""Arrays of an .npz file, checked before anything is allocated; nothing in the file is executed.

Each member's header is compared with the size of the member, and the sizes with a limit: a small file cannot claim a
large array. The checksums (CRC-32) of what is read are verified.
"""

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

#: Bytes of all arrays together.
MAX_ARRAYS = 1 << 30
#: Bytes of a zip's table of contents: about 100,000 members.
_MAX_DIRECTORY = 8 << 20
_MAX_HEADER = 10_000
_END, _END_BYTES, _MAX_COMMENT = b"PK\x05\x06", 22, 65_535
#: Booleans, integers, floats and text: no Python objects, no records, no times.
_KINDS = "biufUS"
#: What libraries raise for damaged files of this kind.
DAMAGE = (
    ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, OverflowError, MemoryError, TypeError,
    SyntaxError, IndexError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(path: Path | str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz, all or those named.

    Raises: ValueError in a few words for a file that is damaged, is no npz, holds Python objects, or claims more than
        1 GiB.
    """
    try:
        # A stream, not a path: TFDS's own test of a dataset insists.
        with open(path, "rb") as stream, open_zip(stream) as archive:
            entries = _list_arrays(archive)
            return {name: _read_array(archive, entries[name]) for name in (entries if names is None else names)}
    except KeyError as error:
        raise ValueError(f"no array {error}") from error
    except DAMAGE as error:
        raise ValueError(str(error)[:120] or type(error).__name__) from error


def check_layout(arrays: Mapping[str, np.ndarray], layout: Mapping[str, tuple[str, int]]) -> None:
    """Raises: ValueError unless each array of `layout` is there, of one of these kinds and with so many axes."""
    for name, (kinds, n_axes) in layout.items():
        if name not in arrays:
            raise ValueError(f"no array {name}")
        array = arrays[name]
        if array.dtype.kind not in kinds or array.ndim != n_axes:
            raise ValueError(f"{name} is {array.dtype} with {array.ndim} axes, not of kind {kinds} with {n_axes}")


def open_zip(stream: BinaryIO) -> zipfile.ZipFile:
    """The archive, once its table of contents is known to fit into memory.

    Raises: zipfile.BadZipFile, OSError.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _END_BYTES - _MAX_COMMENT))
    tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise zipfile.BadZipFile("no end of a zip archive")
    n_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
    if min(n_bytes, size) > _MAX_DIRECTORY:
        raise zipfile.BadZipFile(f"a table of contents larger than {_MAX_DIRECTORY >> 20} MiB")
    return zipfile.ZipFile(stream)


def _list_arrays(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    names = [entry.filename.removesuffix(".npy") for entry in entries]
    if len(set(names)) < len(names) or not all(entry.filename.endswith(".npy") for entry in entries):
        raise ValueError("a member that is no array, or a name given twice")
    if sum(entry.file_size for entry in entries) > MAX_ARRAYS:
        raise ValueError(f"arrays of more than {MAX_ARRAYS >> 20} MiB")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise ValueError("a compression that numpy does not write")
    return dict(zip(names, entries, strict=True))


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    name = entry.filename[:40]
    with archive.open(entry) as stream:
        n_header = _check_header(stream, name)
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        _check_array(shape, dtype, entry.file_size - n_header, name)
    with archive.open(entry) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # also compares the checksum
            raise ValueError(f"{name} is longer than its shape")
    return array


def _check_header(stream: Any, name: str) -> int:
    """Bytes before the values. Raises: ValueError for a header that numpy does not write."""
    prefix = stream.read(8)
    major = prefix[6] if len(prefix) == 8 else 0
    if prefix[:6] != np.lib.format.MAGIC_PREFIX or major not in (1, 2, 3):
        raise ValueError(f"{name} is no array")
    n_length = 2 if major == 1 else 4
    length = int.from_bytes(stream.read(n_length), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"{name} has a header of {length} bytes")
    header = stream.read(length)
    if header.count(b"(") > 64 or header.count(b"[") > 64 or header.count(b"{") > 1:
        raise ValueError(f"{name} has a header that is nested deeply")
    return 8 + n_length + length


def _check_array(shape: tuple[int, ...], dtype: np.dtype, n_bytes: int, name: str) -> None:
    if dtype.kind not in _KINDS or dtype.subdtype is not None:
        raise ValueError(f"{name} holds {'Python objects' if dtype.hasobject else 'values of an odd kind'}")
    if not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 16:
        raise ValueError(f"{name} has an odd shape")
    if dtype.itemsize == 0 and math.prod(shape) > 1:
        raise ValueError(f"{name} holds values of no size")
    if math.prod(shape) * dtype.itemsize != n_bytes:
        raise ValueError(f"{name} is not as long as its shape")


