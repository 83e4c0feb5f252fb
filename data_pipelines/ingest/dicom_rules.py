"""Which DICOM frames are axial CT in Hounsfield units: a table of rules, each naming the fact that decides."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage

from bonemet_jax.errors import InputDataError
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.dicom_header import MULTI_FRAME_CLASSES, Frame

#: Angle to the axial plane that is rounding, and the largest one that is still measured (its cosine is 0.996), degrees.
STRAIGHT_DEG, MAX_TILT_DEG = 0.6, 5.0
#: Beyond this a plane is sagittal or coronal, not a tilted axial one, degrees.
AXIAL_DEG = 45.0
#: Largest departure of the cosines from two perpendicular unit vectors.
COSINE_TOLERANCE = 0.01
#: Largest picture, pixels: the largest CT matrix there is has 2048 x 2048.
MAX_PIXELS = 4096 * 4096
#: A field of view of 500 mm in 128 pixels has 4 mm.
MAX_SPACING_MM = 5.0
CT_CLASSES = (CTImageStorage, *MULTI_FRAME_CLASSES)
#: Values a message may repeat; any other could be somebody's free text.
TOLD_VALUES: dict[str, tuple[str, ...]] = {
    "Modality": ("CR", "DX", "ECG", "MG", "MR", "NM", "OT", "PR", "PT", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT",
                 "SC", "SEG", "SR", "US", "XA"),
    "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422",
                                  "YBR_ICT", "YBR_RCT"),
    "RescaleType": ("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"),
    "ModalityLUTType": ("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"),
}  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """How a picture lies in the patient."""

    normal: np.ndarray
    """Unit vector across the slices, towards the head."""
    tilt_deg: float
    """Angle between the slice and the axial plane."""
    turn_deg: float
    """Angle in the plane between rows or columns and the patient's left-right axis."""


def compute_plane(header: Dataset) -> Plane:
    """From ImageOrientationPatient. Raises: ValueError unless it holds two perpendicular unit vectors."""
    cosines = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    if not np.allclose(cosines @ cosines.T, np.eye(2), rtol=0, atol=COSINE_TOLERANCE):
        raise ValueError("no two perpendicular unit vectors")
    normal = np.cross(cosines[0], cosines[1])
    normal *= math.copysign(1.0, normal[2]) / np.linalg.norm(normal)
    tilt_deg = math.degrees(math.acos(min(1.0, normal[2])))
    along = np.sort(np.abs(cosines[0, :2]))
    return Plane(normal, tilt_deg, math.degrees(math.atan2(*along)))


def is_numbers(header: Dataset, name: str, n: int) -> bool:
    """True when the element is there with n finite numbers."""
    value = header.get(name)
    values = np.array([] if value is None or value == "" else value, float).ravel()
    return values.size == n and bool(np.isfinite(values).all())


def tell(header: Dataset, name: str) -> str:
    """Element and value, if the value is a number or from a closed list."""
    value = header.get(name)
    if value is None or value == "":
        return f"{name} absent"
    if name in TOLD_VALUES:
        return f"{name} {value}" if value in TOLD_VALUES[name] else f"{name} of another kind"
    return f"{name} {value:g}" if isinstance(value, int | float) else f"{name} of another kind"


@dataclass(frozen=True)
class Rule:
    """A reason to refuse a frame."""

    code: str
    is_broken: Callable[[Dataset], object]
    fact: Callable[[Dataset], str]


def _tell_class(header: Dataset) -> str:
    uid = header.get("SOPClassUID")
    is_known = isinstance(uid, UID) and uid.name != uid
    return f"SOPClassUID {uid.name}" if is_known else "SOPClassUID of another kind"


def _has_table(header: Dataset) -> bool:
    return "ModalityLUTSequence" in header


def _is_orientation_missing(header: Dataset) -> bool:
    if not is_numbers(header, "ImageOrientationPatient", 6):
        return True
    try:
        compute_plane(header)
    except ValueError:
        return True
    return False


def _tilt_tag_deg(header: Dataset) -> float:
    return abs(float(header.get("GantryDetectorTilt") or 0.0))


def _is_count(header: Dataset, name: str) -> bool:
    """True for one whole number from 1."""
    value = header.get(name)
    return isinstance(value, int) and value > 0


def _are_bits_odd(header: Dataset) -> bool:
    if not (_is_count(header, "BitsAllocated") and _is_count(header, "BitsStored")):
        return True
    allocated, stored = header.BitsAllocated, header.BitsStored
    return (
        allocated not in (8, 16) or stored > allocated or header.get("HighBit", stored - 1) != stored - 1
        or header.get("PixelRepresentation") not in (0, 1)
    )  # fmt: skip


def _tell_bits(header: Dataset) -> str:
    return ", ".join(tell(header, name) for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"))


#: In order: the first broken one is told.
RULES: tuple[Rule, ...] = (
    Rule("dicom-not-ct", lambda h: h.get("Modality") != "CT", lambda h: tell(h, "Modality")),
    Rule("dicom-other-class", lambda h: h.get("SOPClassUID") not in (None, "", *CT_CLASSES), _tell_class),
    Rule("dicom-frames",
         lambda h: int(h.get("NumberOfFrames") or 1) > 1 and h.get("SOPClassUID") not in MULTI_FRAME_CLASSES,
         lambda h: tell(h, "NumberOfFrames")),
    Rule("dicom-localiser", lambda h: "LOCALIZER" in (h.get("ImageType") or ()), lambda h: "ImageType LOCALIZER"),
    Rule("dicom-no-image", lambda h: not (_is_count(h, "Rows") and _is_count(h, "Columns")),
         lambda h: f"{tell(h, 'Rows')}, {tell(h, 'Columns')}"),
    Rule("dicom-too-large", lambda h: h.Rows * h.Columns > MAX_PIXELS, lambda h: f"{h.Rows} x {h.Columns} pixels"),
    Rule("dicom-not-grey", lambda h: h.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2")
         or h.get("SamplesPerPixel", 1) != 1,
         lambda h: f"{tell(h, 'PhotometricInterpretation')}, {tell(h, 'SamplesPerPixel')}"),
    Rule("dicom-bits", _are_bits_odd, _tell_bits),
    Rule("dicom-not-hu", lambda h: h.get("RescaleType") not in (None, "", "HU"), lambda h: tell(h, "RescaleType")),
    Rule("dicom-lookup-table", lambda h: _has_table(h) and (
             h.ModalityLUTSequence[0].get("ModalityLUTType") != "HU" or "RescaleSlope" in h),
         lambda h: "RescaleSlope beside ModalityLUTSequence" if "RescaleSlope" in h
         else tell(h.ModalityLUTSequence[0], "ModalityLUTType")),
    Rule("dicom-no-slope", lambda h: not _has_table(h) and not (
             is_numbers(h, "RescaleSlope", 1) and is_numbers(h, "RescaleIntercept", 1) and float(h.RescaleSlope) > 0),
         lambda h: ", ".join(tell(h, name) for name in ("RescaleSlope", "RescaleIntercept"))),
    Rule("dicom-no-spacing", lambda h: not (is_numbers(h, "PixelSpacing", 2) and min(map(float, h.PixelSpacing)) > 0),
         lambda h: "PixelSpacing not two positive numbers" if h.get("PixelSpacing") else "PixelSpacing absent"),
    Rule("dicom-spacing", lambda h: max(map(float, h.PixelSpacing)) > MAX_SPACING_MM,
         lambda h: f"PixelSpacing {max(map(float, h.PixelSpacing)):g} mm, at most {MAX_SPACING_MM:g}"),
    Rule("dicom-no-position", lambda h: not is_numbers(h, "ImagePositionPatient", 3),
         lambda h: "ImagePositionPatient not three numbers" if h.get("ImagePositionPatient")
         else "ImagePositionPatient absent"),
    Rule("dicom-no-orientation", _is_orientation_missing,
         lambda h: "ImageOrientationPatient not two perpendicular unit vectors" if h.get("ImageOrientationPatient")
         else "ImageOrientationPatient absent"),
    Rule("dicom-not-axial", lambda h: compute_plane(h).tilt_deg > AXIAL_DEG,
         lambda h: f"ImageOrientationPatient: {compute_plane(h).tilt_deg:.1f} degrees from axial"),
    Rule("dicom-tilt-large", lambda h: compute_plane(h).tilt_deg > MAX_TILT_DEG,
         lambda h: f"ImageOrientationPatient: {compute_plane(h).tilt_deg:.1f} degrees from axial, "
                   f"limit {MAX_TILT_DEG:g}"),
    Rule("dicom-turned", lambda h: compute_plane(h).turn_deg > STRAIGHT_DEG,
         lambda h: f"ImageOrientationPatient: turned by {compute_plane(h).turn_deg:.1f} degrees in the plane"),
    # The cosines decide: the standard (PS3.3, C.8.2.1) gives the tilt as nominal, not for computation. Where it
    # contradicts them by more than is measured at all, one of the two is wrong and areas could be too large.
    Rule("dicom-tilt-contradicts", lambda h: abs(_tilt_tag_deg(h) - compute_plane(h).tilt_deg) > MAX_TILT_DEG,
         lambda h: f"GantryDetectorTilt {_tilt_tag_deg(h):g}, ImageOrientationPatient "
                   f"{compute_plane(h).tilt_deg:.1f} degrees"),
)  # fmt: skip


def _tell_unreadable(header: Dataset) -> str:
    """The element that should hold numbers, or one number, and does not."""
    for name in ("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "GantryDetectorTilt"):
        try:
            float(header.get(name) or 0)
        except (ValueError, TypeError):
            return f"{name} is not one number"
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        try:
            is_numbers(header, name, 1)
        except (ValueError, TypeError):
            return f"{name} holds no numbers"
    return "a value of another kind"


def check_frame(frame: Frame) -> None:
    """Raise InputDataError for the first rule the header breaks."""
    for rule in RULES:
        try:
            is_broken = rule.is_broken(frame.header)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise refusal("dicom-value", frame.file.where, fact=_tell_unreadable(frame.header)) from error
        if is_broken:
            raise refusal(rule.code, frame.file.where, fact=rule.fact(frame.header))


def judge_frame(frame: Frame) -> list[Finding]:
    """What is accepted and told."""
    header, where, findings = frame.header, frame.file.where, []
    tilt_deg = compute_plane(header).tilt_deg
    if tilt_deg > STRAIGHT_DEG:
        findings.append(find("dicom-tilt", fact=f"ImageOrientationPatient: {tilt_deg:.1f} degrees", where=where))
    if abs(_tilt_tag_deg(header) - tilt_deg) > STRAIGHT_DEG:
        fact = f"GantryDetectorTilt {_tilt_tag_deg(header):g}, ImageOrientationPatient {tilt_deg:.1f} degrees"
        findings.append(find("dicom-tilt-tag", fact=fact, where=where))
    if header.PhotometricInterpretation == "MONOCHROME1":
        # Says how to show values, not what they are: rescaled they are Hounsfield units all the same (PS3.3, C.7.6.3).
        findings.append(find("dicom-inverted", fact="PhotometricInterpretation MONOCHROME1", where=where))
    if not frame.is_syntax_told:
        findings.append(find("dicom-no-syntax", fact="TransferSyntaxUID absent", where=where))
    return findings


def rank_of(error: InputDataError) -> int:
    """How far down the rules a refusal lies: the further, the nearer the file was to being usable.

    A file too damaged for the rules may have been the CT: it comes after those that are none.
    """
    codes = [rule.code for rule in RULES]
    return codes.index(error.code) if error.code in codes else codes.index("dicom-other-class") + 1
