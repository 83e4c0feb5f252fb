"""Universal Binary JSON (draft 12) as XGBoost writes it, parsed strictly and without executing anything.

Source: https://ubjson.org. Numbers are big-endian; a typed array becomes a numpy array.
"""

from typing import Any

import numpy as np

MAX_BYTES = 64 << 20
_MAX_DEPTH = 16
_NUMBERS = {
    b"i": np.dtype(">i1"), b"U": np.dtype(">u1"), b"I": np.dtype(">i2"), b"l": np.dtype(">i4"), b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"), b"D": np.dtype(">f8"),
}  # fmt: skip
_WORDS = {b"T": True, b"F": False, b"Z": None}


def parse_ubjson(data: bytes) -> Any:
    """The value of a UBJSON text that begins with an object.

    Raises: ValueError in a few words; counts are compared with the bytes that are left before anything is allocated.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
    reader = _Reader(data)
    value = reader.read_value(0)
    if not isinstance(value, dict) or reader.at != len(data):
        raise ValueError("not one object")
    return value


class _Reader:
    """The text, and how far it was read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        """The next n bytes. Raises: ValueError."""
        if n < 0 or n > len(self.data) - self.at:
            raise ValueError(f"ends early at byte {self.at}")
        self.at += n
        return self.data[self.at - n : self.at]

    def read_count(self) -> int:
        """A length, as a 64-bit integer with its marker."""
        if self.take(1) != b"L":
            raise ValueError(f"no length at byte {self.at - 1}")
        return int.from_bytes(self.take(8), "big", signed=True)

    def read_text(self) -> str:
        """Length and characters."""
        return self.take(self.read_count()).decode()

    def read_value(self, depth: int) -> Any:
        """The next value with its marker."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_DEPTH} levels")
        marker = self.take(1)
        if marker == b"{":
            return self._read_object(depth)
        if marker == b"[":
            return self._read_array(depth)
        if marker == b"S":
            return self.read_text()
        if marker in _NUMBERS:
            kind = _NUMBERS[marker]
            return np.frombuffer(self.take(kind.itemsize), kind)[0].item()
        if marker in _WORDS:
            return _WORDS[marker]
        raise ValueError(f"unknown marker at byte {self.at - 1}")

    def _read_object(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while self.data[self.at : self.at + 1] != b"}":
            name = self.read_text()
            if name in made:
                raise ValueError("a name given twice in an object")
            made[name] = self.read_value(depth + 1)
        self.at += 1
        return made

    def _read_array(self, depth: int) -> Any:
        marker = self.take(1)
        kind = self.take(1) if marker == b"$" else None
        if (self.take(1) if kind else marker) != b"#" or (kind and kind not in _NUMBERS):
            raise ValueError(f"array of unknown layout at byte {self.at - 1}")
        n = self.read_count()
        if kind:
            return np.frombuffer(self.take(n * _NUMBERS[kind].itemsize), _NUMBERS[kind])
        if not 0 <= n <= len(self.data) - self.at:
            raise ValueError(f"array longer than the file at byte {self.at}")
        return [self.read_value(depth + 1) for _ in range(n)]
