"""Damaged image data: a decoder's warning is a refusal, and so is coded data whose structure cannot be an encoder's."""

import io
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames, get_frame
from pydicom.pixels import get_encoder
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.decoder_output import PHRASES, capture_decoder_output
from data_pipelines.ingest.dicom_codestream import find_damage, parse_codestream
from data_pipelines.ingest.dicom_header import quiet_pydicom
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.jpeg_scan import ZERO_PADDING
from data_pipelines.ingest.picture import Picture, load_picture
from data_pipelines.ingest.rle_segments import find_rle_damage
from tests.ingest.conftest import load_stack, make_dicom, make_hu, save_dicom

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
_DICE = np.random.default_rng(0)
GREY = (np.add.outer(np.arange(96), np.arange(128)) + _DICE.integers(0, 60, (96, 128))).astype(np.uint8)
PADDING = (b"\xff", b"\xff" * 301, b"\xff\0" * 33 + bytes(70))


def _frame_of(path: Path) -> tuple[FileDataset, bytes]:
    dataset = pydicom.dcmread(path)
    return dataset, get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames") or 1))


def _changed(frame: bytes, at: int, value: int = 0x5A) -> bytes:
    return frame[:at] + bytes([frame[at] ^ value]) + frame[at + 1:]


def _encode(options: dict[str, object], mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GREY).convert(mode).save(buffer, **options)
    return buffer.getvalue()


# --- Standard error -------------------------------------------------------------------------------


def test_what_a_library_prints_is_caught_and_never_quoted(capfd: pytest.CaptureFixture[str]) -> None:
    with capture_decoder_output() as output:
        os.write(2, b"Corrupt JPEG data: premature end of data segment canary\n")
    assert output.fact == "decoder warning: premature end of data segment"
    with capture_decoder_output() as output:
        warnings.warn("canary", stacklevel=1)
    assert output.fact == "decoder warning" and "canary" not in "".join(PHRASES.values())
    with capture_decoder_output() as output:
        os.write(2, b"Number of components (1) is inconsistent with a MCT. Skip the MCT step.\n")
        warnings.warn("The value for (0028,0101) 'Bits Stored' differs", stacklevel=1)
    assert output.fact == ""
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_a_decoder_that_prints_without_end_or_fails_neither_blocks_nor_keeps_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyError), capture_decoder_output() as output:
        for _ in range(50):
            try:
                os.write(2, b"x" * 10_000)
            except BlockingIOError:
                break
        raise KeyError
    assert output.fact == "decoder warning" and 0 < len(output.text) <= 1 << 16
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"


# --- DICOM ----------------------------------------------------------------------------------------


def _save(tmp_path: Path, frame: bytes, syntax: str, stored: np.ndarray | None = None) -> Path:
    header = make_dicom(make_hu()[0])
    if stored is not None:
        header.Rows, header.Columns = stored.shape
        header.BitsAllocated = header.BitsStored = 8 * stored.itemsize
        header.HighBit, header.PixelRepresentation = header.BitsStored - 1, 0
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    header["PixelData"].is_undefined_length = True
    save_dicom(header, tmp_path / "x.dcm")
    return tmp_path / "x.dcm"


def _code(file: Path) -> str:
    try:
        load_stack(file).load_hu(0)
    except InputDataError as error:
        assert "\n" not in str(error)
        return error.code
    return "ok"


@pytest.mark.parametrize("ending", [
    "4.70.dcm", "4.90.dcm",
    *(pytest.param(f"4.{n}.dcm", marks=pytest.mark.slow) for n in (50, 57, 80, 81, 91)),
])  # fmt: skip
def test_padding_is_harmless_and_damage_is_refused(tmp_path: Path, shared: Path, ending: str) -> None:
    file = next(f for f in (shared / "data" / "ct_transfer_syntaxes").iterdir() if f.name.endswith(ending))
    dataset, frame = _frame_of(file)
    frame = frame[:frame.rindex(b"\xff\xd9") + 2]
    wanted = load_stack(file).load_hu(0)[0]

    def code(content: bytes, n_fragments: int = 1) -> str:
        n = -(-len(content) // n_fragments)
        dataset.PixelData = encapsulate([content], fragments_per_frame=n_fragments) if n else b""
        dataset.save_as(tmp_path / "x.dcm")
        return _code(tmp_path / "x.dcm")

    for padding in PADDING:
        assert code(frame + padding) == "ok"
        np.testing.assert_array_equal(load_stack(tmp_path / "x.dcm").load_hu(0)[0], wanted)
    assert code(frame, n_fragments=3) == "ok"
    half = len(frame) // 2
    for damaged in (
        frame[:half] + bytes(range(40)) + frame[half:],
        frame[:half] + frame[half + 40:],
        frame[:half] + bytes(500) + frame[half + 500:],
        frame[:half] + b"\xff\xd9",  # cut off, with an end marker
    ):
        assert code(damaged) == "dicom-undecodable", len(damaged)
    assert code(frame[:half]) == "dicom-truncated"


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"])
def test_bundled_frames_are_intact(name: str) -> None:
    dataset, frame = _frame_of(BUNDLED / name)
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        assert find_rle_damage(frame, 64 * 64, 2) == ""
    else:
        assert find_damage(frame) == ""


def test_every_compressed_frame_bundled_with_pydicom_is_intact_where_it_decodes() -> None:
    n = 0
    for file in sorted(BUNDLED.glob("*.dcm")):
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True)
            syntax = dataset.file_meta.get("TransferSyntaxUID")
            is_coded = syntax is not None and syntax.name.startswith("JPEG") and "PixelData" in dataset
        if not is_coded or "embedded-sequence" in file.name:  # that one ends within its header
            continue
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        for _, frame in zip(range(2), generate_frames(dataset.PixelData, number_of_frames=n_frames), strict=False):
            assert parse_codestream(frame) is None or find_damage(frame) == "", file.name
            n += 1
    assert n >= 30


# --- RLE ------------------------------------------------------------------------------------------


def _rle() -> tuple[np.ndarray, bytes]:
    stored = (make_hu()[0] + 1024).astype("<u2")
    frame = get_encoder(RLELossless).encode(
        stored.tobytes(), rows=60, columns=80, samples_per_pixel=1, bits_allocated=16, bits_stored=16,
        photometric_interpretation="MONOCHROME2", pixel_representation=0, number_of_frames=1,
    )  # fmt: skip
    return stored, frame


def _offsets(frame: bytes, *offsets: int) -> bytes:
    return struct.pack("<16L", len(offsets), *offsets, *[0] * (15 - len(offsets))) + frame[64:]


def test_rle_segments_hold_exactly_the_pixels() -> None:
    _, frame = _rle()
    first, second = struct.unpack("<2L", frame[4:12])
    assert find_rle_damage(frame, 4800, 2) == find_rle_damage(frame + bytes(9) + b"\xff\xff", 4800, 2) == ""
    for damaged, words in (
        (frame[:40], "no RLE header"),
        (_offsets(frame, first), "2 RLE segments needed"),
        (_offsets(frame, second, first), "out of order"),
        (_offsets(frame, first, len(frame) + 2), "out of order"),
        (_offsets(frame, 3, second), "out of order"),
        (_offsets(frame, first, second - 4), "segment 1 holds"),
        (_offsets(frame, first, second + 4), "RLE segment"),
        (frame[:second + 10], "segment 2 holds"),
        (frame + b"\1ab", "behind its last pixel"),
        (_changed(frame, first, 1), "segment 1 holds"),  # the first packet is one longer
    ):
        assert words in find_rle_damage(damaged, 4800, 2), words


def test_a_damaged_rle_frame_is_refused(tmp_path: Path) -> None:
    stored, frame = _rle()
    assert _code(_save(tmp_path, frame, RLELossless, stored)) == "ok"
    for damaged in (frame[:-20], _changed(frame, 64, 1), frame[:500] + frame[510:]):
        assert _code(_save(tmp_path, damaged, RLELossless, stored)) == "dicom-undecodable"


# --- JPEG and JPEG 2000 ---------------------------------------------------------------------------

#: Ways that Pillow's libjpeg and OpenJPEG write a picture.
JPEG: dict[str, tuple[dict[str, object], str]] = {
    "grey": ({"format": "JPEG", "quality": 90}, "L"),
    "optimised tables": ({"format": "JPEG", "quality": 90, "optimize": True}, "L"),
    "restart intervals": ({"format": "JPEG", "quality": 90, "restart_marker_rows": 1}, "L"),
    "restart blocks": ({"format": "JPEG", "quality": 60, "restart_marker_blocks": 7}, "L"),
    "colour, 4:2:0": ({"format": "JPEG", "quality": 90, "subsampling": 2}, "RGB"),
    "colour, 4:4:4": ({"format": "JPEG", "quality": 90, "subsampling": 0, "restart_marker_rows": 2}, "RGB"),
    "progressive": ({"format": "JPEG", "quality": 90, "progressive": True}, "L"),
}
J2K: dict[str, dict[str, object]] = {
    "lossless": {},
    "lossy, layers": {"irreversible": True, "quality_mode": "rates", "quality_layers": [40, 20, 8]},
    "tiles": {"tile_size": (64, 64)},
    "precincts": {"precinct_size": (32, 32), "codeblock_size": (16, 16), "progression": "RPCL"},
}


@pytest.mark.parametrize("kind", JPEG)
def test_intact_jpegs(kind: str) -> None:
    assert find_damage(_encode(*JPEG[kind])) == ""


@pytest.mark.parametrize("kind", J2K)
def test_intact_and_damaged_jpeg_2000(kind: str) -> None:
    frame = _encode({"format": "JPEG2000", "no_jp2": True, **J2K[kind]})
    assert find_damage(frame) == ""
    found = [find_damage(_changed(frame, int(at))) for at in np.linspace(len(frame) // 2, len(frame) - 20, 8)]
    assert sum("at the wrong byte" in damage for damage in found) >= 4, found


def test_a_scan_that_ends_in_zero_bits_is_doubtful(tmp_path: Path) -> None:
    """The standard pads the last byte with ones: an encoder that does not is let through, with a warning."""
    frames = (_encode({"format": "JPEG", "quality": quality}) for quality in range(50, 95))
    # Clearing the last two bits changes padding alone where two bits or more are padding.
    zeros = (frame[:-3] + bytes([frame[-3] & 0xFC]) + frame[-2:] for frame in frames)
    frame = next(frame for frame in zeros if find_damage(frame) == ZERO_PADDING)
    file = _save(tmp_path, frame, JPEGBaseline8Bit, GREY)
    assert "dicom-scan-end" in {note.code for note in load_stack(file).load_hu(0)[1]}


@pytest.mark.parametrize(("syntax", "options"), [
    (JPEG2000Lossless, {}), (JPEG2000, {"irreversible": True, "quality_mode": "rates", "quality_layers": [8]}),
])
def test_a_damaged_code_block_is_refused(tmp_path: Path, syntax: str, options: dict[str, object]) -> None:
    frame = _encode({"format": "JPEG2000", "no_jp2": True, **options})
    assert _code(_save(tmp_path, frame, syntax, GREY)) == "ok"
    damaged = frame[:len(frame) // 2] + bytes(8) + frame[len(frame) // 2 + 8:]
    assert _code(_save(tmp_path, damaged, syntax, GREY)) == "dicom-undecodable"


# --- Pictures -------------------------------------------------------------------------------------


def _load(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    try:
        load_picture(find_files(path)[0], Picture((1.0, 1.0)))
    except InputDataError as error:
        return error.code
    return "ok"


def _png_chunk(content: bytes, name: bytes) -> slice:
    at = content.index(name)
    return slice(at - 4, at + 8 + int.from_bytes(content[at - 4:at], "big"))


PNG_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "checksum of the pixels": lambda png: _changed(png, _png_chunk(png, b"IDAT").stop - 2, 1),
    "a bit of the pixels": lambda png: _changed(png, _png_chunk(png, b"IDAT").start + 2000, 1),
    "checksum of the end": lambda png: _changed(png, len(png) - 1, 1),
    "no end": lambda png: png[:-12],
    "cut off": lambda png: png[:-40],
    "zlib's own checksum": lambda png: _with_pixels(png, lambda data: data[:-4] + bytes(4)),
    "zlib stream cut off": lambda png: _with_pixels(png, lambda data: data[:-4]),
}


def _with_pixels(png: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The picture with other zlib data, under a right checksum."""
    span = _png_chunk(png, b"IDAT")
    data = b"IDAT" + change(png[span.start + 8:span.stop - 4])
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return png[:span.start] + chunk + png[span.stop:]


@pytest.mark.parametrize("form", PNG_DAMAGE)
def test_damaged_png_pictures_are_refused(tmp_path: Path, form: str) -> None:
    png = _encode({"format": "PNG"})
    assert _load(tmp_path / "a.png", png) == _load(tmp_path / "a.png", png + b"behind the end") == "ok"
    assert _load(tmp_path / "a.png", PNG_DAMAGE[form](png)) == "picture-damaged"


@pytest.mark.parametrize("kind", ["grey", "optimised tables", "restart intervals", "progressive"])
def test_damaged_jpeg_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    jpeg = _encode(*JPEG[kind])
    half = len(jpeg) // 2
    assert _load(tmp_path / "a.jpg", jpeg) == _load(tmp_path / "a.jpg", jpeg + b"\0\xff behind the end") == "ok"
    for damaged in (jpeg[:-2], jpeg[:half], jpeg[:half] + b"\xff\xd9", jpeg[:half] + bytes(400) + jpeg[half + 400:],
                    jpeg[:half] + jpeg[half + 200:]):
        assert _load(tmp_path / "a.jpg", damaged) == "picture-damaged"
