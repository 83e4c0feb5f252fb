"""A NIfTI header's two affines: compared with each other and with placeholders."""

from collections.abc import Iterator, Sequence
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float64
from nibabel.quaternions import mat2quat, quat2mat
from nibabel.spatialimages import HeaderDataError

from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import UNIT_TOLERANCE

Affine = Float64[np.ndarray, "4 4"]

#: Pixel and slice spacings of CT are well inside, mm.
SPACING_MM = (0.05, 20.0)
#: qform and sform are equal where no corner of the volume is farther apart, voxels. Single precision adds its own
#: rounding, of so many units in the last place of the largest coordinate.
SAME_VOXEL, ROUNDING_ULP = 1e-3, 8
#: The header stores three of a quaternion's four components. Rounding leaves the square of the fourth uncertain by so
#: much: of volumes turned by nearly 180 degrees, as most CT is stored, the angle by up to 0.1 degree.
QUATERNION_SLACK = 1e-6
#: An origin this near to a corner or to the middle counts from 0 or from 1, voxels.
ORIGIN_VOXELS = 1.0
#: In the middle of the volume by rounding alone, voxels: a CT's field of view is often centred within its slices.
MIDDLE_VOXELS = 0.01
#: The standard's code of a unit of length -> its name and mm.
_UNITS = {0: ("unknown", 1.0), 1: ("m", 1000.0), 2: ("mm", 1.0), 3: ("um", 0.001)}


def load_affine(header: Any, shape: Sequence[int], file: InputFile) -> tuple[Affine, list[Finding]]:
    """Voxel to patient coordinates (right, front, head), mm, and warnings.

    Raises: InputDataError for no orientation, two that contradict each other, or a voxel size that is no CT's.
    """
    known = _load_forms(header, file)
    if len(known) > 1:
        _check_equal(known[0], header, shape, file)
    unit = int(header["xyzt_units"]) & 0x7  # the bits above are the unit of time
    if unit not in _UNITS:
        raise refusal("nifti-spacing", file.where, fact=f"xyzt_units {unit}")
    name, unit_mm = _UNITS[unit]
    affine = np.diag([unit_mm] * 3 + [1.0]) @ known[0]
    low, high = SPACING_MM
    sizes = compute_sizes(affine)
    if not ((sizes >= low) & (sizes <= high)).all():
        raise refusal("nifti-spacing", file.where,
                      fact=f"voxel of {' x '.join(f'{size:.4g}' for size in sizes)} mm, {low:g} to {high:g} each")
    return affine, [find("nifti-units", fact=f"xyzt_units {name}", where=file.where)] if unit_mm != 1.0 else []


def compute_sizes(affine: Affine) -> Float64[np.ndarray, "3"]:
    """Voxel size along each axis, mm."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def has_unit_pixels(canonical: Affine) -> bool:
    """True where the pixels of a slice measure 1.000 x 1.000 mm."""
    return bool(np.abs(compute_sizes(canonical)[:2] - 1).max() < UNIT_TOLERANCE)


def describe_placeholder(canonical: Affine, shape: tuple[int, int, int]) -> str:
    """Why an affine is a placeholder; empty where it is none.

    An identity, whatever axes it permutes or flips: pixels of 1 mm along the patient's axes, and the patient's zero at
    a corner of the slice (as numpy.eye(4), or a reader's default, leaves it) or, with voxels of 1 mm, in the middle of
    the volume (as Analyze's default does).
    """
    axes = canonical[:3, :3] / compute_sizes(canonical)
    if not has_unit_pixels(canonical) or np.abs(axes - np.eye(3)).max() > UNIT_TOLERANCE:
        return ""
    first, n = canonical[:3, 3], np.array(shape) - 1
    at_corner = np.minimum(np.abs(first), np.abs(first + n)) <= ORIGIN_VOXELS
    in_middle = np.abs(first + n / 2) <= ORIGIN_VOXELS
    if at_corner[:2].all():
        return "1 mm pixels, origin at a corner of the volume"
    if in_middle.all() and shape[2] > 1 and abs(canonical[2, 2] - 1) < UNIT_TOLERANCE:
        return "1 mm voxels, origin in the middle of the volume"
    return ""


def describe_zero_origin(canonical: Affine, shape: tuple[int, int, int]) -> str:
    """Why an affine gives no place in the patient, with pixels of any size; empty where it does, or may.

    The patient's zero is at a corner of the slice, or exactly in the middle of the volume along all three axes.
    """
    sizes = compute_sizes(canonical)
    if np.abs(canonical[:3, :3] / sizes - np.eye(3)).max() > UNIT_TOLERANCE:
        return ""
    first, n = canonical[:3, 3] / sizes, np.array(shape) - 1
    if (np.minimum(np.abs(first), np.abs(first + n))[:2] <= ORIGIN_VOXELS).all():
        return "origin at a corner of the slice"
    if shape[2] > 1 and (np.abs(first + n / 2) <= MIDDLE_VOXELS).all():
        return "origin in the middle of the volume"
    return ""


def _load_forms(header: Any, file: InputFile) -> list[Affine]:
    """The forms that the header codes: sform first, as readers prefer it."""
    try:
        forms = [header.get_sform(coded=True), header.get_qform(coded=True)]
    except (HeaderDataError, ValueError) as error:  # nibabel raises either for such a quaternion
        raise refusal("nifti-two-orientations", file.where, fact="qform and sform: quaternion longer than 1") from error
    known = [np.asarray(form, float) for form, code in forms if form is not None and code > 0]
    if not known:
        raise refusal("nifti-no-orientation", file.where, fact="qform_code 0, sform_code 0")
    if not all(np.isfinite(form).all() and abs(np.linalg.det(form[:3, :3])) > 1e-12 for form in known):
        raise refusal("nifti-spacing", file.where, fact="voxel size 0 or not finite")
    return known


def _check_equal(sform: Affine, header: Any, shape: Sequence[int], file: InputFile) -> None:
    """Raise InputDataError unless both forms put the corners of the volume at the same places."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in shape[:3]), 1]
    places = sform @ corners.T
    slack_mm = ROUNDING_ULP * np.finfo(np.float32).eps * np.abs(places[:3]).max()
    to_voxels, off_mm = np.linalg.inv(sform[:3, :3]), []
    for wanted in (sform, _drop_shear(sform)):
        for qform in _iter_qforms(header, wanted):
            apart = ((qform - wanted) @ corners.T)[:3]
            allowed = SAME_VOXEL + slack_mm * np.abs(to_voxels).max()
            if np.abs(to_voxels @ apart).max() <= allowed:
                return
            off_mm.append(float(np.linalg.norm(apart, axis=0).max()))
    raise refusal("nifti-two-orientations", file.where, fact=f"qform and sform: {min(off_mm):.3g} mm apart at a corner")


def _drop_shear(affine: Affine) -> Affine:
    """The affine with the nearest rotation: a qform cannot hold the shear of a tilted gantry."""
    sizes = compute_sizes(affine)
    left, _, right = np.linalg.svd(affine[:3, :3] / sizes)
    straight = affine.copy()
    straight[:3, :3] = left @ right * sizes
    return straight


def _iter_qforms(header: Any, wanted: Affine) -> Iterator[Affine]:
    """The qform as nibabel reads it and, of those that round to the same numbers, the one nearest to `wanted`."""
    nominal = np.asarray(header.get_qform(), float)
    yield nominal
    handed = -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    scale = compute_sizes(nominal) * [1, 1, handed]
    stored = np.array([header[f"quatern_{name}"] for name in "bcd"], float)
    fourth, *rest = mat2quat(wanted[:3, :3] / compute_sizes(wanted) * [1, 1, handed])
    fourth *= 1.0 if stored @ rest >= 0 else -1.0
    square = 1.0 - stored @ stored
    low, high = (np.sqrt(max(0.0, square + slack)) for slack in (-QUATERNION_SLACK, QUATERNION_SLACK))
    nearest = nominal.copy()
    nearest[:3, :3] = quat2mat([np.clip(fourth, low if low > 0 else -high, high), *stored]) * scale
    yield nearest


def make_canonical(affine: Affine, shape: Sequence[int]) -> tuple[Affine, tuple[int, int, int]]:
    """Affine and shape (x, y, z) once axes point right, front, head."""
    turn = nib.io_orientation(affine)
    n = dict(zip(turn[:, 0].astype(int).tolist(), shape[:3], strict=True))
    return affine @ nib.orientations.inv_ornt_aff(turn, shape[:3]), (n[0], n[1], n[2])
