"""Whether the entropy-coded bits of a JPEG scan end where its last sample ends; decoders do not check this.

A changed byte shifts the boundaries between Huffman codes, so that samples or bits are left over, a coefficient is put
behind the last one of its block, or a bit pattern is no code. Annexes B, F and H of ISO/IEC 10918-1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8, UInt16

#: Larger scans are not checked: the tables take 60 bytes per bit.
MAX_BYTES = 1 << 20
SOF_BASELINE, SOF_EXTENDED, SOF_LOSSLESS = 0xC0, 0xC1, 0xC3
_DHT, _DRI, _SOS = 0xC4, 0xDD, 0xDA
_RESTART, _MARKER = re.compile(rb"\xff+[\xd0-\xd7]"), re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_N_COEFFICIENTS, _END_OF_BLOCK = 64, 128
#: Not damage for certain: the standard pads with ones, but a code of zeros may be left over.
ZERO_PADDING = "the scan ends with zero bits"
#: Step that leads behind any scan: no Huffman code begins with these bits.
_NO_CODE = 1 << 30


@dataclass(frozen=True)
class _Table:
    """Huffman table as lookups by the next 16 bits."""

    n_bits: UInt8[np.ndarray, "65536"]
    """Length of the code; 0: none."""
    symbol: UInt8[np.ndarray, "65536"]


@dataclass(frozen=True)
class _Unit:
    """Blocks (lossless: samples) of one component in a minimum coded unit, and its tables."""

    n: int
    dc: int
    ac: int


def find_scan_damage(segments: Sequence[tuple[int, bytes]], scan: bytes) -> str:
    """What is wrong with the only scan of a sequential or lossless Huffman-coded JPEG; empty: nothing, or not checked.

    Args:
        segments: (marker, content) of every segment up to SOS.
        scan: bytes behind SOS.

    Raises: ValueError, IndexError for segments that contradict themselves.
    """
    frame = next(((marker, content) for marker, content in segments
                  if marker in (SOF_BASELINE, SOF_EXTENDED, SOF_LOSSLESS)), None)
    end = _MARKER.search(scan)
    if frame is None or end is None or end.start() > MAX_BYTES or segments[-1][0] != _SOS:
        return ""
    n_units, units = _parse_units(frame[1], segments[-1][1], 1 if frame[0] == SOF_LOSSLESS else 8)
    if not n_units:
        return ""
    every = next((int.from_bytes(content[:2], "big") for marker, content in segments if marker == _DRI), 0) or n_units
    parts = _RESTART.split(scan[:end.start()])
    if len(parts) != -(-n_units // every):
        return f"{len(parts)} restart intervals, {-(-n_units // every)} needed"
    walk = _walk_samples if frame[0] == SOF_LOSSLESS else _walk_blocks
    tables, reasons = _parse_tables(segments), list[str]()
    for number, part in enumerate(parts):
        bits = part.replace(b"\xff\0", b"\xff")
        reasons.append(_judge_end(bits, walk(bits, min(every, n_units - number * every), units, tables)))
    damage = [reason for reason in reasons if reason not in ("", ZERO_PADDING)]
    # An encoder that pads with zeros does so throughout.
    return damage[0] if damage else ZERO_PADDING if ZERO_PADDING in reasons else ""


def _parse_units(frame: bytes, scan: bytes, block: int) -> tuple[int, list[_Unit]]:
    """Number of minimum coded units and their contents; 0 where the scan does not hold all components."""
    height, width, n = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), frame[5]
    sampling = {frame[6 + 3 * i]: (frame[7 + 3 * i] >> 4, frame[7 + 3 * i] & 15) for i in range(n)}
    if scan[0] != n or not height:
        return 0, []
    if not all(min(size) for size in sampling.values()):
        raise ValueError("a sampling factor of 0")
    wide, high = (max(size[i] for size in sampling.values()) for i in range(2))
    if n == 1:  # not interleaved: one block per unit, whatever the sampling
        wide = high = 1
        sampling = dict.fromkeys(sampling, (1, 1))
    units = [_Unit(sampling[name][0] * sampling[name][1], tables >> 4, tables & 15)
             for name, tables in zip(scan[1:1 + 2 * n:2], scan[2:2 + 2 * n:2], strict=True)]
    return -(-width // (block * wide)) * -(-height // (block * high)), units


def _parse_tables(segments: Sequence[tuple[int, bytes]]) -> dict[tuple[int, int], _Table]:
    """(class, destination) -> table."""
    tables = {}
    for content in (content for marker, content in segments if marker == _DHT):
        at = 0
        while at + 17 <= len(content):
            counts = content[at + 1:at + 17]
            symbols = content[at + 17:at + 17 + sum(counts)]
            tables[content[at] >> 4, content[at] & 15] = _make_table(counts, symbols)
            at += 17 + sum(counts)
    return tables


def _make_table(counts: bytes, symbols: bytes) -> _Table:
    table = _Table(np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8))
    code = at = 0
    for n_bits, n in enumerate(counts, start=1):
        for symbol in symbols[at:at + n]:
            span = slice(code << (16 - n_bits), (code + 1) << (16 - n_bits))
            table.n_bits[span], table.symbol[span] = n_bits, symbol
            code += 1
        code, at = code << 1, at + n
    return table


def _windows(bits: bytes) -> UInt16[np.ndarray, " bit"]:
    """The 16 bits that begin at every bit; ones follow the end."""
    padded = np.frombuffer(bits + b"\xff" * 3, np.uint8).astype(np.uint32)
    words = (padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:])[:len(bits) + 1]
    return np.stack([(words >> (8 - i)).astype(np.uint16) for i in range(8)], axis=1).ravel()


def _steps(windows: UInt16[np.ndarray, " bit"], table: _Table, mask: int) -> Int32[np.ndarray, " bit"]:
    """Position behind the code that begins at every bit and the bits that it announces."""
    length, more = table.n_bits[windows], table.symbol[windows] & mask
    more[(more == 16) & (mask > 15)] = 0  # the difference 32768 has no further bits
    step = np.where(length > 0, length.astype(np.int32) + more, _NO_CODE)
    return (np.arange(len(windows), dtype=np.int32) + step).astype(np.int32)


def _walk_samples(bits: bytes, n: int, units: Sequence[_Unit], tables: Mapping[tuple[int, int], _Table]) -> int:
    """Position behind the last of n lossless units; negative: no code there."""
    windows = _windows(bits)
    steps = {unit.dc: _steps(windows, tables[0, unit.dc], 31).data for unit in units}
    following = [steps[unit.dc] for unit in units for _ in range(unit.n)]
    at = 0
    try:
        if len(following) == 1:
            step = following[0]
            for _ in range(n):
                at = step[at]
        else:
            for _ in range(n):
                for step in following:
                    at = step[at]
    except IndexError:
        return -1
    return at


def _walk_blocks(bits: bytes, n: int, units: Sequence[_Unit], tables: Mapping[tuple[int, int], _Table]) -> int:
    """Position behind the last block of n units; negative: no code there, or more than 64 coefficients."""
    windows = _windows(bits)
    dc = {unit.dc: _steps(windows, tables[0, unit.dc], 15).data for unit in units}
    ac = {unit.ac: _steps(windows, tables[1, unit.ac], 15).data for unit in units}
    run = {unit.ac: _runs(windows, tables[1, unit.ac]).data for unit in units}
    blocks = [(dc[unit.dc], ac[unit.ac], run[unit.ac]) for unit in units for _ in range(unit.n)]
    at = 0
    try:
        for _ in range(n):
            for first, others, skipped in blocks:
                at, k = first[at], 1
                while k < _N_COEFFICIENTS:
                    k += skipped[at]
                    at = others[at]
                if _N_COEFFICIENTS < k < _END_OF_BLOCK:
                    return -1
    except IndexError:
        return -1
    return at


def _runs(windows: UInt16[np.ndarray, " bit"], table: _Table) -> UInt8[np.ndarray, " bit"]:
    """Coefficients that the code at every bit advances by."""
    symbol = table.symbol[windows]
    is_end = (symbol & 15 == 0) & (symbol >> 4 < 15)
    return np.where(is_end, _END_OF_BLOCK, (symbol >> 4) + 1).astype(np.uint8)


def _judge_end(bits: bytes, at: int) -> str:
    """Up to seven bits behind the last code are padding: ones, or zeros as some encoders may write."""
    n_left = 8 * len(bits) - at
    if at < 0 or n_left < 0:
        return "the scan's codes run beyond its end"
    rest = bits[-1] & ((1 << n_left) - 1) if 0 < n_left < 8 else 0
    if n_left >= 8 or rest not in (0, (1 << n_left) - 1):
        return "the scan has data behind its last sample"
    return ZERO_PADDING if n_left and not rest else ""
