"""Padding inside the trunk: pixels without a measured value where the patient is."""

import numpy as np
from jaxtyping import Bool, Int16
from scipy import ndimage

from bonemet_jax import schema
from data_pipelines.bodycomp.trunk import distance_mm, find_box, find_labels

Mask = Bool[np.ndarray, "height width"]

#: Gas is surrounded by gas or by its blurred edge; padding that replaces tissue borders on it directly, HU.
TISSUE_ABOVE_HU = -500
#: A region borders on tissue where so much of what surrounds it is tissue.
MIN_TISSUE = 0.7
#: Beside the skin, noise of the air around reaches the padding value too: only larger regions count there, mm and cm2.
SKIN_MM, MIN_AT_SKIN_CM2 = 5.0, 0.5


def count_padding(hu: Int16[np.ndarray, "height width"], trunk: Mask, spacing_mm: tuple[float, float]) -> int:
    """Number of padding pixels in the trunk, or on its edge, that replace tissue.

    Padding joined to the image's edge is the outside of the reconstruction circle. Gas as low as the padding value is
    none: gas surrounds it.

    Args: hu in Hounsfield units, padding as schema.HU_PADDING; trunk: true inside; spacing_mm of row and column, mm.
    """
    regions, n = ndimage.label(hu <= schema.HU_PADDING, np.ones((3, 3)))
    edge = np.ones_like(trunk)
    edge[1:-1, 1:-1] = False
    near = ndimage.binary_dilation(trunk)
    is_large = np.bincount(regions.ravel()) * spacing_mm[0] * spacing_mm[1] / 100 >= MIN_AT_SKIN_CM2
    inner = find_labels(regions, n, distance_mm(trunk, spacing_mm) > SKIN_MM) | (find_labels(regions, n, near) & is_large)
    inner &= ~find_labels(regions, n, edge)
    if not inner.any():
        return 0
    box = find_box(near, spacing_mm, 2 * max(spacing_mm))
    hu, regions = hu[box], regions[box]
    # Each neighbouring pixel belongs to the region whose number is largest there: regions are a pixel apart at least.
    around = np.where(regions == 0, ndimage.maximum_filter(np.where(inner[regions], regions, 0), 3), 0)
    n_around = np.bincount(around.ravel(), minlength=n + 1)
    n_tissue = np.bincount(around[hu > TISSUE_ABOVE_HU], minlength=n + 1)
    replaces = inner & (n_tissue >= MIN_TISSUE * np.maximum(n_around, 1))
    return int(np.bincount(regions.ravel(), minlength=n + 1)[replaces].sum())
