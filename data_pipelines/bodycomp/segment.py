"""Subcutaneous fat, visceral fat and paraspinal muscle from one slice's Hounsfield units, without a network."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int16
from scipy import ndimage

from data_pipelines.bodycomp.cavity import find_outside_cavity
from data_pipelines.bodycomp.trunk import dilate, distance_mm, find_labels
from data_pipelines.bodycomp.wall import Rays, compute_wall_depth

Mask = Bool[np.ndarray, "height width"]
Field = Float64[np.ndarray, "height width"]
Hu = Int16[np.ndarray, "height width"]

#: Fat of any kind, HU: the wider of the paper's ranges. Each tissue's own range applies when areas are counted.
FAT_HU = (-190, -30)
# PAPER: skin of 2 to 3 mm is no fat. A pixel is skin when its middle lies shallower; the trunk begins where -300 HU are
# passed, about 0.2 mm below the true surface.
SKIN_MM = 1.8
#: Fat so little below the wall's curve is still under the skin, mm: the curve bends less than the muscles do.
TOLERANCE_MM = 3.0
#: Pockets of fat in the back that end in muscle, mm deep: between muscles; in the groove over the spine, within so many
#: mm of the midline.
POCKET_MM, GROOVE_MM, GROOVE_WITHIN_MM = 12.0, 25.0, 30.0
#: Edges of gas, below, have fat's values without being fat: so near to it, mm, lies the wall of bowel or lung.
GAS_BELOW_HU, GAS_EDGE_MM = -190, 2.0
#: Fat no deeper below the wall's surface lies between muscles, mm; smaller islands are noise, stool or marrow, cm2.
WALL_MM, MIN_ISLAND_CM2 = 12.0, 0.5


# PAPER: readers draw both regions by hand and say nothing of fat between muscles: it is in neither here.
@dataclass(frozen=True)
class Segmentation:
    """Regions found; inside them Hounsfield ranges decide."""

    subcutaneous_fat: Mask
    """From below the skin to the wall of muscle and ribs."""
    visceral_fat: Mask
    """Fat inside the wall, in which ribs and the muscles of the back are not."""
    wall_depth_mm: Field
    """Depth below the wall's outer surface: positive inside."""


def segment_fat(hu: Hu, trunk: Mask, spacing_mm: tuple[float, float]) -> Segmentation | None:
    """Tell subcutaneous from visceral fat.

    Args:
        hu: Hounsfield units, anatomical.
        trunk: true inside the trunk.
        spacing_mm: row and column spacing, mm.

    Returns: regions, or None where no wall is found.
    """
    skin_depth_mm = distance_mm(trunk, spacing_mm) - sum(spacing_mm) / 4  # from the pixels' edge, not their middle
    wall_depth_mm = compute_wall_depth(hu, trunk, skin_depth_mm, spacing_mm)
    if wall_depth_mm is None:
        return None
    back_mm, left_mm = Rays.of(trunk, spacing_mm).offsets_mm(hu.shape)
    fat = trunk & (hu >= FAT_HU[0]) & (hu <= FAT_HU[1])
    under_skin = trunk & (skin_depth_mm > SKIN_MM)
    subcutaneous = under_skin & ((wall_depth_mm <= 0) | (fat & (wall_depth_mm <= TOLERANCE_MM)))
    below = fat & (wall_depth_mm > TOLERANCE_MM)
    groove = (back_mm > 0) & (np.abs(left_mm) < GROOVE_WITHIN_MM)
    for zone, deepest_mm in ((groove, GROOVE_MM), (back_mm > 0, POCKET_MM)):
        subcutaneous |= _find_pockets(below & zone & ~subcutaneous, subcutaneous & fat, wall_depth_mm, deepest_mm)
    inner = below & ~subcutaneous & ~_near_gas(hu, trunk, spacing_mm)
    inner &= ~find_outside_cavity(inner, hu, trunk, wall_depth_mm, spacing_mm)
    return Segmentation(subcutaneous, _drop_islands(inner, wall_depth_mm, spacing_mm), wall_depth_mm)


def _find_pockets(fat: Mask, known: Mask, depth_mm: Field, deepest_mm: float) -> Mask:
    """Pieces of fat that touch the fat known and end within a depth."""
    pieces, n = ndimage.label(fat)
    if not n:
        return fat
    keep = find_labels(pieces, n, ndimage.binary_dilation(known)) & ~find_labels(pieces, n, depth_mm > deepest_mm)
    return keep[pieces]


def _near_gas(hu: Hu, trunk: Mask, spacing_mm: tuple[float, float]) -> Mask:
    gas = trunk & (hu < GAS_BELOW_HU)
    reach_mm = max(GAS_EDGE_MM, 1.01 * max(spacing_mm))
    return dilate(gas, reach_mm, spacing_mm)


def _drop_islands(fat: Mask, depth_mm: Field, spacing_mm: tuple[float, float]) -> Mask:
    islands, n = ndimage.label(fat)
    if not n:
        return fat
    area_cm2 = np.bincount(islands.ravel()) * spacing_mm[0] * spacing_mm[1] / 100
    keep = find_labels(islands, n, depth_mm > WALL_MM) & (area_cm2 >= MIN_ISLAND_CM2)
    return keep[islands]
