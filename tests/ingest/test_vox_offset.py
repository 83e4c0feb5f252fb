"""Where the voxels of a NIfTI file begin: after the header and its extensions, or the file is refused."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.nifti import load_label_names, load_nifti
from tests.ingest.conftest import make_hu

AFFINE = np.diag([3.0, 4.0, 5.0, 1.0])
AFFINE[:3, 3] = -70, -90, -500
#: Format -> image class, byte order, place and kind of vox_offset, and the least one of a single file.
FORMATS = {
    "NIfTI-1": (nib.Nifti1Image, "<", 108, "f", 352), "NIfTI-1, big-endian": (nib.Nifti1Image, ">", 108, "f", 352),
    "NIfTI-2": (nib.Nifti2Image, "<", 168, "q", 544), "NIfTI-2, big-endian": (nib.Nifti2Image, ">", 168, "q", 544),
}  # fmt: skip


def _save(file: Path, name: str, offset: float, n_more: int = 0, extension: int = 0) -> Path:
    """A volume with a vox_offset, `n_more` bytes before its voxels and an extension (comment) of so many bytes."""
    kind, order, place, code, least = FORMATS[name]
    header = kind.header_class(endianness=order)
    values = np.ascontiguousarray(make_hu().transpose(2, 1, 0))
    whole = bytearray(kind(values, AFFINE, header.copy()).to_bytes())
    struct.pack_into(order + code, whole, place, offset)
    between = b""
    if extension:
        whole[least - 4] = 1
        between = struct.pack(f"{order}ii", extension, 6) + b"x" * (extension - 8)
    content = bytes(whole[:least]) + between + bytes(n_more) + bytes(whole[least:])
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("name", FORMATS)
def test_voxels_cannot_begin_inside_the_header(tmp_path: Path, name: str, ending: str) -> None:
    """nibabel takes 0 without an error and reads the header as voxels."""
    least, kind = FORMATS[name][4], FORMATS[name][3]
    odd = [0, 1, least - 4, least - 1, -least, 1 << 60]
    odd += [least + 0.5, float("nan"), float("inf"), 3e38] if kind == "f" else [-1]
    for offset in odd:
        (file,) = find_files(_save(tmp_path / f"a.{ending}", name, offset))
        for load in (load_nifti, lambda file: load_nifti(file, is_mask=True), load_label_names):
            with pytest.raises(InputDataError) as refusal:
                load(file)
            assert refusal.value.code == "nifti-damaged", offset


@pytest.mark.parametrize("name", FORMATS)
def test_voxels_cannot_begin_inside_an_extension(tmp_path: Path, name: str) -> None:
    least = FORMATS[name][4]
    for offset in (least, least + 8, least + 16, least + 32):
        for ending in ("nii", "nii.gz"):
            (file,) = find_files(_save(tmp_path / f"a.{ending}", name, offset, extension=48))
            with pytest.raises(InputDataError) as refusal:
                load_nifti(file)
            assert refusal.value.code == "nifti-damaged", offset


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("n_more", "extension"), [(0, 0), (1, 0), (8, 0), (64, 0), (0, 48), (8, 48)])
def test_voxels_after_padding_or_an_extension_are_read(
    tmp_path: Path, name: str, n_more: int, extension: int
) -> None:
    offset = FORMATS[name][4] + n_more + extension
    (file,) = find_files(_save(tmp_path / "a.nii", name, offset, n_more, extension))
    stack = load_nifti(file)
    wanted = np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    for k in range(wanted.shape[2]):
        np.testing.assert_array_equal(stack.load_hu(k)[0], wanted[::-1, ::-1, k].T)
    assert "nifti-surplus" not in [note.code for note in stack.load_hu(0)[1]]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("n_more", [16, 64])
def test_zeros_where_a_second_extension_would_be_are_refused(tmp_path: Path, name: str, n_more: int) -> None:
    """nibabel takes them for an extension of size 0 and raises."""
    (file,) = find_files(_save(tmp_path / "a.nii", name, FORMATS[name][4] + n_more + 48, n_more, extension=48))
    with pytest.raises(ValueError):
        nib.load(tmp_path / "a.nii")
    with pytest.raises(InputDataError) as refusal:
        load_nifti(file)
    assert refusal.value.code == "nifti-damaged"


def test_voxels_beyond_the_file_are_refused(tmp_path: Path) -> None:
    for ending in ("nii", "nii.gz"):
        (file,) = find_files(_save(tmp_path / f"a.{ending}", "NIfTI-1", 1 << 20))
        with pytest.raises(InputDataError) as refusal:
            load_nifti(file).load_hu(0)
        assert refusal.value.code == "nifti-damaged"
