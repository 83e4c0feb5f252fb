"""Where the features of a serialised tf.train.Example lie: a walk over protobuf's wire format that copies nothing [1]_.

Every length is held against the bytes that are there, so a damaged record is an error, never a wrong array.

.. [1] https://protobuf.dev/programming-guides/encoding/
"""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

Data = bytes | mmap.mmap

#: Field numbers of tf.train.Feature.
BYTES, FLOAT, INT64 = 1, 2, 3
_LENGTH_DELIMITED = 2


class WireError(ValueError):
    """Bytes that are no Example of one value a feature."""


class Span(NamedTuple):
    """The payload of one feature."""

    kind: int
    """BYTES, FLOAT or INT64."""
    start: int
    """First byte."""
    stop: int
    """Byte after the last."""


def find_features(data: Data, start: int, stop: int) -> dict[str, Span]:
    """Payload of every feature of the Example in `data[start:stop]`.

    A bytes feature's payload is its one value; that of numbers is the packed list.

    Raises: WireError when the bytes are anything else.
    """
    (features,) = _take(data, start, stop, 1)
    spans: dict[str, Span] = {}
    for number, begin, end in _fields(data, *features):
        if number != 1:
            raise WireError(f"field {number} among the features")
        key, value = _take(data, begin, end, 1, 2)
        name = bytes(data[key[0]:key[1]]).decode("utf-8", "replace")
        if name in spans:
            raise WireError(f"feature {name} comes twice")
        spans[name] = _find_payload(data, *value)
    return spans


def _find_payload(data: Data, start: int, stop: int) -> Span:
    fields = list(_fields(data, start, stop))
    if len(fields) != 1 or fields[0][0] not in (BYTES, FLOAT, INT64):
        raise WireError("a feature that is no list of bytes, floats or integers")
    kind, begin, end = fields[0]
    (payload,) = _take(data, begin, end, 1)
    return Span(kind, *payload)


def _take(data: Data, start: int, stop: int, *numbers: int) -> list[tuple[int, int]]:
    """Ranges of the fields of these numbers, which must be all there are, each once and in this order."""
    fields = list(_fields(data, start, stop))
    if tuple(number for number, _, _ in fields) != numbers:
        raise WireError(f"fields {[number for number, _, _ in fields][:8]} where {list(numbers)} must be")
    return [(begin, end) for _, begin, end in fields]


def _fields(data: Data, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, first and end byte of each length-delimited field; no other kind occurs in an Example's messages."""
    while at < stop:
        tag, at = read_varint(data, at, stop)
        if tag & 7 != _LENGTH_DELIMITED:
            raise WireError(f"wire type {tag & 7}")
        length, at = read_varint(data, at, stop)
        if length > stop - at:
            raise WireError(f"a field of {length} bytes where {stop - at} are left")
        yield tag >> 3, at, at + length
        at += length


def read_varint(data: Data, at: int, stop: int) -> tuple[int, int]:
    """An unsigned variable-length integer and the byte after it. Raises: WireError when it does not end in 64 bits."""
    value = shift = 0
    while at < stop and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise WireError("an integer without an end")
