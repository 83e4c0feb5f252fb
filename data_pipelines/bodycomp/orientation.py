"""The side of the trunk on which the spine is: posterior, unless the header's axes are wrong.

The spine distinguishes neither left from right nor, on one slice, head from feet: a mirrored picture passes.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int16
from scipy import ndimage

from data_pipelines.bodycomp.trunk import compute_cut_mm, dilate, distance_mm, find_box

Mask = Bool[np.ndarray, "height width"]
Hu = Int16[np.ndarray, "height width"]
Side = Literal["posterior", "anterior", "right", "left", "lengthwise"]

#: Bone counts from the first value on and in full from the second, HU.
BONE_HU = (150, 350)
#: Ribs, sternum and what is implanted in the chest wall are so near to the skin, mm.
RIM_MM = 20.0
#: Where the vertebra is: distance from the middle of the trunk's box towards its side, and off that axis, as shares of
#: half the box.
TOWARDS, ACROSS = (0.2, 0.8), 0.2
#: Contrast agent fills wide, even areas, bone none: no farther from the mean than this within a window, HU and mm.
EVEN_HU, WINDOW_MM, POOL_MM = 45.0, 6.0, 4.0
#: Where the highest value is below, a picture's window cuts bone off, and even areas of that value may be bone, HU.
WHITE_HU = 1000
#: So much bone is a vertebra, cm2, and so small a share of it on the posterior side is none there.
MIN_BONE_CM2, MAX_POSTERIOR = 1.0, 0.3
#: Of a smaller trunk, or one cut along more than this share of its box, nothing is concluded, cm2.
MIN_TRUNK_CM2, MAX_CUT = 100.0, 0.2
#: A smaller trunk, as a child's, is enlarged to this size first: so the lengths and areas here scale with it, cm2.
FULL_TRUNK_CM2 = 300.0
#: A trunk that leaves the picture at two opposite borders, and at them alone, at so large a share of its width or
#: depth, is cut lengthwise; at the flanks, which a small field of view cuts too, only where no vertebra is in the
#: middle, cm2, or bone goes on to both sides nearly as densely.
THROUGH, NO_VERTEBRA_CM2, COLUMN = (0.6, 0.8), 0.5, 0.85


def find_spine(hu: Hu, trunk: Mask, spacing_mm: tuple[float, float]) -> tuple[Side | None, str]:
    """Side of the trunk with the spine, None where the slice does not show it; and the figures that decide.

    Lengthwise is a spine, or a trunk, that runs through the picture as on a coronal or sagittal one. Figures are cm2 of
    a trunk of at least FULL_TRUNK_CM2.

    Args:
        hu: Hounsfield units, anatomical by the header.
        trunk: true inside the trunk.
        spacing_mm: row and column spacing, mm.
    """
    through, is_partial = _find_through(trunk), is_cut(trunk, spacing_mm)
    trunk_cm2 = float(trunk.sum()) * spacing_mm[0] * spacing_mm[1] / 100
    enlarged = max(1.0, math.sqrt(FULL_TRUNK_CM2 / max(trunk_cm2, MIN_TRUNK_CM2)))
    spacing_mm = spacing_mm[0] * enlarged, spacing_mm[1] * enlarged
    box = find_box(trunk, spacing_mm)
    hu, trunk = hu[box], trunk[box]
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] / 100
    bone = _weigh_bone(hu, trunk, spacing_mm) * pixel_cm2
    back, left = np.meshgrid(*(np.linspace(-1, 1, n) for n in trunk.shape), indexing="ij")
    cm2: dict[Side, float] = {
        side: float(bone[(towards >= TOWARDS[0]) & (towards <= TOWARDS[1]) & (np.abs(across) <= ACROSS)].sum())
        for side, towards, across in (
            ("posterior", back, left), ("anterior", -back, left), ("right", -left, back), ("left", left, back),
        )
    }  # fmt: skip
    fact = f"bone {', '.join(f'{side} {area:.1f}' for side, area in cm2.items())} cm2"
    posterior, best = cm2["posterior"], max(cm2, key=lambda side: cm2[side])
    lateral = min(float(bone[(back > 0) & (sign * left > 2 * ACROSS)].sum()) for sign in (-1, 1))
    lateral *= 2 * ACROSS / (1 - 2 * ACROSS)
    if through == "rows" or (through == "columns" and posterior < max(NO_VERTEBRA_CM2, lateral / COLUMN)):
        return "lengthwise", f"the trunk runs from border to border, {fact}"
    if cm2[best] < MIN_BONE_CM2 or trunk_cm2 < MIN_TRUNK_CM2 or is_partial:
        return None, fact
    return best if best == "posterior" or posterior < MAX_POSTERIOR * cm2[best] else None, fact


def is_cut(trunk: Mask, spacing_mm: tuple[float, float]) -> bool:
    """True where the picture's border cuts so much of the trunk that its spine may be outside."""
    size = trunk[find_box(trunk, spacing_mm)].shape
    return compute_cut_mm(trunk, spacing_mm) > MAX_CUT * 2 * float(np.dot(size, spacing_mm))


def _find_through(trunk: Mask) -> Literal["rows", "columns"] | None:
    """Axis along which the trunk leaves the picture at both ends, and at no other border."""
    front, back, right, left = (int(line.sum()) for line in (trunk[0], trunk[-1], trunk[:, 0], trunk[:, -1]))
    width, depth = int(trunk.any(axis=0).sum()), int(trunk.any(axis=1).sum())
    if min(front, back) >= max(1.0, THROUGH[0] * width) and right == left == 0:
        return "rows"
    return "columns" if min(right, left) >= max(1.0, THROUGH[1] * depth) and front == back == 0 else None


def _weigh_bone(hu: Hu, trunk: Mask, spacing_mm: tuple[float, float]) -> Float64[np.ndarray, "height width"]:
    """0 to 1 by density, deep in the trunk, without areas as even as contrast agent and metal."""
    low, high = BONE_HU
    deep = trunk & (distance_mm(trunk, spacing_mm) > RIM_MM)
    bone = np.where(deep, np.clip((hu.astype(np.float64) - low) / (high - low), 0, 1), 0.0)
    values = np.clip(hu, -200, 1000).astype(np.float64)
    size = [max(3, round(WINDOW_MM / mm) | 1) for mm in spacing_mm]
    mean = ndimage.uniform_filter(values, size)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(values**2, size) - mean**2, 0.0))
    even = deep & (mean > low) & (spread < EVEN_HU)
    even &= (hu < hu.max()) | (hu.max() > WHITE_HU)
    return np.where(dilate(even, POOL_MM, spacing_mm), 0.0, bone)
