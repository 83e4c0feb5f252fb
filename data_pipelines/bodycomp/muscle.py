"""The erector spinae, from Hounsfield units with the vertebra's label as help."""

import numpy as np
from jaxtyping import Bool, Float64, Int16
from scipy import ndimage

from data_pipelines.bodycomp.trunk import dilate, distance_mm, find_labels, largest
from data_pipelines.bodycomp.wall import SMOOTH_MM

Mask = Bool[np.ndarray, "height width"]
Field = Float64[np.ndarray, "height width"]

# Fixed on the even slices of one abdomen and three slices of another (tests/bodycomp/reference.py).
MUSCLE_HU = (-29, 150)
#: Bone of spine and ribs, HU; ribs lie so near the wall's surface, mm.
BONE_ABOVE_HU, RIB_WITHIN_MM = 200, 35.0
#: Farthest edge of the muscle from the midline, mm; nearer than the second value only the spinous process is bone.
FARTHEST_MM, SPINOUS_MM = 70.0, 10.0
#: Layers thinner than twice this are other muscles: latissimus dorsi, serratus, trapezius. mm
THIN_MM = 7.0
#: Muscles and their sheaths that cover it behind, mm.
COVER_MM = 5.0
#: One side of the muscle, cm2: smaller is none, larger is more than this muscle.
MIN_SIDE_CM2, MAX_SIDE_CM2 = 2.0, 60.0


def segment_muscle(
    hu: Int16[np.ndarray, "height width"],
    trunk: Mask,
    wall_depth_mm: Field,
    vertebra: Mask,
    spacing_mm: tuple[float, float],
) -> Mask | None:
    """Muscle behind the vertebra and its ribs, left and right of the spinous process.

    Args:
        hu: Hounsfield units, anatomical.
        trunk: true inside the trunk.
        wall_depth_mm: depth below the wall's outer surface.
        vertebra: the vertebra's label on this slice; its middle gives the midline.
        spacing_mm: row and column spacing, mm.

    Returns: the muscle, both sides; None where a side is not found or its size is no erector spinae's.
    """
    if not vertebra.any():
        return None
    left_mm = (np.indices(hu.shape)[1] - np.nonzero(vertebra)[1].mean()) * spacing_mm[1]
    front = _find_front(hu, trunk, wall_depth_mm, vertebra, left_mm[0])
    if front is None:
        return None
    smooth_px = [np.sqrt(max(0.0, SMOOTH_MM**2 - (0.6 * mm) ** 2)) / mm for mm in spacing_mm]
    smooth = ndimage.gaussian_filter(np.clip(hu, -200, 400).astype(np.float64), smooth_px)
    behind = np.indices(hu.shape)[0] > front[None]
    allowed = trunk & behind & (wall_depth_mm > COVER_MM) & (np.abs(left_mm) < FARTHEST_MM)
    allowed &= (smooth >= MUSCLE_HU[0]) & (smooth <= MUSCLE_HU[1])
    core = distance_mm(allowed, spacing_mm) > THIN_MM
    sides = [_grow(core & side, allowed & side, spacing_mm) for side in (left_mm < 0, left_mm > 0)]
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] / 100
    if not all(MIN_SIDE_CM2 <= side.sum() * pixel_cm2 <= MAX_SIDE_CM2 for side in sides):
        return None
    return np.logical_or.reduce(sides)


def _find_front(
    hu: np.ndarray, trunk: Mask, wall_depth_mm: Field, vertebra: Mask, left_mm: Float64[np.ndarray, " width"]
) -> Float64[np.ndarray, " width"] | None:
    """Row behind which the muscle lies, column by column: the back of ribs and transverse processes."""
    lower_half = np.arange(hu.shape[0])[:, None] > ndimage.center_of_mass(trunk)[0]
    bones, n = ndimage.label(trunk & (hu > BONE_ABOVE_HU) & lower_half, np.ones((3, 3)))
    bone = (find_labels(bones, n, wall_depth_mm < RIB_WITHIN_MM) | find_labels(bones, n, vertebra))[bones]
    beside = np.abs(left_mm)
    known = bone.any(axis=0) & (beside >= SPINOUS_MM) & (beside <= FARTHEST_MM + 15)
    if known.sum() < 2:
        return None
    columns = np.arange(hu.shape[1])
    last = hu.shape[0] - 1 - bone[::-1].argmax(axis=0)
    front = np.interp(columns, columns[known], last[known])
    middle = beside < SPINOUS_MM
    front[middle] = front[middle].min()
    return front


def _grow(core: Mask, allowed: Mask, spacing_mm: tuple[float, float]) -> Mask:
    """The largest piece of the core, grown back to its size."""
    piece = largest(core)
    return dilate(piece, THIN_MM, spacing_mm) & allowed
