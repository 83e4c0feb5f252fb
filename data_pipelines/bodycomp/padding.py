"""Padding inside the trunk: pixels without a measured value where the patient is."""

import itertools

import numpy as np
from jaxtyping import Bool, Float64, Int, Int16
from scipy import ndimage

from bonemet_jax import schema
from data_pipelines.bodycomp.trunk import compute_trunk, dilate, distance_mm, find_labels

Mask = Bool[np.ndarray, "height width"]
Hu = Int16[np.ndarray, "height width"]

#: Gas is surrounded by gas or by its blurred edge; padding that replaces tissue borders on it directly, HU.
TISSUE_ABOVE_HU = -500
#: A region replaces tissue where so much of what surrounds it is tissue; of a region of at least so many cm2, half.
MIN_TISSUE, MIN_LARGE_CM2, MIN_TISSUE_LARGE = 0.7, 0.5, 0.5
#: Gas has noise: a region that contains a circle of this radius is padding, whatever surrounds it, mm.
SOLID_MM = 3.0
#: Next to the skin, noise of the air around reaches the padding value too: only large regions count there, mm.
SKIN_MM = 5.0


def count_padding(hu: Hu, spacing_mm: tuple[float, float]) -> int:
    """Number of padding pixels that replace tissue of the trunk.

    Padding joined to the image's edge is the outside of the reconstruction circle. Single pixels of gas as low as the
    padding value are none: gas surrounds them.

    Args: hu in Hounsfield units, padding as schema.HU_PADDING; spacing_mm of row and column, mm.
    """
    regions, n = ndimage.label(hu <= schema.HU_PADDING, np.ones((3, 3)))
    edge = np.ones(hu.shape, bool)
    edge[1:-1, 1:-1] = False
    is_large = np.bincount(regions.ravel()) * spacing_mm[0] * spacing_mm[1] / 100 >= MIN_LARGE_CM2
    share = _compute_tissue_around(regions, n, hu > TISSUE_ABOVE_HU)
    is_solid = find_labels(regions, n, distance_mm(regions > 0, spacing_mm) > SOLID_MM)
    found = is_solid | (share >= np.where(is_large, MIN_TISSUE_LARGE, MIN_TISSUE))
    found &= ~find_labels(regions, n, edge)
    found[0] = False
    if not found.any():
        return 0
    # With so many holes the trunk might not be found: they are filled first.
    trunk = compute_trunk(np.where(found[regions], np.int16(0), hu), spacing_mm)
    is_inner = find_labels(regions, n, distance_mm(trunk, spacing_mm) > SKIN_MM)
    is_at_skin = find_labels(regions, n, dilate(trunk, max(spacing_mm), spacing_mm)) & is_large
    found &= is_inner | is_at_skin
    return int(np.count_nonzero(found[regions]))


def _compute_tissue_around(
    regions: Int[np.ndarray, "height width"], n: int, tissue: Mask
) -> Float64[np.ndarray, " region"]:
    """Share of tissue among the pixels around each region 0..n."""
    n_around, n_tissue = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    at = np.nonzero(regions)
    own, padded, soft = regions[at], np.pad(regions, 1), np.pad(tissue, 1)
    for down, right in itertools.product(range(3), repeat=2):
        neighbour = at[0] + down, at[1] + right
        is_outside = padded[neighbour] == 0
        n_around += np.bincount(own[is_outside], minlength=n + 1)
        n_tissue += np.bincount(own[is_outside & soft[neighbour]], minlength=n + 1)
    return n_tissue / np.maximum(n_around, 1)
