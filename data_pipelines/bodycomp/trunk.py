"""The trunk from Hounsfield units alone: the patient without table and arms."""

import numpy as np
from jaxtyping import Bool, Float64, Int, Int16
from scipy import ndimage

#: Tissue is denser than this, HU: half-way between air and fat, below lung-free tissue's noise.
TISSUE_ABOVE_HU = -300
#: Things thinner than twice this are no body: table top, sheets, cables, tubes. mm
THIN_MM = 4.0
#: A bridge narrower than twice this holds no trunk together: an arm that touches it. mm
BRIDGE_MM = 15.0
#: What hangs on such a bridge is an arm when it is so large, cm2, and holds so much bone, HU and cm2; else it is a fold
#: of the trunk.
MIN_ARM_CM2, BONE_ABOVE_HU, MIN_ARM_BONE_CM2 = 10.0, 250, 1.0

Mask = Bool[np.ndarray, "height width"]


def compute_trunk(
    hu: Int16[np.ndarray, "height width"], spacing_mm: tuple[float, float], above: float = TISSUE_ABOVE_HU
) -> Mask:
    """True inside the trunk, lungs and bowel gas included; table and arms left out. All false when there is no body.

    Args: hu in Hounsfield units; spacing_mm of row and column, mm; above: the value that parts tissue from air.
    """
    return cut_arms(hu, compute_body(hu, spacing_mm, above), spacing_mm)


def cut_arms(hu: Int16[np.ndarray, "height width"], body: Mask, spacing_mm: tuple[float, float]) -> Mask:
    """The trunk of a body: without arms that lie against it."""
    core = _find_core(body, BRIDGE_MM, spacing_mm)
    pieces, n = ndimage.label(body & ~core)
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] / 100
    piece_cm2 = np.bincount(pieces.ravel(), minlength=n + 1) * pixel_cm2
    bone_cm2 = np.bincount(pieces[hu > BONE_ABOVE_HU], minlength=n + 1) * pixel_cm2
    arms = ((piece_cm2 >= MIN_ARM_CM2) & (bone_cm2 >= MIN_ARM_BONE_CM2))[pieces] & (pieces > 0)
    # Skin folds sharper than the core are body too.
    return _fill(largest(body & ~arms & dilate(core, BRIDGE_MM, spacing_mm)))


def compute_body(
    hu: Int16[np.ndarray, "height width"], spacing_mm: tuple[float, float], above: float = TISSUE_ABOVE_HU
) -> Mask:
    """The trunk and what lies against it."""
    return _fill(_find_core(hu > above, THIN_MM, spacing_mm))


def compute_cut_mm(trunk: Mask, spacing_mm: tuple[float, float]) -> float:
    """Length of the image border the trunk lies on, mm: above zero, the field of view cuts the patient."""
    row_mm, column_mm = spacing_mm
    return float((trunk[0].sum() + trunk[-1].sum()) * column_mm + (trunk[:, 0].sum() + trunk[:, -1].sum()) * row_mm)


def _find_core(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float]) -> Mask:
    """The largest part of the mask that stays in one piece when the radius is shaved off, grown back to its size."""
    return dilate(largest(distance_mm(mask, spacing_mm) > radius_mm), radius_mm, spacing_mm)


def dilate(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float]) -> Mask:
    """The mask and what lies no farther from it, middle to middle."""
    box, near = find_box(mask, spacing_mm, radius_mm), np.zeros_like(mask)
    if mask.any():
        near[box] = distance_mm(~mask[box], spacing_mm) <= radius_mm
    return near


def distance_mm(mask: Mask, spacing_mm: tuple[float, float]) -> Float64[np.ndarray, "height width"]:
    """Distance of every pixel of the mask to the nearest pixel outside it, middle to middle, mm."""
    # One pixel around the mask is enough: what lies farther out is no nearer.
    box, distance = find_box(mask, spacing_mm), np.zeros(mask.shape)
    distance[box] = ndimage.distance_transform_edt(mask[box], sampling=spacing_mm)
    return distance


def find_box(mask: Mask, spacing_mm: tuple[float, float], margin_mm: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of a mask, with a margin and one pixel more as far as the image goes; all for an empty mask."""
    if not mask.any():
        return np.s_[:, :]
    ends = []
    for axis, mm in enumerate(spacing_mm):
        at, more = np.flatnonzero(mask.any(axis=1 - axis)), int(margin_mm / mm) + 1
        ends.append(slice(max(0, int(at[0]) - more), int(at[-1]) + more + 1))
    return ends[0], ends[1]


def find_labels(labels: Int[np.ndarray, "height width"], n: int, where: Mask) -> Bool[np.ndarray, " label"]:
    """Which of the labels 0..n lie on a place, at least with one pixel; 0, the background, never."""
    found = np.zeros(n + 1, bool)
    found[labels[where]] = True
    found[0] = False
    return found


def largest(mask: Mask) -> Mask:
    """The largest piece of a mask."""
    labels, n = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if n else mask


def _fill(mask: Mask) -> Mask:
    """Without holes; lung or bowel that the image border cuts open is one too."""
    closed = np.pad(mask, 2)
    ring = closed[1:-1, 1:-1]
    for frame, line in ((ring[0], ring[1]), (ring[-1], ring[-2]),
                        (ring[:, 0], ring[:, 1]), (ring[:, -1], ring[:, -2])):  # fmt: skip
        at = np.flatnonzero(line)
        if at.size:
            frame[at[0] : at[-1] + 1] = True
    outside = ndimage.label(~closed)[0]
    return (outside != outside[0, 0])[2:-2, 2:-2]
