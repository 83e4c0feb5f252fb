"""Small DICOM and NIfTI files of a made-up patient."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from data_pipelines.ingest.dicom import DicomStack, load_dicom
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.grid import Grid

HEIGHT, WIDTH, N_SLICES = 60, 80, 5
SPACING_MM = (4.0, 3.0)
Z_MM = tuple(-100.0 + 5.0 * k for k in range(N_SLICES))


def make_hu() -> np.ndarray:
    """(slice, row, column) in anatomical order: a trunk, with a bright mark on its right front that breaks symmetry."""
    y, x = np.indices((HEIGHT, WIDTH)).astype(float)
    trunk = ((y - 30) * 4 / 90) ** 2 + ((x - 40) * 3 / 100) ** 2 <= 1
    inner = ((y - 30) * 4 / 70) ** 2 + ((x - 40) * 3 / 80) ** 2 <= 1
    hu = np.full((N_SLICES, HEIGHT, WIDTH), -1000, np.int16)
    hu[:, 0, 0] = -1001  # air of one value all around would be taken for the outside of a reconstruction circle
    hu[:, trunk] = -100
    hu[:, inner] = 40
    hu[:, 18:22, 24:30] = 400
    hu += np.arange(N_SLICES, dtype=np.int16)[:, None, None]
    return hu


GRID = Grid(HEIGHT, WIDTH, SPACING_MM, (-118.5, -118.0), Z_MM)


def make_dicom(hu: np.ndarray, k: int = 0) -> FileDataset:
    """One plain CT file of slice k: rows to the left, columns to the back, as most scanners write."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"1.2.3.{k + 1}"
    header.Modality, header.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.PatientID, header.PatientName, header.SeriesInstanceUID = "canary^id", "canary^name", "1.2.3"
    header.ImagePositionPatient = [*GRID.corner_mm, Z_MM[k]]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = list(SPACING_MM)
    header.Rows, header.Columns = hu.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, -1024, "HU"
    header.PixelData = (hu + 1024).astype("<i2").tobytes()
    return header


def save_dicom(header: pydicom.Dataset, file: Path) -> None:
    """Write with the file meta information."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(file, enforce_file_format=True)


def load_stack(path: Path, series: int | None = None, acquisition: int | None = None) -> DicomStack:
    """The DICOM series of a folder, an archive or a file."""
    return load_dicom(find_files(path), path, series, acquisition)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers start as on a machine of one core: starting one takes longer than these small patients."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)


@pytest.fixture
def dicom_folder(tmp_path: Path) -> Path:
    """A series whose file names are in no useful order."""
    hu = make_hu()
    for k, name in enumerate(["9", "IM.dcm", "a b", "0001.bak", "sub/x"]):
        save_dicom(make_dicom(hu[k], k), tmp_path / "007" / name)
    return tmp_path / "007"


def save_nifti(volume: np.ndarray, file: Path, grid: Grid = GRID) -> None:
    """Write a (slice, row, column) volume of anatomical order as RAS NIfTI."""
    row_mm, column_mm = grid.spacing_mm
    _, n_y, n_x = volume.shape
    affine = np.diag([column_mm, row_mm, 5.0, 1.0])
    affine[:3, 3] = (-grid.corner_mm[0] - column_mm * (n_x - 1), -grid.corner_mm[1] - row_mm * (n_y - 1), grid.z_mm[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(volume.transpose(2, 1, 0)[::-1, ::-1]), affine), file)


@pytest.fixture
def nifti_folder(tmp_path: Path) -> Path:
    """ct.nii.gz with masks/: T11 largest on slice 3, T12 below, subcutaneous fat, no visceral fat, half a muscle."""
    hu = make_hu()
    hu[:, 0, 0] += 1  # not the very image of dicom_folder
    folder = tmp_path / "patient_b"
    save_nifti(hu, folder / "ct.nii.gz")
    t11, t12 = np.zeros_like(hu, np.uint8), np.zeros_like(hu, np.uint8)
    for k, (n_t11, n_t12) in enumerate([(0, 9), (2, 8), (5, 3), (9, 0), (4, 0)]):
        t11[k, 40, 20:20 + n_t11] = 1
        t12[k, 40, 20:20 + n_t12] = 1
    fat = (hu < -50) & (hu > -150)
    masks = {"vertebrae_T11": t11, "vertebrae_T12": t12, "subcutaneous_fat": fat, "autochthon_left": t11}
    for name, mask in masks.items():
        save_nifti(mask.astype(np.uint8), folder / "masks" / f"{name}.nii.gz")
    return folder
