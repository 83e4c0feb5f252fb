"""A folder of single-frame CT files -> a grid and, slice by slice, Hounsfield units in anatomical order.

What is not understood is refused: every rule of RULES names the fact that decides and the remedy.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Int16, Shaped
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.findings import Finding, find
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import Grid

#: The only elements ever read. PatientID is compared within a folder and kept nowhere.
HEADER_TAGS = (
    "SOPClassUID", "Modality", "ImageType", "PatientID", "SeriesInstanceUID", "NumberOfFrames", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "GantryDetectorTilt", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "LossyImageCompression",
)  # fmt: skip
PIXEL_TAGS = (*HEADER_TAGS, "PixelData")
#: Largest component across the axis that still counts as axial (0.6 degrees).
AXIAL_TOLERANCE = 0.01
MAX_TILT_DEG = 0.5
LOSSY_SYNTAXES = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)


@dataclass(frozen=True)
class Rule:
    """A reason to refuse a file."""

    what: str
    mend: str
    is_broken: Callable[[Dataset], object]


def _is_oblique(header: Dataset) -> bool:
    """True unless rows and columns run along x and y, in either order and direction."""
    cosines = np.abs(np.array(header.ImageOrientationPatient, float).reshape(2, 3))
    straight = [np.eye(3)[:2], np.eye(3)[1::-1]]
    return not any(np.allclose(cosines, axes, rtol=0, atol=AXIAL_TOLERANCE) for axes in straight)


def _are_numbers(header: Dataset, name: str, n: int) -> bool:
    """True when the element is there with n finite numbers."""
    value = header.get(name)
    values = np.array([] if value is None or value == "" else value, float).ravel()
    return values.size == n and bool(np.isfinite(values).all())


#: In order: the first broken one is told.
RULES: tuple[Rule, ...] = (
    Rule("not a CT image", "keep only the CT series in the folder", lambda h: h.get("Modality") != "CT"),
    Rule("enhanced multi-frame image", "convert it to one file a slice (dcm2niix or the archive's export)",
         lambda h: h.get("SOPClassUID") == EnhancedCTImageStorage or int(h.get("NumberOfFrames") or 1) > 1),
    Rule("a CT object but no CT image (another SOP class)", "keep only the CT series in the folder",
         lambda h: h.get("SOPClassUID") not in (None, "", CTImageStorage)),
    Rule("localiser (scout) image", "keep only the axial CT series in the folder",
         lambda h: "LOCALIZER" in (h.get("ImageType") or ())),
    Rule("not a plain greyscale image (MONOCHROME2)", "export the original CT series",
         lambda h: h.get("PhotometricInterpretation") != "MONOCHROME2" or h.get("SamplesPerPixel", 1) != 1),
    Rule("pixels are not 8 or 16 bit", "export the original CT series",
         lambda h: h.get("BitsAllocated") not in (8, 16)),
    Rule("pixel values go through a lookup table", "export the series with rescale slope and intercept",
         lambda h: "ModalityLUTSequence" in h),
    Rule("rescale slope or intercept is missing: no Hounsfield units", "export the original CT series",
         lambda h: not (_are_numbers(h, "RescaleSlope", 1) and _are_numbers(h, "RescaleIntercept", 1)
                        and float(h.RescaleSlope) != 0)),
    Rule("pixel values are not in Hounsfield units (rescale type)", "export the original CT series",
         lambda h: h.get("RescaleType") not in (None, "", "HU")),
    Rule("pixel spacing is missing or not positive", "export the series with PixelSpacing",
         lambda h: not (_are_numbers(h, "PixelSpacing", 2) and min(map(float, h.PixelSpacing)) > 0)),
    Rule("slice position or orientation is missing", "export the original axial series",
         lambda h: not (_are_numbers(h, "ImagePositionPatient", 3) and _are_numbers(h, "ImageOrientationPatient", 6))),
    Rule("rows or columns are missing", "export it again",
         lambda h: not (_are_numbers(h, "Rows", 1) and _are_numbers(h, "Columns", 1))),
    Rule("oblique slice", "reconstruct straight axial slices", _is_oblique),
    Rule("tilted gantry", "reconstruct straight axial slices",
         lambda h: abs(float(h.get("GantryDetectorTilt") or 0)) > MAX_TILT_DEG),
)  # fmt: skip


@dataclass(frozen=True)
class DicomStack:
    """One series, sorted from the feet to the head."""

    grid: Grid
    files: tuple[InputFile, ...]
    findings: tuple[Finding, ...]
    axes: tuple[bool, bool, bool]
    tilt_deg: float = 0.0
    is_hu: bool = True
    kind: str = "dicom"

    def load_hu(self, k: int) -> tuple[Int16[np.ndarray, "height width"], tuple[Finding, ...]]:
        """Decode slice k. Returns Hounsfield units, padding as schema.HU_PADDING, and findings."""
        return _load_hu(self.files[k])

    def to_anatomical(self, picture: Shaped[np.ndarray, "rows columns"]) -> Shaped[np.ndarray, "height width"]:
        """A picture drawn on the stored slice, turned as the slice is turned."""
        return _turn(picture, self.axes)


def load_dicom(files: Sequence[InputFile], path: Path, series: int | None = None) -> DicomStack:
    """Read the headers of every file, whatever their names.

    Raises: InputDataError for anything that is not one axial CT series in Hounsfield units.
    """
    headers, n_other = _load_headers(files)
    if not headers:
        raise InputDataError("no DICOM files and no ct.nii.gz found", path, "give the folder of one CT series")
    for file, header in headers:
        check_header(header, file)
    if len({_group(header) for _, header in headers}) > 1:
        raise InputDataError(
            "several series, orientations or image sizes in one folder", path, "give each series its own folder"
        )
    headers.sort(key=lambda item: float(item[1].ImagePositionPatient[2]))
    grid = _make_grid([header for _, header in headers])
    notes = [find("dicom-other-files", f"{n_other} files are not DICOM and were left out")] if n_other else []
    notes += _check_distances(grid, path)
    return DicomStack(grid, tuple(file for file, _ in headers), tuple(notes), _axes(headers[0][1]))


def check_header(header: Dataset, file: InputFile) -> None:
    """Raise InputDataError for the first rule the header breaks."""
    for rule in RULES:
        try:
            is_broken = rule.is_broken(header)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise InputDataError("header values cannot be read", file.where, "export the file again") from error
        if is_broken:
            raise InputDataError(rule.what, file.where, rule.mend)


def _load_headers(files: Sequence[InputFile]) -> tuple[list[tuple[InputFile, Dataset]], int]:
    """Headers of every DICOM file, and the number of other files."""
    headers, n_other = [], 0
    for file in files:
        try:
            headers.append((file, _read(file, HEADER_TAGS)))
        except InvalidDicomError:
            n_other += 1
    return [(file, header) for file, header in headers if file.name != "DICOMDIR"], n_other


def _read(file: InputFile, tags: tuple[str, ...]) -> Dataset:
    with warnings.catch_warnings():
        # pydicom warns of odd values and quotes them; what matters of them is checked by RULES.
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(file.open(), specific_tags=list(tags), stop_before_pixels="PixelData" not in tags)
            for _ in dataset:  # values are converted on access: find damage here
                pass
        except InvalidDicomError:
            raise
        except Exception as error:  # pydicom raises many kinds for a damaged file
            raise InputDataError(f"damaged DICOM file ({type(error).__name__})", file.where, "export it again") from error
    return dataset


def _group(header: Dataset) -> tuple[object, ...]:
    """What all slices of a series share; empty series identifiers happen."""
    return (
        str(header.get("PatientID") or ""), str(header.get("SeriesInstanceUID") or ""), header.Rows, header.Columns,
        tuple(round(float(v), 4) for v in header.ImageOrientationPatient),
        tuple(round(float(v), 5) for v in header.PixelSpacing),
    )  # fmt: skip


def _axes(header: Dataset) -> tuple[bool, bool, bool]:
    """Whether to transpose the stored picture, then flip its rows, then its columns."""
    along_row, along_column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    is_transposed = abs(along_row[0]) < abs(along_row[1])
    if is_transposed:
        along_row, along_column = along_column, along_row
    return bool(is_transposed), bool(along_column[1] < 0), bool(along_row[0] < 0)


def _make_grid(headers: list[Dataset]) -> Grid:
    first = headers[0]
    shape, spacing = [int(first.Rows), int(first.Columns)], [float(v) for v in first.PixelSpacing]
    is_transposed, is_row_flipped, is_column_flipped = _axes(first)
    if is_transposed:
        shape, spacing = shape[::-1], spacing[::-1]
    x, y = (float(v) for v in first.ImagePositionPatient[:2])
    corner_x = x - is_column_flipped * (shape[1] - 1) * spacing[1]
    corner_y = y - is_row_flipped * (shape[0] - 1) * spacing[0]
    z = tuple(float(header.ImagePositionPatient[2]) for header in headers)
    return Grid(shape[0], shape[1], (spacing[0], spacing[1]), (corner_x, corner_y), z)


def _check_distances(grid: Grid, path: Path) -> list[Finding]:
    gaps_mm = np.diff(grid.z_mm)
    if len(gaps_mm) == 0:
        return []
    if gaps_mm.min() < 0.01:
        raise InputDataError(
            "two files at one slice position", path, "give one series (one phase, no copies) its own folder"
        )
    is_uneven = gaps_mm.max() > 1.5 * np.median(gaps_mm)
    return [find("dicom-uneven")] if is_uneven else []


def _load_hu(file: InputFile) -> tuple[Int16[np.ndarray, "height width"], tuple[Finding, ...]]:
    header = _read(file, PIXEL_TAGS)
    stored = _decode(header, file)
    if stored.shape != (header.Rows, header.Columns):
        raise InputDataError("pixel data do not fit rows and columns", file.where, "export it again")
    hu = stored.astype(np.float64) * float(header.RescaleSlope) + float(header.RescaleIntercept)
    hu = np.clip(np.rint(hu), schema.HU_PADDING, np.iinfo(np.int16).max).astype(np.int16)
    if _are_numbers(header, "PixelPaddingValue", 1):
        ends = (int(header.PixelPaddingValue), int(header.get("PixelPaddingRangeLimit", header.PixelPaddingValue)))
        hu[(stored >= min(ends)) & (stored <= max(ends))] = schema.HU_PADDING
    hu = _turn(hu, _axes(header))
    is_lossy = header.get("LossyImageCompression") == "01" or header.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES
    return hu, (find("dicom-lossy"),) if is_lossy else ()


def _turn(picture: np.ndarray, axes: tuple[bool, bool, bool]) -> np.ndarray:
    is_transposed, is_row_flipped, is_column_flipped = axes
    picture = picture.T if is_transposed else picture
    return np.ascontiguousarray(picture[:: -1 if is_row_flipped else 1, :: -1 if is_column_flipped else 1])


def _decode(header: Dataset, file: InputFile) -> np.ndarray:
    syntax = header.file_meta.get("TransferSyntaxUID")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return header.pixel_array
        except Exception as error:  # decoders raise many kinds
            name = getattr(syntax, "name", "no transfer syntax")
            raise InputDataError(
                f"pixel data cannot be decoded ({name}; {type(error).__name__})", file.where,
                "export it uncompressed (Explicit VR Little Endian)",
            ) from error
