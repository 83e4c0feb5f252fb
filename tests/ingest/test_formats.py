"""Formats that are not read are named, with what to convert them to; formats that are read are never called so."""

import io
import tarfile
import zipfile
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bonemet_jax import artifacts
from bonemet_jax.errors import InputDataError
from data_pipelines.clinical.table import load_clinical
from data_pipelines.ingest import read_source
from data_pipelines.ingest.masks import load_masks
from tests.ingest.conftest import GRID, make_hu, save_nifti


def _save(file: Path, kind: str) -> None:
    picture, buffer = Image.fromarray(np.zeros((60, 80), np.uint8)), io.BytesIO()
    picture.save(buffer, format=kind)
    file.write_bytes(buffer.getvalue())


def _make(name: str, file: Path) -> None:
    """A file of this format, by the library that defines it where there is one here."""
    volume = make_hu().transpose(2, 1, 0)
    if name in ("TIFF", "BMP", "JPEG2000", "GIF", "PNG"):
        _save(file, name)
    elif name == "MGH":
        nib.save(nib.freesurfer.MGHImage(volume.astype(np.float32), np.eye(4)), file)
    elif name == "pair":
        nib.save(nib.Nifti1Pair(volume, np.eye(4)), file)
    elif name == "tar":
        with tarfile.open(file, "w:gz") as archive:
            archive.add(__file__, "a.dcm")
    elif name == "HDF5":
        with h5py.File(file, "w") as stored:
            stored["x"] = volume
    elif name == "NumPy":
        file.write_bytes(np.lib.format.MAGIC_PREFIX + bytes(200))
    elif name == "workbook":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("xl/workbook.xml", "")
    else:
        heads = {"MetaImage": b"ObjectType = Image\nNDims = 3\n", "NRRD": b"NRRD0004\ntype: short\n",
                 "7z": b"7z\xbc\xaf\x27\x1c" + bytes(40), "RAR": b"Rar!\x1a\x07\x01\x00" + bytes(40)}  # fmt: skip
        file.write_bytes(heads[name])


@pytest.mark.parametrize(("name", "file", "format_", "remedy"), [
    ("MetaImage", "ct.mha", "MetaImage", "NIfTI"), ("MetaImage", "ct", "MetaImage", "NIfTI"),
    ("NRRD", "ct.nrrd", "NRRD", "NIfTI"), ("NRRD", "ct.dcm", "NRRD", "NIfTI"),
    ("MGH", "ct.mgz", "FreeSurfer MGH", "NIfTI"), ("pair", "ct.hdr", "two files", "one NIfTI file"),
    ("HDF5", "ct.mnc", "MINC or HDF5", "NIfTI"), ("HDF5", "ct", "MINC or HDF5", "NIfTI"),
    ("NumPy", "ct.bin", "NumPy", "NIfTI"), ("TIFF", "ct.tiff", "TIFF", "PNG"), ("TIFF", "ct.img1", "TIFF", "PNG"),
    ("BMP", "ct.bmp", "BMP", "PNG"), ("JPEG2000", "ct.jp2", "JPEG 2000", "PNG"), ("GIF", "ct.gif", "GIF", "PNG"),
    ("PNG", "ct.picture", "PNG", "alone"), ("tar", "ct.tar.gz", "tar archive", "unpack"),
    ("tar", "ct.export", "compressed", "unpack"), ("7z", "ct.7z", "7z archive", "unpack"),
    ("RAR", "ct.rar", "RAR archive", "unpack"), ("RAR", "x.dat", "RAR archive", "unpack"),
    ("workbook", "table.xlsx", "table", "--clinical"), ("workbook", "x.bin", "zip archive", ".zip"),
])
def test_unread_format_is_named_alone_and_in_a_folder(
    tmp_path: Path, name: str, file: str, format_: str, remedy: str
) -> None:
    (tmp_path / "p1").mkdir()
    _make(name, tmp_path / "p1" / file)
    for path in (tmp_path / "p1", tmp_path / "p1" / file):
        with pytest.raises(InputDataError, match="unsupported format") as caught:
            read_source(path)
        assert caught.value.code == "file-not-understood"
        assert format_ in caught.value.what and remedy in caught.value.mend, str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "name"), [
    ("synthetic", "cohort"), ("real", "cohort"), ("predictions", "prediction"), ("areas", "measurement"),
    ("verification", "verification"), ("export", "export"), ("run", "run"),
])
def test_own_output_directories_are_named(tmp_path: Path, kind: str, name: str) -> None:
    """A directory that this program wrote, given as a patient's images."""
    artifacts.write_text(tmp_path / "cohort" / "slices" / "a.npz", "x")
    _make("PNG", tmp_path / "a.png")
    _make("PNG", tmp_path / "b.png")
    if kind == "run":
        artifacts.write_json(tmp_path / "config.json", {"fingerprint": "f", "config": {}})
    else:
        artifacts.write_manifest(tmp_path, {"kind": kind})
    with pytest.raises(InputDataError, match=f"this is a[n]? {name} directory of bonemet") as caught:
        read_source(tmp_path)
    assert (caught.value.code, caught.value.mend) == ("file-not-understood", "give the patients' images")


def test_manifests_of_others_do_not_make_an_own_directory(tmp_path: Path) -> None:
    for text in ("[1]", "{", '{"facts": 3}', '{"facts": {"kind": ["real"]}}', '{"facts": {"kind": "other"}}'):
        (tmp_path / "manifest.json").write_text(text)
        (tmp_path / "config.json").write_text("[]")
        with pytest.raises(InputDataError, match="no DICOM files"):
            read_source(tmp_path)


def test_nifti_is_never_called_unsupported(tmp_path: Path) -> None:
    """Several volumes next to a file of another kind: NIfTI is read, and what is missing is the name ct.nii.gz."""
    for name in ("a.nii.gz", "b.nii.gz"):
        save_nifti(make_hu(), tmp_path / name)
    _make("NRRD", tmp_path / "c.nrrd")
    with pytest.raises(InputDataError, match=r"no DICOM files and no ct\.nii\.gz"):
        read_source(tmp_path)


def test_masks_of_an_unread_format_are_named(tmp_path: Path) -> None:
    _make("NRRD", tmp_path / "Segmentation.seg.nrrd")
    for path in (tmp_path, tmp_path / "Segmentation.seg.nrrd"):
        with pytest.raises(InputDataError, match="masks of an unsupported format: NRRD") as caught:
            load_masks(path, GRID)
        assert caught.value.code == "mask-missing" and "NIfTI" in caught.value.mend


@pytest.mark.parametrize(("head", "name"), [
    (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07\x00", "RAR"), (b"$FL2@(#)", "SPSS"), (b"<stata_dta>", "Stata"),
    (b"SQLite format 3\0", "SQLite"), (b"<?xml version='1.0'?>", "XML"), (b"PK\x03\x04", "workbook"),
])
def test_tables_of_an_unread_format_are_named(tmp_path: Path, head: bytes, name: str) -> None:
    (tmp_path / "clinical.csv").write_bytes(head + b"\n1,2\n")
    with pytest.raises(InputDataError, match=name) as caught:
        load_clinical(tmp_path / "clinical.csv")
    assert caught.value.code == "csv-workbook"
