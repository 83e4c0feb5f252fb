"""The two shard formats, read at random and without TensorFlow: TFRecord [1]_ and ArrayRecord [2]_.

Bytes go from the page cache straight into the caller's array. A read, unlike a memory map, turns a file that shrinks
under it into an error; a map would end the process.

.. [1] https://www.tensorflow.org/tutorials/load_data/tfrecord
.. [2] https://github.com/google/array_record
"""

import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8, UInt32

from bonemet_jax.errors import CorruptFileError

REMEDY = "delete the folder and run `bonemet build` again"
_LEAVE_ALONE = "leave the records alone while they are read, and run this again"
#: Length, its checksum; after the data, theirs.
_HEAD, _LENGTH, _FOOT = 12, 8, 4
#: Opened ArrayRecord files kept: each holds its index and a buffer.
_KEPT_OPEN = 64
#: Library options for random access; its own are for reading in a row.
_RANDOM_ACCESS = "readahead_buffer_size:0,max_parallelism:0"


class StoredRecord(NamedTuple):
    """One serialised record while its shard is gone through: `data[start:stop]`."""

    data: bytes | mmap.mmap
    start: int
    stop: int


class FileVersion(NamedTuple):
    """Tells a file from one that took its name (inode) and from itself after a write (size, time)."""

    inode: int
    size: int
    mtime_ns: int


def make_version(found: os.stat_result) -> FileVersion:
    """Of what stat or fstat found."""
    return FileVersion(found.st_ino, found.st_size, found.st_mtime_ns)


class ShardFile(Protocol):
    """One shard. `fetch` may be called by several threads at once."""

    path: Path

    def records(self) -> Iterator[StoredRecord]:
        """Every record in stored order. Raises: CorruptFileError, also when the file has changed since its version."""
        ...

    def fetch(self, index: int, parts: Sequence[tuple[int, UInt8[np.ndarray, " n"]]]) -> None:
        """Copy parts of record `index`, each from the offset that `records` told, until its array is full.

        Raises: CorruptFileError when the file has changed since its version, or another has taken its place.
        """
        ...


def open_shard(path: Path, file_format: str, version: FileVersion | None = None) -> ShardFile:
    """The shard at `path`.

    Args:
        path: Of the file.
        file_format: tfrecord or array_record.
        version: Whose bytes are wanted; those of now when None.
    """
    kind = TFRecordFile if file_format == "tfrecord" else ArrayRecordFile
    return kind(path, version or make_version(path.stat()))


def _check_version(path: Path, wanted: FileVersion, found: FileVersion) -> None:
    if found != wanted:
        raise CorruptFileError("shard changed since it was opened", path, _LEAVE_ALONE)


class TFRecordFile:
    """A TFRecord file; offsets are the file's. Opened for each call, so a thousand shards meet no limit."""

    def __init__(self, path: Path, version: FileVersion) -> None:
        self.path, self._version = path, version

    def records(self) -> Iterator[StoredRecord]:
        """As in ShardFile. Lengths are held against their checksums; for the data the manifest's sha256 stands."""
        with open(self.path, "rb") as stream:
            _check_version(self.path, self._version, make_version(os.fstat(stream.fileno())))
            if self._version.size:
                yield from self._walk(stream.fileno())

    def _walk(self, descriptor: int) -> Iterator[StoredRecord]:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            at = 0
            while at < len(data):
                start, stop = self._bounds(data, at)
                yield StoredRecord(data, start, stop)
                at = stop + _FOOT

    def _bounds(self, data: mmap.mmap, at: int) -> tuple[int, int]:
        head = data[at:at + _HEAD]
        length = int.from_bytes(head[:_LENGTH], "little")
        stop = at + _HEAD + length
        if len(head) < _HEAD or stop + _FOOT > len(data):
            raise CorruptFileError("shard ends within a record", self.path, REMEDY)
        if masked_crc32c(head[:_LENGTH]) != int.from_bytes(head[_LENGTH:], "little"):
            raise CorruptFileError(f"length of the record at byte {at} differs from its checksum", self.path, REMEDY)
        return at + _HEAD, stop

    def fetch(self, index: int, parts: Sequence[tuple[int, UInt8[np.ndarray, " n"]]]) -> None:
        """As in ShardFile."""
        del index  # offsets count from the file's start
        try:
            with open(self.path, "rb", buffering=0) as stream:
                for offset, out in parts:
                    self._read_into(out, stream.fileno(), offset)
                # after the bytes: a write while they were read counts too
                found = make_version(os.fstat(stream.fileno()))
        except OSError as error:
            raise CorruptFileError(f"shard does not read ({error.strerror})", self.path, REMEDY) from error
        _check_version(self.path, self._version, found)

    def _read_into(self, out: UInt8[np.ndarray, " n"], descriptor: int, offset: int) -> None:
        done = 0
        while done < len(out):  # a network disk may hand over less at a time
            count = os.preadv(descriptor, [out.data[done:]], offset + done)
            if count == 0:
                raise CorruptFileError("shard became shorter while it was read", self.path, REMEDY)
            done += count


class ArrayRecordFile:
    """An ArrayRecord file; records are compressed one by one, so each is taken apart whole."""

    def __init__(self, path: Path, version: FileVersion) -> None:
        self.path, self._version = path, version
        self._lock = threading.Lock()

    def records(self) -> Iterator[StoredRecord]:
        """As in ShardFile."""
        reader = _open_array_record(self)
        for index in range(reader.num_records()):
            data = self._read(index)
            yield StoredRecord(data, 0, len(data))

    def fetch(self, index: int, parts: Sequence[tuple[int, UInt8[np.ndarray, " n"]]]) -> None:
        """As in ShardFile."""
        data = self._read(index)
        for offset, out in parts:
            if offset + len(out) > len(data):
                raise CorruptFileError("a record became shorter while it was read", self.path, REMEDY)
            out[:] = np.frombuffer(data, np.uint8, len(out), offset)

    def _read(self, index: int) -> bytes:
        try:
            with self._lock:
                (data,) = _open_array_record(self).read([index])
            # by name, since the library keeps its descriptor; afterwards, since it may only now have opened the file
            found = make_version(self.path.stat())
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            what = f"record {index} does not read ({str(error).splitlines()[0][:200]})"
            raise CorruptFileError(what, self.path, REMEDY) from error
        _check_version(self.path, self._version, found)
        return data


@lru_cache(maxsize=_KEPT_OPEN)
def _open_array_record(file: ArrayRecordFile) -> Any:
    """The library's reader of this very file: a name alone may by now be another file's."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        return ArrayRecordReader(str(file.path), _RANDOM_ACCESS, file_reader_buffer_size=1 << 16)
    except (RuntimeError, ValueError, OSError) as error:
        what = f"shard does not open ({str(error).splitlines()[0][:200]})"
        raise CorruptFileError(what, file.path, REMEDY) from error


def masked_crc32c(data: bytes) -> int:
    """TFRecord's checksum: CRC-32C, turned by 15 bits, plus a constant."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = int(table[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@lru_cache(maxsize=1)
def _crc_table() -> UInt32[np.ndarray, " 256"]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table
