"""Gzip streams read in large blocks, in constant memory; checksum and length of every member are verified."""

import gzip
import io
import zlib
from typing import Any, BinaryIO

MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 18


class GzipStream(io.RawIOBase):
    """Unpacked bytes of one or more gzip members (RFC 1952); seeking backward starts again.

    zlib compares header checksum, CRC-32 and length of each member when a read reaches its end. Zeros after a member
    are padding; other bytes that do not begin a member are ignored and reported. gzip(1) does both.

    Raises (from reads): gzip.BadGzipFile for damaged data, EOFError for data that are cut off.
    """

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__()
        self._packed = packed
        self._restart()

    def _restart(self) -> None:
        self._packed.seek(0)
        self._at, self._tail, self._is_at_end = 0, b"", False
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.is_followed = False
        """True once other bytes than padding were found after the last member."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an unpacked position, at most to the end. Raises: as reads, io.UnsupportedOperation from the end."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the length is known at the end only")
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target < self._at:
            self._restart()
        while self._at < target and self._inflate(min(_BLOCK_BYTES, target - self._at)):
            pass
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        plain = self._inflate(len(view))
        view[:len(plain)] = plain
        return len(plain)

    def read_to_end(self, limit: int) -> int:
        """Read and verify all that is left. Returns: unpacked bytes in all, or where it stopped beyond `limit`."""
        while self._at <= limit and self._inflate(_BLOCK_BYTES):
            pass
        return self._at

    def _inflate(self, n: int) -> bytes:
        """Up to n more bytes; none at the end, and only there."""
        while n and not self._is_at_end:
            packed = self._tail or self._packed.read(_BLOCK_BYTES)
            try:
                plain = self._inflater.decompress(packed, n)
            except zlib.error as error:
                raise gzip.BadGzipFile("damaged gzip data") from error
            if self._inflater.eof:
                self._tail = self._inflater.unused_data
                self._begin_member()
            elif not packed and not plain:
                raise EOFError("gzip data are cut off")
            else:
                self._tail = self._inflater.unconsumed_tail
            self._at += len(plain)
            if plain:
                return plain
        return b""

    def _begin_member(self) -> None:
        """Skip padding, then start the next member or end."""
        self._tail = self._tail.lstrip(b"\0")
        while len(self._tail) < len(MAGIC) and (more := self._packed.read(_BLOCK_BYTES)):
            self._tail = (self._tail + more).lstrip(b"\0")
        if self._tail.startswith(MAGIC):
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        else:
            self._is_at_end, self.is_followed = True, bool(self._tail)
