"""Compressed files are read to their end: a checksum or length that differs is refused, padding is not damage."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.files import InputFile, count_volume_bytes, find_files
from data_pipelines.ingest.gzip_stream import GzipStream
from data_pipelines.ingest.nifti import load_nifti
from data_pipelines.ingest.source import IngestedSlice

CHOICE = Choice(slice_index=3)


def _member(plain: bytes, flags: int = 0, extra: bytes = b"") -> bytes:
    """A gzip member with a header of its own making (RFC 1952)."""
    header = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, flags, 0, 0, 3) + extra
    if flags & 2:  # FHCRC
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return header + packer.compress(plain) + packer.flush() + struct.pack("<II", zlib.crc32(plain), len(plain) % 2**32)


def _flip(data: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


#: Harmless forms of one gzip file: what gunzip unpacks to the same bytes, without an error.
HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "header checksum": lambda plain: _member(plain, 2),
    "extra field, name and comment": lambda plain: _member(plain, 4 | 8 | 16, b"\2\0ab" + b"name\0" + b"comment\0"),
    "two members, as bgzip": lambda plain: _member(plain[:5000]) + _member(plain[5000:]),
    "an empty last member": lambda plain: _member(plain) + _member(b""),
    "zeros between members": lambda plain: _member(plain[:5000]) + bytes(700) + _member(plain[5000:]),
    "zeros at the end": lambda plain: _member(plain) + bytes(600_000),
    "not compressed inside": lambda plain: gzip.compress(plain, 0),
    "other time, system and name": lambda plain: _flip(_member(plain), 5, 3),
}
SURPLUS: dict[str, Callable[[bytes], bytes]] = {
    "text behind the last member": lambda plain: _member(plain) + b"no gzip data",
    "more bytes than the header needs": lambda plain: _member(plain + bytes(10)),
    "a second volume": lambda plain: _member(plain) * 2,
}
DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "checksum changed": lambda plain: _flip(_member(plain), -6),
    "length changed": lambda plain: _flip(_member(plain), -1),
    "header checksum changed": lambda plain: _flip(_member(plain, 2), 10),
    "checksum of the second member": lambda plain: _flip(_member(plain[:5000]) + _member(plain[5000:]), -6),
    "checksum of the first member": lambda plain: _flip(_member(plain[:5000]), -6) + _member(plain[5000:]),
    "checksum of a member that is not needed": lambda plain: _member(plain) + _flip(_member(b"x"), -6),
    "no trailer": lambda plain: _member(plain)[:-8],
    "half a trailer": lambda plain: _member(plain)[:-4],
    "one byte short": lambda plain: _member(plain)[:-1],
    "cut off, with a valid trailer": lambda plain: _member(plain)[:-2000] + _member(plain)[-8:],
    "cut off at half": lambda plain: _member(plain)[:len(_member(plain)) // 2],
    "cut off in the next header": lambda plain: _member(plain) + _member(b"x")[:5],
    "fewer bytes than the header needs": lambda plain: _member(plain[:-2]),
    "first byte missing": lambda plain: _member(plain)[1:],
    "flag of the header": lambda plain: _flip(_member(plain), 3, 6),
}


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 12, (5, 60, 80)).round().astype(np.int16)


@pytest.fixture
def plain(nifti_folder: Path, noise: np.ndarray) -> bytes:
    """The volume, unpacked, with noise: otherwise a handful of bytes holds it."""
    whole = bytearray(gzip.decompress((nifti_folder / "ct.nii.gz").read_bytes()))
    values = np.frombuffer(whole, "<i2", offset=352)
    whole[352:] = (values + noise.ravel() * (values > -900)).astype("<i2").tobytes()
    return bytes(whole)


def _read(folder: Path) -> IngestedSlice:
    return read_source(folder, choice=CHOICE)


def _read_as(folder: Path, content: bytes, name: str = "ct.nii.gz") -> IngestedSlice:
    (folder / name).write_bytes(content)
    return _read(folder)


@pytest.mark.parametrize("form", HARMLESS)
def test_harmless_gzip_files_are_read(nifti_folder: Path, plain: bytes, form: str) -> None:
    wanted = _read_as(nifti_folder, gzip.compress(plain))
    content = HARMLESS[form](plain)
    assert gzip.decompress(content) == plain
    found = _read_as(nifti_folder, content)
    np.testing.assert_array_equal(found.image.hu, wanted.image.hu)
    assert found.findings == wanted.findings


@pytest.mark.parametrize("form", SURPLUS)
def test_data_behind_the_volume_are_ignored_with_a_warning(nifti_folder: Path, plain: bytes, form: str) -> None:
    """As nibabel, which takes what the header describes."""
    wanted = _read_as(nifti_folder, gzip.compress(plain))
    found = _read_as(nifti_folder, SURPLUS[form](plain))
    np.testing.assert_array_equal(found.image.hu, wanted.image.hu)
    assert {note.code for note in found.findings} - {note.code for note in wanted.findings} == {"nifti-surplus"}


def test_data_behind_an_uncompressed_volume(nifti_folder: Path, plain: bytes) -> None:
    (nifti_folder / "ct.nii.gz").unlink()
    assert "nifti-surplus" not in {note.code for note in _read_as(nifti_folder, plain, "ct.nii").findings}
    assert "nifti-surplus" in {note.code for note in _read_as(nifti_folder, plain + b"\0" * 9, "ct.nii").findings}


@pytest.mark.parametrize("form", DAMAGED)
def test_damaged_gzip_files_are_refused(nifti_folder: Path, plain: bytes, form: str) -> None:
    content = DAMAGED[form](plain)
    # Python looks neither at the header's checksum and reserved flags nor at NIfTI's own header.
    if form not in ("header checksum changed", "flag of the header", "fewer bytes than the header needs"):
        with pytest.raises((EOFError, gzip.BadGzipFile, zlib.error)):
            gzip.decompress(content)
    with pytest.raises(InputDataError) as refusal:
        _read_as(nifti_folder, content)
    assert refusal.value.code == "nifti-damaged" and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["ct", "masks/subcutaneous_fat", "masks/vertebrae_T11"])
def test_flipped_bits_are_refused_or_change_nothing(nifti_folder: Path, plain: bytes, name: str) -> None:
    _read_as(nifti_folder, gzip.compress(plain))
    assert flip_bits(nifti_folder, name, 5) >= 1


def flip_bits(folder: Path, name: str, n: int) -> int:
    """Flip n bits, one at a time, of a volume; the number refused. Fails where another slice is read in silence."""
    wanted, file = _read(folder), folder / f"{name}.nii.gz"
    whole, random, n_refused = file.read_bytes(), np.random.default_rng(0), 0
    for _ in range(n):
        file.write_bytes(_flip(whole, int(random.integers(len(whole))), int(random.integers(8))))
        try:
            found = _read(folder)
        except InputDataError:
            n_refused += 1
            continue
        np.testing.assert_array_equal(found.image.hu, wanted.image.hu)
        np.testing.assert_array_equal(found.image.tissue, wanted.image.tissue)
    file.write_bytes(whole)
    return n_refused


class _Counted(io.BytesIO):
    n_read = 0

    def read(self, n: int | None = -1, /) -> bytes:
        data = super().read(n)
        type(self).n_read += len(data)
        return data


def test_a_file_is_read_to_its_end_once(plain: bytes) -> None:
    """The last slice is stored at the end, the first at the start: only the first read goes on to the end."""
    content = gzip.compress(plain * 40, 0)  # of which the header describes the first fortieth
    file = InputFile("ct.nii.gz", "ct.nii.gz", len(content), lambda: _Counted(content))
    stack = load_nifti(file)
    before = _Counted.n_read
    first = stack.load_slice(0)
    assert _Counted.n_read - before >= len(content)
    before = _Counted.n_read
    np.testing.assert_array_equal(stack.load_slice(0), first)
    assert _Counted.n_read - before < len(content)


def test_a_gzip_stream_seeks_as_pythons_own(plain: bytes) -> None:
    content = _member(plain[:7000]) + _member(plain[7000:])
    stream, peer = GzipStream(io.BytesIO(content)), gzip.GzipFile(fileobj=io.BytesIO(content))
    for position, n in ((0, 4), (6990, 20), (12_000, 500), (3, 1), (len(plain) - 1, 10), (len(plain) + 5, 1)):
        assert stream.seek(position) == min(peer.seek(position), len(plain))
        data = stream.read(n)
        while data and len(data) < n and (more := stream.read(n - len(data))):
            data += more
        assert data == peer.read(n) and stream.tell() == peer.tell()
    with pytest.raises(io.UnsupportedOperation):
        stream.seek(0, io.SEEK_END)


# --- Archives -------------------------------------------------------------------------------------


def _zip(folder: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_of_a_series_in_an_archive_is_refused(dicom_folder: Path, method: int) -> None:
    """Every member's checksum is compared: one slice too few would make another one slice 3."""
    path = _zip(dicom_folder, method)
    assert read_source(path, choice=CHOICE).n_slices == 5
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        starts = [info.header_offset + 30 + len(info.filename) for info in archive.infolist()]
        checksums = [whole.index(struct.pack("<I", info.CRC), archive.start_dir) for info in archive.infolist()]
    for at in (starts[1] + 400, starts[4] + 700, checksums[2]):
        path.write_bytes(_flip(whole, at, 2))
        with pytest.raises(InputDataError) as refusal:
            read_source(path, choice=CHOICE)
        assert refusal.value.code == "file-archive-damaged"


def test_a_packed_volume_in_an_archive_has_two_checksums(nifti_folder: Path, plain: bytes) -> None:
    volume = nifti_folder / "ct.nii.gz"
    volume.write_bytes(_flip(gzip.compress(plain), -6))
    with pytest.raises(InputDataError) as refusal:  # the archive's checksum is that of the damaged file
        read_source(_zip(nifti_folder), choice=CHOICE)
    assert refusal.value.code == "nifti-damaged"
    volume.write_bytes(gzip.compress(plain))
    path = _zip(nifti_folder, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(_flip(whole, whole.index(b"ct.nii.gz") + 9 + 5, 1))  # the time in the gzip header: no pixel
    with pytest.raises(InputDataError) as refusal:
        read_source(path, choice=CHOICE)
    assert refusal.value.code == "file-archive-damaged"


# --- Time -----------------------------------------------------------------------------------------


def test_bytes_that_are_read_whole(nifti_folder: Path, tmp_path: Path) -> None:
    """For the time limit: the volumes of a folder, not the notes beside them."""
    (nifti_folder / "notes.txt").write_bytes(bytes(1000))
    n_bytes = (nifti_folder / "ct.nii.gz").stat().st_size
    assert count_volume_bytes(nifti_folder) == count_volume_bytes(nifti_folder / "ct.nii.gz") == n_bytes
    assert count_volume_bytes(tmp_path / "absent") == 0
    assert [file.verified for file in find_files(nifti_folder / "ct.nii.gz")] == [[]]
