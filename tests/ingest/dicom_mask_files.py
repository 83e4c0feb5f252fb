"""Small SEG and RTSTRUCT objects on the grid of the made-up patient, written by highdicom and pydicom."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from tests.ingest.conftest import GRID, SPACING_MM, Z_MM, make_dicom, save_dicom

FRAME = "1.2.3.77"
Polygon = Sequence[tuple[float, float]]


def make_series(hu: np.ndarray, folder: Path) -> list[FileDataset]:
    """A CT series with what highdicom asks of its sources."""
    slices = [make_dicom(one, k) for k, one in enumerate(hu)]
    for k, one in enumerate(slices):
        one.StudyInstanceUID, one.FrameOfReferenceUID = "1.2.3.70", FRAME
        one.PatientBirthDate, one.PatientSex, one.AccessionNumber = "", "", ""
        one.StudyID, one.StudyDate, one.StudyTime, one.ReferringPhysicianName = "", "", "", ""
        one.InstanceNumber, one.SliceThickness, one.PositionReferenceIndicator = k + 1, 5.0, ""
        save_dicom(one, folder / f"{k}.dcm")
    return slices


def make_seg(
    sources: Sequence[FileDataset], regions: Mapping[str, np.ndarray], kind: str = "BINARY", code: str = ""
) -> Dataset:
    """A segmentation: label -> (slice, row, column); `code` is the SNOMED CT code of every segment."""
    hd = pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    described = [
        hd.seg.SegmentDescription(
            segment_number=number, segment_label=label,
            segmented_property_category=hd.sr.CodedConcept("91723000", "SCT", "Anatomical Structure"),
            segmented_property_type=hd.sr.CodedConcept(code or "85756007", "SCT", "x"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        ) for number, label in enumerate(regions, start=1)
    ]  # fmt: skip
    pixels = np.stack(list(regions.values()), -1)
    if kind == "LABELMAP":
        pixels = (pixels * np.arange(1, len(regions) + 1)).max(-1)
    return hd.seg.Segmentation(
        source_images=list(sources), pixel_array=pixels.astype(np.float32 if kind == "FRACTIONAL" else np.uint8),
        segment_descriptions=described, segmentation_type=hd.seg.SegmentationTypeValues[kind],
        series_instance_uid=hd.UID(), series_number=9, sop_instance_uid=hd.UID(), instance_number=1, manufacturer="x",
        manufacturer_model_name="x", software_versions="1", device_serial_number="0",
    )  # fmt: skip


def make_rtstruct(rois: Mapping[str, Sequence[tuple[int, Polygon]]], kind: str = "CLOSED_PLANAR") -> FileDataset:
    """A structure set: name -> (slice, polygon in pixels: column, row of pixel centres)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, FRAME
        dataset.StructureSetROISequence.append(roi)
        drawn = Dataset()
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for k, polygon in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(polygon)
            contour.ContourData = [
                f"{value:.10g}" for x, y in polygon
                for value in (GRID.corner_mm[0] + x * SPACING_MM[1], GRID.corner_mm[1] + y * SPACING_MM[0], Z_MM[k])
            ]  # fmt: skip
            drawn.ContourSequence.append(contour)
        dataset.ROIContourSequence.append(drawn)
    return dataset


def save(dataset: pydicom.Dataset, file: Path) -> Path:
    """Write and return the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
    return file
