"""What a compressed frame says of itself: size, and whether its values are the original ones.

Codecs believe a codestream's own size, and take memory for it; the header's size is compared with it first.
Markers: ISO/IEC 10918-1 annex B (JPEG), 14495-1 annex C (JPEG-LS), 15444-1 annex A (JPEG 2000).
"""

from dataclasses import dataclass

from data_pipelines.ingest.j2k_termination import find_j2k_damage
from data_pipelines.ingest.jpeg_scan import find_scan_damage

_JPEG, _J2K = b"\xff\xd8", b"\xff\x4f\xff\x51"
_SOF_LOSSLESS, _SOF_LS, _SOS = 0xC3, 0xF7, 0xDA
_SOF_LOSSY = frozenset({0xC0, 0xC1, 0xC2, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_J2K_COD, _J2K_SOT = 0x52, 0x90
_REVERSIBLE = 1


@dataclass(frozen=True)
class Codestream:
    """Facts of one compressed frame."""

    kind: str
    """Coding, as a message shows it."""
    rows: int
    columns: int
    is_lossless: bool
    """True when the coding can be reversed; a reversible JPEG 2000 may still have been cut short on purpose."""
    is_complete: bool
    """True when it ends with its end marker."""


def parse_codestream(data: bytes) -> Codestream | None:
    """Facts of a JPEG, JPEG-LS or JPEG 2000 frame; None when the bytes are none of these.

    Raises: ValueError for a codestream whose markers end early.
    """
    start = data.find(_J2K, 0, 4096)  # some writers leave the JP2 file header in front
    if start >= 0:
        return _parse_j2k(data, start)
    return _parse_jpeg(data) if data.startswith(_JPEG) else None


def find_damage(data: bytes) -> str:
    """What in the coded data shows that they were changed; empty: nothing, or the coding has no way to know.

    Args:
        data: a frame that parse_codestream read, of the size that its header gives: memory is taken for it.

    Raises: ValueError, IndexError, KeyError for segments that contradict themselves.
    """
    if data.find(_J2K, 0, 4096) >= 0:
        return find_j2k_damage(data)
    segments, end = _segments(data, 2, _SOS)
    return find_scan_damage(segments, data[end:])


def _segments(data: bytes, start: int, last: int) -> tuple[list[tuple[int, bytes]], int]:
    """(marker, content) of every segment up to the one called `last`, and the position behind it."""
    found, at = [], start
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("no marker where one is due")
        marker, n = data[at + 1], int.from_bytes(data[at + 2:at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        found.append((marker, data[at + 4:at + 2 + n]))
        at += 2 + max(n, 2)
        if marker == last:
            return found, at
    raise ValueError("markers end early")


def _parse_j2k(data: bytes, start: int) -> Codestream:
    segments, _ = _segments(data, start + 2, _J2K_SOT)
    size = segments[0][1]
    right, bottom, left, top = (int.from_bytes(size[i:i + 4], "big") for i in (2, 6, 10, 14))
    coding = [content for marker, content in segments if marker == _J2K_COD]
    if not coding or len(coding[0]) < 10:
        raise ValueError("no coding style")
    is_reversible = coding[0][9] == _REVERSIBLE
    kind = f"JPEG 2000, {'reversible 5-3' if is_reversible else 'irreversible 9-7'} wavelet"
    return Codestream(kind, bottom - top, right - left, is_reversible, _ends(data))


def _parse_jpeg(data: bytes) -> Codestream:
    segments = dict(_segments(data, 2, _SOS)[0])
    for marker in (_SOF_LOSSLESS, _SOF_LS, *sorted(_SOF_LOSSY)):
        frame = segments.get(marker)
        if frame is not None and len(frame) >= 5:
            break
    else:
        raise ValueError("no frame header")
    kind, is_lossless = f"JPEG, {frame[0]} bit DCT", False
    if marker == _SOF_LOSSLESS:
        kind, is_lossless = "JPEG lossless", True
    elif marker == _SOF_LS:
        near = segments[_SOS][-3]
        kind, is_lossless = f"JPEG-LS, NEAR {near}", near == 0
    rows, columns = (int.from_bytes(frame[i:i + 2], "big") for i in (1, 3))
    return Codestream(kind, rows, columns, is_lossless, _ends(data))


def _ends(data: bytes) -> bool:
    """True with an end marker, whatever padding (0x00, 0xFF) follows it."""
    return data.rstrip(b"\0\xff").endswith(b"\xff\xd9")
