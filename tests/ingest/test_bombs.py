"""Small files that claim or unpack to much: each refused under the cap, the next patient measured all the same."""

import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from benchmarks.measure import PeakMemory
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.ingest.patients import Failure, Patient, read_patients
from data_pipelines.ingest.picture import Picture
from data_pipelines.ingest.source import Choice
from tests.ingest.conftest import make_dicom, make_hu, save_dicom

pytestmark = pytest.mark.every_change

GIB = 1 << 30
MAX_MIB = 1024
"""Of all processes together: the command and one reader."""
_COMMAND = "from bonemet_jax.cli import run_from_shell; run_from_shell()"


def _gzip_of_zeros(start: bytes, n_bytes: int) -> bytes:
    """`start` and zeros, packed at a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = bytes(1 << 24)
    return packer.compress(start) + b"".join(packer.compress(block) for _ in range(n_bytes >> 24)) + packer.flush()


def _nifti_header(shape: tuple[int, int, int]) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + bytes(4)


def _deflated_dicom(folder: Path) -> None:
    """A private element of zeros, 0.25 GiB, as the only content of the deflated data set."""
    header = make_dicom(make_hu()[0])
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save_dicom(header, folder / "a.dcm")
    whole = (folder / "a.dcm").read_bytes()
    length = 12 + struct.unpack("<I", whole[140:144])[0]  # of the group 0002, which is never deflated
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, GIB // 4)
    packed = packer.compress(element) + b"".join(packer.compress(bytes(1 << 24)) for _ in range(16)) + packer.flush()
    (folder / "a.dcm").write_bytes(whole[: 132 + length] + packed)


def _many_pixels(folder: Path) -> None:
    header = make_dicom(make_hu()[0])
    header.Rows = header.Columns = 65_535
    save_dicom(header, folder / "a.dcm")


def _compressed_many_pixels(folder: Path) -> None:
    """The codestream claims 60000 x 60000, the header 60 x 80."""
    header = make_dicom(make_hu()[0])
    header.file_meta.TransferSyntaxUID = JPEG2000Lossless
    size = struct.pack(">HHHIIIIIIIIHBBB", 0xFF51, 41, 0, 60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0, 1, 15, 1, 1)
    stream = b"\xff\x4f" + size + b"\xff\xd9\0"
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(stream)) + stream
    header.PixelData = items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    header["PixelData"].is_undefined_length = True
    save_dicom(header, folder / "a.dcm")


def _many_frames(folder: Path) -> None:
    header = make_dicom(make_hu()[0])
    header.NumberOfFrames = 2_000_000_000
    save_dicom(header, folder / "a.dcm")


def _long_element(folder: Path) -> None:
    """An element that claims 4 GB and is not there."""
    save_dicom(make_dicom(make_hu()[0]), folder / "a.dcm")
    whole = (folder / "a.dcm").read_bytes()
    (folder / "a.dcm").write_bytes(whole[:-9608] + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFF0))


def _nested_sequences(folder: Path) -> None:
    """Sequences in sequences, 20000 deep."""
    save_dicom(make_dicom(make_hu()[0]), folder / "a.dcm")
    whole = (folder / "a.dcm").read_bytes()
    undefined = 0xFFFFFFFF
    level = struct.pack("<HH2sHIHHI", 0x0008, 0x1140, b"SQ", 0, undefined, 0xFFFE, 0xE000, undefined)
    (folder / "a.dcm").write_bytes(whole[:-9612] + level * 20_000)


def _gzip_nifti(folder: Path) -> None:
    """0.3 MB that hold a volume of 0.25 GB, and the slice asked for is the last but one."""
    (folder / "ct.nii.gz").write_bytes(_gzip_of_zeros(_nifti_header((512, 512, 500)), GIB // 4))


def _gzip_nifti_that_says_less(folder: Path) -> None:
    """A small volume by its header; 0.25 GiB of zeros behind it."""
    (folder / "ct.nii.gz").write_bytes(_gzip_of_zeros(_nifti_header((64, 64, 4)), GIB // 4))


def _nifti_claim(folder: Path) -> None:
    """356 bytes that claim 3.4 GB."""
    (folder / "ct.nii").write_bytes(_nifti_header((1200, 1200, 1180)))


def _zip(folder: Path) -> None:
    folder.rmdir()
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(4):
            with archive.open(f"{number}.dcm", "w") as member:
                for _ in range(16):
                    member.write(bytes(1 << 24))


def _png(folder: Path) -> None:
    """A picture of 60000 x 60000 black pixels."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1 << 20), 9)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


BOMBS = {
    "b01": _deflated_dicom, "b02": _many_pixels, "b03": _compressed_many_pixels, "b04": _many_frames,
    "b05": _long_element, "b06": _nested_sequences, "b07": _gzip_nifti, "b08": _nifti_claim, "b09": _zip, "b10": _png,
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every bomb, and a sound patient before and behind them."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, make in BOMBS.items():
        (folder / name).mkdir()
        make(folder / name)
    for name in ("a_sound", "z_sound"):
        save_dicom(make_dicom(make_hu()[0]), folder / name / "a.dcm")
    paths = sorted(folder.iterdir())
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 8 << 20, "all are small"
    return paths


@pytest.mark.skipif(sys.platform != "linux", reason="memory is capped and read from /proc on Linux")
def test_every_bomb_is_refused_under_the_cap_and_the_next_patient_measured(inputs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "clinical.csv").write_text("patient_id,slice_index\nb07,498\nb08,498\n")
    command = [sys.executable, "-c", _COMMAND, "measure", "-i", *map(str, inputs), "-o", str(tmp_path / "out"),
               "--workers", "1", "--clinical", str(tmp_path / "clinical.csv")]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        peak = PeakMemory(process.pid)
        _, said = process.communicate()
        peak.stop()
    print(said, f"peak {peak.mib:.0f} MiB")
    assert process.returncode == InputDataError.exit_code
    assert "Traceback" not in said
    results = json.loads((tmp_path / "out" / "areas.json").read_text())
    assert [row["patient_id"] for row in results["patients"]] == ["a_sound", "z_sound"]
    assert [failed["input"] for failed in results["failed"]] == list(range(2, 2 + len(BOMBS)))
    assert "file-crashed-reader" not in {failed["code"] for failed in results["failed"]}, "nothing unforeseen"
    assert peak.mib < MAX_MIB


def test_a_picture_bomb_with_its_spacing(tmp_path: Path) -> None:
    _png(tmp_path)
    (outcome,) = read_patients([tmp_path / "a.png"], choice=Choice(picture=Picture(spacing_mm=(1.0, 1.0))), workers=1)
    assert isinstance(outcome, Failure) and outcome.error.code == "picture-too-large"


@pytest.mark.slow
def test_what_lies_behind_a_small_volume_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    _gzip_nifti_that_says_less(tmp_path / "p")
    (outcome,) = read_patients([tmp_path / "p"], choice=Choice(slice_index=0), workers=1)
    assert isinstance(outcome, Failure | Patient)
    if isinstance(outcome, Failure):
        assert outcome.error.code != "file-crashed-reader"


def test_a_cap_too_small_is_told_with_its_flag(dicom_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--memory-gib 1e-06 is out of range.*0.1 to 1024"):
        list(read_patients([dicom_folder], choice=Choice(slice_index=0), memory_gib=1e-6))
    (outcome,) = read_patients([dicom_folder], choice=Choice(slice_index=0))
    assert isinstance(outcome, Patient)


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    """Opening a named pipe waits for ever."""
    save_dicom(make_dicom(make_hu()[0]), tmp_path / "p" / "a.dcm")
    os.mkfifo(tmp_path / "p" / "b.dcm")
    (tmp_path / "p" / "c.dcm").symlink_to("/dev/zero")
    (outcome,) = read_patients([tmp_path / "p"])
    assert isinstance(outcome, Patient)
    (outcome,) = read_patients([tmp_path / "p" / "b.dcm"])
    assert isinstance(outcome, Failure) and outcome.error.code != "file-too-slow"
