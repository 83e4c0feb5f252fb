"""What the field of view cuts off, and arms that lie against the trunk."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int16
from scipy import ndimage
from scipy.spatial import ConvexHull

from bonemet_jax import schema
from data_pipelines.bodycomp.areas import TRUNK_FAT
from data_pipelines.bodycomp.trunk import MIN_ARM_CM2, compute_cut_mm, distance_mm, find_labels
from data_pipelines.findings import Finding, find

Mask = Bool[np.ndarray, "height width"]
Field = Float64[np.ndarray, "height width"]
Hu = Int16[np.ndarray, "height width"]

#: A trunk that lies on so much of the image border, or of the reconstruction circle, merely touches it, mm. A flank
#: bends with a radius of about 70 mm: behind 30 mm of straight border, or 40 mm of the circle, lie at most 2 mm: skin.
TOUCHED_BORDER_MM, TOUCHED_CIRCLE_MM = 30.0, 40.0
#: Outside a reconstruction circle all is one value, air or padding, HU.
EMPTY_BELOW_HU = -900
#: Radius of the circle as a share of the smaller image side. Where air inside has that one value too (clipped, or
#: drawn), nothing shows a circle and only one that fits the image is believed.
CIRCLE_SHARE, FITTED_SHARE, UNIFORM_AIR = (0.4, 0.51), (0.49, 0.51), 0.95
#: An arm that is pressed on the trunk leaves notches before and behind, farther from the midline than its own grooves,
#: mm.
MAX_NOTCH_MM, MIDLINE_MM = 12.0, 40.0
#: So much of the cavity's edge must be cut to lose some of it, mm.
CUT_INSIDE_MM = 10.0
#: The back's muscles reach so far from the trunk's middle, mm.
BACK_MUSCLE_MM = 80.0


@dataclass(frozen=True)
class Cut:
    """Where image border or reconstruction circle cut the trunk."""

    border_mm: float
    """Length of image border under the trunk."""
    circle_mm: float
    """Length of the reconstruction circle under the trunk."""
    edge: Mask
    """Pixels of the trunk on either."""

    @property
    def is_cut(self) -> bool:
        """True where more than the skin may be missing."""
        return self.border_mm > TOUCHED_BORDER_MM or self.circle_mm > TOUCHED_CIRCLE_MM


def compute_cut(hu: Hu | None, trunk: Mask, spacing_mm: tuple[float, float]) -> Cut:
    """Find what the field of view cuts off the trunk; without Hounsfield units, what the image border does."""
    edge = np.zeros_like(trunk)
    for line in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        edge[line] = trunk[line]
    if hu is None:
        return Cut(compute_cut_mm(trunk, spacing_mm), 0.0, edge)
    on_circle, circle_mm = _find_on_circle(hu, trunk, spacing_mm)
    return Cut(compute_cut_mm(trunk, spacing_mm), circle_mm, edge | on_circle)


def judge_cut(
    cut: Cut, trunk: Mask, wall_depth_mm: Field | None, regions: Mapping[int, Mask], spacing_mm: tuple[float, float]
) -> tuple[list[Finding], frozenset[str]]:
    """Findings, and the area columns of which only a part is in view.

    Args:
        cut: where the trunk is cut.
        trunk: true inside the trunk.
        wall_depth_mm: depth below the wall of muscle and ribs; None where none was found.
        regions: tissue code -> region that will be measured.
        spacing_mm: row and column spacing, mm.
    """
    if not cut.edge.any():
        return [], frozenset()
    what = [f"{mm:.0f} mm of {name}" for name, mm in
            (("the image border", cut.border_mm), ("the reconstruction circle", cut.circle_mm)) if mm > 0]  # fmt: skip
    fact = f"{' and '.join(what)} under the trunk"
    if not cut.is_cut:
        return [find("field-touched", fact=fact)], frozenset()
    # The fat ring is the outermost: whatever is cut, it is cut.
    incomplete = {"sfa_cm2", TRUNK_FAT}
    # Where what lies inside the wall is cut, the wall's curve runs along the cut.
    inside = cut.edge if wall_depth_mm is None else cut.edge & (wall_depth_mm > -max(spacing_mm))
    middle_row, middle_column = ndimage.center_of_mass(trunk)
    rows, columns = np.indices(trunk.shape)
    at_back = (rows > middle_row) & (np.abs(columns - middle_column) * spacing_mm[1] < BACK_MUSCLE_MM)
    for name, part in (("vfa_cm2", inside), ("esma_cm2", inside & at_back)):
        if np.count_nonzero(part) * sum(spacing_mm) / 2 > CUT_INSIDE_MM:
            incomplete.add(name)
    incomplete |= {name for name, code in schema.AREA_CODES.items() if code in regions
                   and (regions[code] & cut.edge).any()}  # fmt: skip
    return [find("field-cut", fact=f"{fact}; cut: {', '.join(sorted(incomplete))}")], frozenset(incomplete)


def judge_arms(body: Mask, trunk: Mask, cut: Cut, spacing_mm: tuple[float, float]) -> list[Finding]:
    """A finding where an arm was cut off the trunk it touches, or where one may have been counted with it."""
    pieces, n = ndimage.label(body & ~trunk)
    piece_cm2 = np.bincount(pieces.ravel(), minlength=n + 1) * spacing_mm[0] * spacing_mm[1] / 100
    arms = (find_labels(pieces, n, pieces > 0) & (piece_cm2 >= MIN_ARM_CM2))[pieces]
    contact = trunk & ndimage.binary_dilation(arms)
    if contact.any():
        return [find("field-arm", fact=f"contact over {contact.sum() * sum(spacing_mm) / 2:.0f} mm")]
    notch_mm = 0.0 if cut.is_cut else _compute_notch_mm(trunk, spacing_mm)
    if notch_mm <= MAX_NOTCH_MM:
        return []
    return [find("field-arm", "an arm or a breast lies against the trunk and may be counted with it",
                 f"the trunk's outline has a notch of {notch_mm:.0f} mm, at most {MAX_NOTCH_MM:g}")]


def _compute_notch_mm(trunk: Mask, spacing_mm: tuple[float, float]) -> float:
    """Depth of the deepest notch at the flanks below the outline's convex hull; the grooves on the midline are none."""
    depth_mm = distance_mm(np.pad(_fill_hull(trunk), 1), spacing_mm)[1:-1, 1:-1]
    columns = np.indices(trunk.shape)[1]
    beside_mm = np.abs(columns - columns[trunk].mean()) * spacing_mm[1]
    return float(depth_mm[~trunk & (beside_mm > MIDLINE_MM)].max(initial=0.0))


def _fill_hull(mask: Mask) -> Mask:
    """Pixels whose middle lies in the convex hull of the mask's pixels, for a mask in one piece.

    The hull reaches to the middles of the pixels' edges. In every row it is all that its sides leave over: much faster
    than scikit-image's convex_hull_image, which asks of every pixel, with the same result.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([rows + down, columns + right], axis=1) for columns in (first, last)
                              for down, right in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))])  # fmt: skip
    # Inside a side: down row + right column + offset <= 0. Level sides lie above and below all rows.
    sides = ConvexHull(corners).equations
    down, right, offset = sides[np.abs(sides[:, 1]) > 1e-9].T[:, :, None]
    reach = -(down * rows + offset) / right
    left_end = np.where(right < 0, reach, -np.inf).max(axis=0)[:, None] - 1e-9
    right_end = np.where(right > 0, reach, np.inf).min(axis=0)[:, None] + 1e-9
    hull, columns = np.zeros_like(mask), np.arange(mask.shape[1])
    hull[rows] = (columns >= left_end) & (columns <= right_end)
    return hull


def _find_on_circle(hu: Hu, trunk: Mask, spacing_mm: tuple[float, float]) -> tuple[Mask, float]:
    """Trunk pixels on the reconstruction circle and its length under the trunk, mm; none where there is no circle."""
    height, width = hu.shape
    corners = hu[[0, 0, -1, -1], [0, -1, 0, -1]]
    if (corners != corners[0]).any() or corners[0] > EMPTY_BELOW_HU:
        return np.zeros_like(trunk), 0.0
    down_mm = (np.arange(height)[:, None] - (height - 1) / 2) * spacing_mm[0]
    right_mm = (np.arange(width) - (width - 1) / 2) * spacing_mm[1]
    radius_mm = np.hypot(down_mm, right_mm)
    field = hu != corners[0]
    circle_mm = float(radius_mm[field].max(initial=0.0))
    side_mm = min(height * spacing_mm[0], width * spacing_mm[1])
    air = hu[(hu <= EMPTY_BELOW_HU) & (radius_mm < circle_mm)]
    is_uniform = np.count_nonzero(air == corners[0]) >= UNIFORM_AIR * air.size
    low, high = FITTED_SHARE if is_uniform else CIRCLE_SHARE
    if not low <= circle_mm / side_mm <= high:
        return np.zeros_like(trunk), 0.0
    on_circle = trunk & (radius_mm > circle_mm - 1.5 * max(spacing_mm))
    rows, columns = np.nonzero(on_circle)
    degrees = np.unique(np.degrees(np.arctan2(down_mm[rows, 0], right_mm[columns])).round())
    return on_circle, float(degrees.size * np.radians(1) * circle_mm)
