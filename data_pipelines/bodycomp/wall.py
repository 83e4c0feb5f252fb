"""The outer surface of the muscle and rib wall, from Hounsfield units alone.

A closed curve about the trunk's middle: on every ray it lies where fat under the skin ends and dense tissue begins, and
between neighbouring rays it moves little, so that it spans the gaps between ribs and muscles. It is the best path by
dynamic programming (Amini, Weymouth and Jain, IEEE PAMI 12:855, 1990).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int16
from scipy import ndimage

Mask = Bool[np.ndarray, "height width"]
Field = Float64[np.ndarray, "height width"]
Profiles = Float64[np.ndarray, "ray step"]

# All fixed on phantoms and on the even slices of one abdomen; tests/bodycomp/reference.py evaluates on the odd ones.
N_RAYS = 360
STEP_MM = 1.0
#: So near the surface lies skin: nothing there is the wall.
SKIN_ZONE_MM = 4.5
#: Fat to dense tissue, HU: evidence for the wall grows from none to full.
DENSE_HU = (-80.0, 0.0)
#: Gas of bowel and lung, HU: below. Never outside the wall.
GAS_BELOW_HU = -250.0
#: Fat behind so much dense tissue counts 1/e: it is not under the skin.
BEHIND_MM = 2.0
#: What a move of 1 mm between neighbouring rays costs, in mm of fat given up: gaps of less than twice as many rays
#: (about 30 mm at the flank) are spanned.
BEND_COST = 6.0
#: Skin folds of fewer degrees (SD of a normal curve) leave the curve's shape alone.
OUTLINE_DEG = 8.0
#: Noise is averaged to about this resolution (SD), mm.
SMOOTH_MM = 1.5
#: Deepest wall, as a share of the radius.
DEEPEST = 0.7
#: A wall has dense tissue within so many mm of the curve on so large a share of its rays.
SUPPORT_MM, MIN_SUPPORT = 15.0, 0.6


@dataclass(frozen=True)
class Rays:
    """Rays from the trunk's middle, one a degree, clockwise from the patient's left."""

    row: float
    column: float
    spacing_mm: tuple[float, float]

    @classmethod
    def of(cls, trunk: Mask, spacing_mm: tuple[float, float]) -> "Rays":
        """Rays about the trunk's centre of mass."""
        row, column = np.argwhere(trunk).mean(axis=0).tolist()
        return cls(row, column, spacing_mm)

    def sample(self, values: np.ndarray, radius_mm: Profiles, order: int = 1, outside: float = 0.0) -> Profiles:
        """Values at given radii (ray, step)."""
        angle = np.arange(N_RAYS)[:, None] * (2 * np.pi / N_RAYS)
        rows = self.row + np.sin(angle) * radius_mm / self.spacing_mm[0]
        columns = self.column + np.cos(angle) * radius_mm / self.spacing_mm[1]
        return ndimage.map_coordinates(values.astype(np.float64), (rows, columns), order=order, cval=outside)

    def offsets_mm(self, shape: tuple[int, ...]) -> tuple[Field, Field]:
        """Every pixel's offset to the back and to the left of the middle, mm."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        back, left = (rows - self.row) * self.spacing_mm[0], (columns - self.column) * self.spacing_mm[1]
        return np.broadcast_to(back, shape), np.broadcast_to(left, shape)

    def reach_mm(self, mask: Mask) -> float:
        """Distance from the middle to the farthest pixel of a mask, mm; 0 for an empty one."""
        back, left = self.offsets_mm(mask.shape)
        return float(np.hypot(back[mask], left[mask]).max(initial=0.0))

    def spread(self, radius_mm: Float64[np.ndarray, " ray"], shape: tuple[int, ...]) -> Field:
        """A radius per ray, interpolated to every pixel's angle."""
        closed = np.append(radius_mm, radius_mm[0])
        return np.interp(to_degrees(*self.offsets_mm(shape)), np.arange(N_RAYS + 1) * (360 / N_RAYS), closed)


def to_degrees(back_mm: np.ndarray, left_mm: np.ndarray) -> np.ndarray:
    """Angle of an offset from the middle, 0 to 360."""
    return np.degrees(np.arctan2(back_mm, left_mm)) % 360


def compute_wall_depth(
    hu: Int16[np.ndarray, "height width"], trunk: Mask, skin_depth_mm: Field, spacing_mm: tuple[float, float]
) -> Field | None:
    """Depth below the wall's outer surface, mm, along the rays: positive inside, negative in the fat under the skin.

    Args:
        hu: Hounsfield units.
        trunk: true inside the trunk.
        skin_depth_mm: depth below the skin's surface.
        spacing_mm: row and column spacing, mm.

    Returns: depth, or None where no wall surrounds the trunk (no muscle and no bone in view).
    """
    rays = Rays.of(trunk, spacing_mm)
    smooth_px = [np.sqrt(max(0.0, SMOOTH_MM**2 - (0.6 * mm) ** 2)) / mm for mm in spacing_mm]
    smooth = ndimage.gaussian_filter(np.clip(hu, -1000, 300).astype(np.float64), smooth_px)
    outline_mm = _find_outline(rays, trunk)
    depth = np.arange(-20.0, DEEPEST * outline_mm.max(), STEP_MM)
    radius_mm = outline_mm[:, None] - depth[None]
    values = rays.sample(smooth, radius_mm, outside=-1000.0)
    below_skin = rays.sample(skin_depth_mm, radius_mm) > SKIN_ZONE_MM
    dense = np.interp(values, DENSE_HU, (0.0, 1.0))
    gas = values < GAS_BELOW_HU
    score = _score_depths(dense, gas, below_skin)
    score[radius_mm < 5] = -np.inf
    path = _find_path(score, depth)
    if _support(dense, path) < MIN_SUPPORT:
        return None
    back, left = rays.offsets_mm(hu.shape)
    return rays.spread(outline_mm - depth[path], hu.shape) - np.hypot(back, left)


def _find_outline(rays: Rays, trunk: Mask) -> Float64[np.ndarray, " ray"]:
    """Radius of the trunk's outline, mm, without its small folds."""
    steps = np.arange(0.0, rays.reach_mm(trunk) + 2 * STEP_MM, STEP_MM)
    inside = rays.sample(trunk, np.broadcast_to(steps, (N_RAYS, steps.size)), order=0) > 0
    radius_mm = (steps.size - 1 - inside[:, ::-1].argmax(axis=1)) * STEP_MM
    return ndimage.gaussian_filter1d(radius_mm, OUTLINE_DEG * N_RAYS / 360, mode="wrap")


def _score_depths(dense: Profiles, gas: Bool[np.ndarray, "ray step"], below_skin: np.ndarray) -> Profiles:
    """How well a curve at this depth parts fat under the skin from the rest: mm of fat outside less mm of the rest."""
    rest = dense + gas
    behind_mm = np.cumsum(rest * below_skin, axis=1) * STEP_MM
    fat = (1 - dense) * ~gas * np.exp(-behind_mm / BEHIND_MM)
    score = np.cumsum((fat - dense - 2 * gas) * below_skin, axis=1) * STEP_MM
    return np.where(np.cumsum(below_skin, axis=1) > 0, score, -np.inf)


def _find_path(score: Profiles, depth_mm: Float64[np.ndarray, " step"]) -> Int[np.ndarray, " ray"]:
    """Step on every ray whose total score less the cost of bends is largest; the path closes."""
    bend = BEND_COST * np.abs(depth_mm[:, None] - depth_mm[None])
    score = np.maximum(score, -1e9)
    bests = [score[0]]
    for ray in np.arange(1, 2 * N_RAYS) % N_RAYS:  # twice around: in the middle of it the start is forgotten
        bests.append((bests[-1] - bend).max(axis=1) + score[ray])
    path = [int(bests[-1].argmax())]
    for best in reversed(bests[:-1]):
        path.append(int((best - bend[path[-1]]).argmax()))
    once = np.array(path[::-1])[N_RAYS // 2 : N_RAYS // 2 + N_RAYS]
    return np.roll(once, N_RAYS // 2)


def _support(dense: Profiles, path: Int[np.ndarray, " ray"]) -> float:
    """Share of rays with dense tissue just inside the curve."""
    steps = np.minimum(path[:, None] + np.arange(round(SUPPORT_MM / STEP_MM)), dense.shape[1] - 1)
    return float((np.take_along_axis(dense, steps, axis=1).max(axis=1) > 0.5).mean())
