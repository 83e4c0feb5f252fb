"""Whether a PNG or JPEG picture is whole: Pillow verifies no checksum of PNG pixels and drops libjpeg's warnings."""

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGBaseline8Bit

from data_pipelines.ingest.decoder_output import capture_decoder_output
from data_pipelines.ingest.dicom_codestream import find_damage
from data_pipelines.ingest.dicom_header import quiet_pydicom
from data_pipelines.ingest.jpeg_scan import ZERO_PADDING

_PNG = b"\x89PNG\r\n\x1a\n"
_END_OF_IMAGE = b"\xff\xd9"
_BLOCK_BYTES = 1 << 20
_SAMPLES = {"L": 1, "RGB": 3}


def find_picture_damage(data: bytes, size: tuple[int, int], mode: str) -> str:
    """What is wrong with a picture; empty: nothing.

    Args:
        data: PNG or JPEG file.
        size: width and height, pixels, checked before: memory is taken for them.
        mode: Pillow's.
    """
    return _find_png_damage(data) if data.startswith(_PNG) else _find_jpeg_damage(data, size, mode)


def _find_png_damage(data: bytes) -> str:
    """Checksum of every chunk, the zlib stream of the pixels to its end, and the end chunk."""
    inflater = zlib.decompressobj()
    names = []
    try:
        for name, content in _chunks(data):
            names.append(name)
            if name == b"IDAT" and not inflater.eof:
                _inflate(inflater, content)
    except ValueError as error:
        return str(error)
    except zlib.error:
        return "damaged zlib data"
    if b"IDAT" not in names or not inflater.eof:
        return "pixel data are cut off"
    return "" if names[-1] == b"IEND" else "no end chunk"


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of every chunk up to IEND, behind which anything may follow. Raises: ValueError."""
    at = len(_PNG)
    while at < len(data):
        n = int.from_bytes(data[at:at + 4], "big")
        name, content, stored = data[at + 4:at + 8], data[at + 8:at + 8 + n], data[at + 8 + n:at + 12 + n]
        if len(stored) < 4:
            raise ValueError("a chunk is cut off")
        if zlib.crc32(name + content) != int.from_bytes(stored, "big"):
            raise ValueError("checksum of a chunk differs")
        yield name, content
        if name == b"IEND":
            return
        at += 12 + n


def _inflate(inflater: "zlib._Decompress", content: bytes) -> None:
    """Unpack and drop, in constant memory."""
    while content and not inflater.eof:
        inflater.decompress(content, _BLOCK_BYTES)
        content = inflater.unconsumed_tail


def _find_jpeg_damage(data: bytes, size: tuple[int, int], mode: str) -> str:
    """End marker, libjpeg's warnings (GDCM's copy prints them) and the scan's structure."""
    if _END_OF_IMAGE not in data[2:]:
        return "no end marker"
    try:
        damage = find_damage(data)
    except (ValueError, IndexError, KeyError):
        return "segments contradict each other"
    if damage and damage != ZERO_PADDING:
        return damage
    return _decode_again(data, size, _SAMPLES[mode]) if mode in _SAMPLES else ""


def _decode_again(data: bytes, size: tuple[int, int], n_samples: int) -> str:
    options: dict[str, Any] = {
        "rows": size[1], "columns": size[0], "number_of_frames": 1, "samples_per_pixel": n_samples,
        "photometric_interpretation": "MONOCHROME2" if n_samples == 1 else "YBR_FULL", "planar_configuration": 0,
        "bits_allocated": 8, "bits_stored": 8, "pixel_representation": 0, "pixel_keyword": "PixelData",
    }  # fmt: skip
    # A kind of JPEG that GDCM does not read is no damage: what it printed decides.
    with quiet_pydicom(), capture_decoder_output() as output, contextlib.suppress(Exception):
        get_decoder(JPEGBaseline8Bit).as_array(encapsulate([data]), raw=True, decoding_plugin="gdcm", **options)
    return output.fact
