"""Shell: a synthetic cohort as DICOM, one folder a patient, as a clinic would hand it over: to try `ingest` on."""

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import UsageError
from data_pipelines.canonical import CanonicalSlice, load_slice

PATIENTS, CLINICAL = "patients", "clinical.csv"
#: Stored value 0 in Hounsfield units.
INTERCEPT_HU = -1024
_KIND = "synthetic-dicom"
_MEASURED = {*schema.AREA_CODES, *schema.INDEX_OF_AREA}


def save_dicom_cohort(cohort: Path, out: Path) -> None:
    """Write patients/<patient_id>/slice.dcm and clinical.csv (every column that ingest does not measure).

    Args:
        cohort: synthetic cohort directory.
        out: directory to write; an earlier one of this kind is replaced. Equal cohorts give equal bytes.

    Raises: UsageError when `out` holds something else.
    """
    _check_free(out)
    table = artifacts.load_table(cohort / "cohort.parquet")
    with artifacts.atomic_dir(out) as partial:
        for patient, name in zip(table[schema.PATIENT_ID], table[schema.SLICE_ID], strict=True):
            image = load_slice(cohort / "slices" / f"{name}.npz")
            buffer = io.BytesIO()
            make_dicom(image, patient).save_as(buffer, enforce_file_format=True)
            artifacts.write_bytes(partial / PATIENTS / patient / "slice.dcm", buffer.getvalue())
        told = table.drop(columns=[schema.SLICE_ID, *(name for name in table if name in _MEASURED)])
        artifacts.write_text(partial / CLINICAL, told.to_csv(index=False))
        artifacts.write_manifest(partial, {"kind": _KIND, "n": len(table)})


def make_dicom(image: CanonicalSlice, patient_id: str) -> FileDataset:
    """One plain CT image: rows to the patient's left, columns to the back, 16 bit signed, uncompressed.

    Its centre lies at x = y = z = 0 mm. Identifiers are made from the patient_id.
    """
    uids = [generate_uid(entropy_srcs=[patient_id, part]) for part in ("study", "series", "image")]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uids[2]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, uids[2]
    header.StudyInstanceUID, header.SeriesInstanceUID = uids[:2]
    header.Modality, header.ImageType = "CT", ["DERIVED", "PRIMARY", "AXIAL"]
    header.Manufacturer, header.PatientID, header.PatientName = "bonemet_jax phantom", patient_id, "Synthetic^Phantom"
    row_mm, column_mm = image.spacing_mm
    height, width = image.hu.shape
    header.ImagePositionPatient = [-(width - 1) / 2 * column_mm, -(height - 1) / 2 * row_mm, 0.0]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = [row_mm, column_mm], 5.0
    header.Rows, header.Columns = height, width
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 1, INTERCEPT_HU, "HU"
    header.PixelData = (image.hu.astype(np.int32) - INTERCEPT_HU).astype("<i2").tobytes()
    return header


def _check_free(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    manifest = out / artifacts.MANIFEST
    facts = artifacts.load_json(manifest).get("facts", {}) if manifest.is_file() else {}
    if facts.get("kind") != _KIND:
        raise UsageError("output folder holds files that are no synthetic DICOM", out, "name a new or empty folder")
