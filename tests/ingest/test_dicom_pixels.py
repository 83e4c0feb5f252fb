"""Stored values become Hounsfield units; what is cut off, contradictory or a bomb is refused before memory is taken."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.dicom_codestream import parse_codestream
from tests.ingest.conftest import GRID, HEIGHT, WIDTH, load_stack, make_dicom, make_hu, save_dicom

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


def _load(file: Path) -> tuple[np.ndarray, list[str]]:
    hu, findings = load_stack(file).load_hu(0)
    return hu, [note.code for note in findings]


def _check_refused(file: Path, code: str, fact: str) -> None:
    with pytest.raises(InputDataError) as refusal:
        load_stack(file).load_hu(0)
    assert (refusal.value.code, fact in refusal.value.fact) == (code, True), str(refusal.value)


@pytest.mark.parametrize(("sign", "padding", "limit"), [
    (1, -2000, None), (1, -2000, -1990), (1, -1990, -2000), (0, 63536, None), (0, 3500, 4095),
])
def test_padding_is_air(tmp_path: Path, sign: int, padding: int, limit: int | None) -> None:
    """Outside the scanned field, whatever the intercept: here it would otherwise be tissue or metal."""
    header = make_dicom(make_hu()[0])
    stored = (make_hu()[0] + 1024).astype("<i2" if sign else "<u2")
    stored[:5] = padding
    stored[5:8] = padding if limit is None else limit
    header.PixelRepresentation, header.RescaleIntercept = sign, 1000
    header.PixelPaddingValue = padding
    header["PixelPaddingValue"].VR = "SS" if sign else "US"
    if limit is not None:
        header.PixelPaddingRangeLimit = limit
        header["PixelPaddingRangeLimit"].VR = "SS" if sign else "US"
    header.PixelData = stored.tobytes()
    save_dicom(header, tmp_path / "x")
    hu, codes = _load(tmp_path)
    assert (hu[:8] == schema.HU_PADDING).all() and hu.dtype == np.int16
    np.testing.assert_array_equal(hu[8:], make_hu()[0][8:] + 2024)
    assert codes == []


@pytest.mark.parametrize(("sign", "vr", "padding"), [(1, "US", 63536), (0, "SS", -2000)])
def test_padding_written_in_the_other_signedness(tmp_path: Path, sign: int, vr: str, padding: int) -> None:
    header = make_dicom(make_hu()[0])
    stored = (make_hu()[0] + 1024).astype("<i2")
    stored[:5] = -2000
    header.PixelRepresentation, header.RescaleIntercept, header.PixelPaddingValue = sign, 1000, 0
    header["PixelPaddingValue"].VR = vr
    header["PixelPaddingValue"].value = padding
    header.PixelData = stored.tobytes()
    save_dicom(header, tmp_path / "x")
    assert (_load(tmp_path)[0][:5] == schema.HU_PADDING).all()


def test_unsigned_and_eight_bit(tmp_path: Path) -> None:
    header = make_dicom(make_hu()[0])
    stored = ((make_hu()[0] + 1000) // 16).astype(np.uint8)
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    header.RescaleSlope, header.RescaleIntercept = 16, -1000
    header.PixelData = stored.tobytes()
    header["PixelData"].VR = "OB"
    save_dicom(header, tmp_path / "x")
    np.testing.assert_array_equal(_load(tmp_path)[0], stored.astype(int) * 16 - 1000)


@pytest.mark.parametrize("sign", [0, 1])
def test_overlay_in_the_high_bits_is_left_out_and_told(tmp_path: Path, sign: int) -> None:
    """Old files keep an overlay above the 12 bits stored."""
    header = make_dicom(make_hu()[0])
    stored = make_hu()[0] + (0 if sign else 1024)
    dirty = (stored & 0x0FFF).astype("<u2")
    dirty[10:12] |= 0x1000
    header.PixelRepresentation, header.RescaleIntercept = sign, 0 if sign else -1024
    header.BitsStored, header.HighBit = 12, 11
    header.PixelData = dirty.tobytes()
    save_dicom(header, tmp_path / "x")
    hu, codes = _load(tmp_path)
    np.testing.assert_array_equal(hu, make_hu()[0])
    assert codes == ["dicom-high-bits"]


def _as_ct(header: Dataset) -> FileDataset:
    """The same pixels, said to be an axial CT slice."""
    header.Modality, header.SOPClassUID, header.ImageType = "CT", CTImageStorage, ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.file_meta.MediaStorageSOPClassUID = CTImageStorage
    header.ImagePositionPatient, header.ImageOrientationPatient = [*GRID.corner_mm, 0.0], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = [1, 1]
    if "ModalityLUTSequence" not in header:
        header.RescaleSlope, header.RescaleIntercept = 1, 0
    return header


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom 3.0, of the bundled files' own headers
@pytest.mark.filterwarnings("ignore:The value for the data element")  # pydicom 3.0, likewise
@pytest.mark.parametrize("name", [
    "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit", "MR_small_jp2klossless",
    "MR_small_jpeg_ls_lossless",
])
def test_bundled_slice_in_seven_encodings(tmp_path: Path, name: str) -> None:
    """The values of the little-endian file are its bytes."""
    plain = np.frombuffer(pydicom.dcmread(BUNDLED / "MR_small.dcm").PixelData, "<i2").reshape(64, 64)
    save_dicom(_as_ct(pydicom.dcmread(BUNDLED / f"{name}.dcm")), tmp_path / "x")
    hu, codes = _load(tmp_path)
    np.testing.assert_array_equal(hu, plain)
    assert codes == []


def test_lookup_table_in_hounsfield_units(shared: Path, tmp_path: Path) -> None:
    """The table's entry of every stored value, from the first value mapped on; PS3.3, C.11.1."""
    header = _as_ct(pydicom.dcmread(shared / "data" / "dicom_edge_cases" / "mlut_18.dcm"))
    table = header.ModalityLUTSequence[0]
    table.ModalityLUTType = "HU"
    save_dicom(header, tmp_path / "x")
    _, first, _ = table.LUTDescriptor
    entries = np.array(table.LUTData)
    # 12 bits stored, signed: the other four hold the sign in some pixels and nothing in others.
    stored = np.frombuffer(header.PixelData, "<i2").reshape(512, 512) << 4 >> 4
    wanted = entries[np.clip(stored - first, 0, len(entries) - 1)]
    assert len(np.unique(wanted)) > 500
    hu, codes = _load(tmp_path)
    np.testing.assert_array_equal(hu, np.minimum(wanted, 32767))
    assert codes == []
    header.ModalityLUTSequence[0].LUTData = [1, 2]
    header.ModalityLUTSequence[0].LUTDescriptor = [0, 0, 12]
    save_dicom(header, tmp_path / "x")
    _check_refused(tmp_path, "dicom-value", "ModalityLUTSequence cannot be read")


def _save_changed(tmp_path: Path, change: Callable[[Dataset], None], name: str = "693_J2KI") -> Path:
    header = pydicom.dcmread(BUNDLED / f"{name}.dcm")
    change(header)
    header.save_as(tmp_path / "x")
    return tmp_path / "x"


def _recompress(change: Callable[[bytes], bytes]) -> Callable[[Dataset], None]:
    def apply(header: Dataset) -> None:
        header.PixelData = encapsulate([change(get_frame(header.PixelData, 0, number_of_frames=1))])

    return apply


def test_reversible_jpeg_2000_is_lossy_only_when_told(tmp_path: Path) -> None:
    """Transfer syntax .91 may be either: wavelet and LossyImageCompression decide."""
    assert _load(BUNDLED / "693_J2KI.dcm")[1] == ["dicom-lossy"]
    assert _load(_save_changed(tmp_path, lambda h: h.__delattr__("LossyImageCompression")))[1] == []
    assert _load(_save_changed(tmp_path, lambda h: setattr(h, "LossyImageCompression", "00")))[1] == []


def test_irreversible_wavelet_is_lossy_whatever_is_told() -> None:
    data = get_frame(pydicom.dcmread(BUNDLED / "JPEG2000.dcm").PixelData, 0, number_of_frames=1)
    stream = parse_codestream(data)
    assert stream is not None
    assert (stream.is_lossless, stream.rows, stream.columns) == (False, 1024, 256)


def test_lossy_before_it_was_stored_plainly_is_told(tmp_path: Path) -> None:
    header = make_dicom(make_hu()[0])
    header.LossyImageCompression = "01"
    save_dicom(header, tmp_path / "x")
    assert _load(tmp_path)[1] == ["dicom-lossy"]


def test_damaged_codestreams_are_refused(tmp_path: Path) -> None:
    syntax = "TransferSyntaxUID JPEG 2000 Image Compression"
    for change, code, fact in (
        (_recompress(lambda data: data[:-1000]), "dicom-truncated", f"{syntax}: no end marker"),
        (_recompress(lambda data: data[:60]), "dicom-truncated", syntax),
        (lambda h: setattr(h, "Rows", 256), "dicom-size-contradicts", "of 512 x 512, Rows x Columns 256 x 512"),
        (_recompress(lambda data: data[:8] + b"\0\0\xff\xff" * 2 + data[16:]), "dicom-size-contradicts", "65535"),
        (lambda h: setattr(h, "PixelData", h.PixelData[:4]), "dicom-truncated", syntax),
    ):
        _check_refused(_save_changed(tmp_path, change), code, fact)


def test_unknown_transfer_syntax_is_refused(tmp_path: Path) -> None:
    header = make_dicom(make_hu()[0])
    save_dicom(header, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    for uid in (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"):
        assert len(uid) == 20
        (tmp_path / "x").write_bytes(whole.replace(b"1.2.840.10008.1.2.1\0", uid))
        if uid.startswith(b"1.2.840.10008.1.2.9"):
            _check_refused(tmp_path, "dicom-undecodable", "TransferSyntaxUID unknown")
        else:
            assert _load(tmp_path)[1] == []


def test_no_pixels_or_float_pixels_are_refused(tmp_path: Path) -> None:
    header = make_dicom(make_hu()[0])
    del header.PixelData
    save_dicom(header, tmp_path / "x")
    _check_refused(tmp_path, "dicom-no-pixels", "PixelData absent")
    header.FloatPixelData = make_hu()[0].astype("<f4").tobytes()
    save_dicom(header, tmp_path / "x")
    _check_refused(tmp_path, "dicom-no-pixels", "PixelData absent")


def test_too_few_or_too_many_bytes(tmp_path: Path) -> None:
    header = make_dicom(make_hu()[0])
    whole = header.PixelData
    header.PixelData = whole[:-2]
    save_dicom(header, tmp_path / "x")
    _check_refused(tmp_path, "dicom-truncated", f"PixelData {len(whole) - 2} bytes, Rows x Columns need {len(whole)}")
    header.PixelData = whole + b"\0" * 10
    save_dicom(header, tmp_path / "x")
    hu, codes = _load(tmp_path)
    assert codes == ["dicom-more-pixels"]
    np.testing.assert_array_equal(hu, make_hu()[0])


@pytest.mark.parametrize("n_bytes", [0, 100, 131, 132, 150, 200, 300, 600, 5000])
def test_truncated_files_are_refused(tmp_path: Path, n_bytes: int) -> None:
    save_dicom(make_dicom(make_hu()[0]), tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:n_bytes])
    with pytest.raises(InputDataError) as refusal:
        load_stack(tmp_path).load_hu(0)
    assert refusal.value.code in (
        "file-not-understood", "dicom-damaged", "dicom-truncated", "dicom-not-ct", "dicom-bits",
    ), refusal.value.code
    assert refusal.value.fact


def test_without_preamble_or_file_meta_information(tmp_path: Path) -> None:
    """Older archives write such files: read, and told. Preamble alone missing is no loss."""
    header = make_dicom(make_hu()[0])
    save_dicom(header, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(whole[132:])
    np.testing.assert_array_equal(_load(tmp_path)[0], make_hu()[0])
    assert _load(tmp_path)[1] == []
    for implicit in (True, False):
        plain = Dataset(header)
        plain.save_as(tmp_path / "x", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert (tmp_path / "x").read_bytes()[:2] == b"\x08\0"
        hu, codes = _load(tmp_path)
        np.testing.assert_array_equal(hu, make_hu()[0])
        assert codes == ["dicom-no-syntax"]


def _deflate(tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    """A deflated file whose packed data set is changed."""
    header = make_dicom(make_hu()[0])
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save_dicom(header, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    n_meta = 132 + 12 + int.from_bytes(whole[140:144], "little")
    (tmp_path / "x").write_bytes(whole[:n_meta] + change(whole[n_meta:]))
    return tmp_path / "x"


def test_deflated_bomb_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    np.testing.assert_array_equal(_load(_deflate(tmp_path, lambda data: data))[0], make_hu()[0])
    np.testing.assert_array_equal(_load(_deflate(tmp_path, lambda data: data + bytes(3)))[0], make_hu()[0])
    _check_refused(_deflate(tmp_path, lambda data: data[:-100]), "dicom-damaged", "ends early")

    def bomb(data: bytes) -> bytes:
        packer = zlib.compressobj(9, wbits=-15)
        return packer.compress(zlib.decompress(data, -15)) + packer.compress(bytes(400 << 20)) + packer.flush()

    file = _deflate(tmp_path, bomb)
    assert file.stat().st_size < 1 << 20
    tracemalloc.start()
    _check_refused(file, "dicom-bomb", "bytes from")
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()


def _gzip_trailer(packed: bytes) -> bytes:
    """The last 8 bytes of gzip's own output for the inflated data."""
    return gzip.compress(zlib.decompress(packed, -15))[-8:]


def _replace_tail(packed: bytes, tail: bytes) -> bytes:
    """The deflated stream without pydicom's padding to an even length, and a tail."""
    inflater = zlib.decompressobj(-15)
    inflater.decompress(packed)
    return packed[: len(packed) - len(inflater.unused_data)] + tail


@pytest.mark.parametrize("tail", [
    lambda data: b"\xff", lambda data: bytes(8), lambda data: b"\xff" * 9, _gzip_trailer,
    lambda data: _gzip_trailer(data) + b"\0\0", lambda data: _gzip_trailer(data) + b"\xff",
])  # fmt: skip
def test_padding_or_a_gzip_trailer_may_follow_a_deflated_data_set(
    tmp_path: Path, tail: Callable[[bytes], bytes]
) -> None:
    hu, _ = _load(_deflate(tmp_path, lambda data: _replace_tail(data, tail(data))))
    np.testing.assert_array_equal(hu, make_hu()[0])


@pytest.mark.parametrize("tail", [
    lambda data: b"x", lambda data: bytes([_gzip_trailer(data)[0] ^ 1]) + _gzip_trailer(data)[1:],
    lambda data: _gzip_trailer(data)[:7] + b"\1", lambda data: _gzip_trailer(data)[:4],
    lambda data: _gzip_trailer(data)[::-1], lambda data: _gzip_trailer(data) + b"x",
    lambda data: b"\0" + _gzip_trailer(data), lambda data: _gzip_trailer(data) * 2,
])  # fmt: skip
def test_other_data_after_a_deflated_data_set_are_damage(tmp_path: Path, tail: Callable[[bytes], bytes]) -> None:
    file = _deflate(tmp_path, lambda data: _replace_tail(data, tail(data)))
    _check_refused(file, "dicom-damaged", "after the deflated data set")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEG2000Lossless])
def test_claims_larger_than_the_file_take_no_memory(tmp_path: Path, syntax: str) -> None:
    header = make_dicom(make_hu()[0])
    header.Rows = header.Columns = 4000
    header.file_meta.TransferSyntaxUID = syntax
    if syntax == JPEG2000Lossless:
        header.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 100])
        header["PixelData"].is_undefined_length = True
    save_dicom(header, tmp_path / "x")
    tracemalloc.start()
    _check_refused(tmp_path, "dicom-truncated", "")
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_hostile_structure_ends_in_no_traceback_and_takes_no_memory(tmp_path: Path) -> None:
    """Sequences nested without end; pixel data said to be 4 GB long, of which only what Rows and Columns need is there.
    """
    save_dicom(make_dicom(make_hu()[0]), tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    at = whole.index(b"\x08\0\x16\0UI")
    nest = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 20_000
    (tmp_path / "x").write_bytes(whole[:at] + nest + whole[at:])
    _check_refused(tmp_path, "dicom-damaged", "RecursionError")
    at = whole.index(b"\xe0\x7f\x10\0OW") + 8
    (tmp_path / "x").write_bytes(whole[:at] + b"\xf0\xff\xff\xff" + whole[at + 4:])
    tracemalloc.start()
    np.testing.assert_array_equal(_load(tmp_path)[0], make_hu()[0])
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_random_damage_never_ends_in_a_traceback(tmp_path: Path) -> None:
    """Bytes of the header changed at random, 400 files: read, or refused with a code."""
    dice = random.Random(0)
    save_dicom(make_dicom(make_hu()[0]), tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    n_header = len(whole) - 2 * HEIGHT * WIDTH
    codes = []
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(128, n_header)] = dice.choice([0, 1, 0x7F, 0xFF, dice.randrange(256)])
        (tmp_path / "x").write_bytes(data)
        try:
            hu, _ = load_stack(tmp_path).load_hu(0)
            codes.append("ok")
            assert hu.dtype == np.int16 and hu.size
        except InputDataError as error:
            codes.append(error.code)
            assert "\n" not in str(error)
    assert "input" not in codes and len(set(codes)) > 8
