"""Whether the segments of an RLE frame (PS3.5, annex G) hold exactly the pixels of the image."""

_HEADER_BYTES, _MAX_SEGMENTS = 64, 15
_NO_OPERATION = 128


def find_rle_damage(data: bytes, n_pixels: int, n_segments: int) -> str:
    """What is wrong with a frame of n_segments byte planes of n_pixels each; empty: nothing."""
    n = int.from_bytes(data[:4], "little")
    if len(data) < _HEADER_BYTES or n != n_segments or n > _MAX_SEGMENTS:
        return f"{n_segments} RLE segments needed" if len(data) >= _HEADER_BYTES else "no RLE header"
    offsets = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "little") for i in range(n)]
    ends = [*offsets[1:], len(data)]
    if offsets[0] < _HEADER_BYTES or any(start >= end for start, end in zip(offsets, ends, strict=True)):
        return "RLE segment offsets are out of order"
    for number, (start, end) in enumerate(zip(offsets, ends, strict=True), start=1):
        n_decoded, at = _walk(data[start:end], n_pixels)
        if n_decoded != n_pixels:
            return f"RLE segment {number} holds {n_decoded} pixels, {n_pixels} needed"
        if data[start + at:end].strip(b"\0\xff"):  # padding of any length is harmless
            return f"RLE segment {number} has data behind its last pixel"
    return ""


def _walk(segment: bytes, n_pixels: int) -> tuple[int, int]:
    """Pixels of the packets up to the one that reaches n_pixels, and the position behind it."""
    n = at = 0
    while n < n_pixels and at < len(segment):
        control = segment[at]
        if control < _NO_OPERATION:  # control + 1 literal bytes
            n, at = n + control + 1, at + control + 2
        elif control > _NO_OPERATION:  # one byte, repeated
            n, at = n + 257 - control, at + 2
        else:
            at += 1
    return n - max(0, at - len(segment)), min(at, len(segment))
