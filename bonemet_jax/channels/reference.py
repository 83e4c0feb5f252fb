"""LBP and HOG by scikit-image: the reference backend, used where records are written.

Runs on numpy arrays, one image at a time; scikit-image is imported when first called.
"""

import numpy as np
from jaxtyping import Float32, UInt8, UInt32

from bonemet_jax import schema
from bonemet_jax.channels.hog_picture import line_stencil


def compute_lbp(image: UInt8[np.ndarray, "height width"]) -> UInt32[np.ndarray, "height width"]:
    """24-bit LBP codes, radius 3, 24 points, method "default" (row C2)."""
    from skimage.feature import local_binary_pattern

    code = local_binary_pattern(image, schema.LBP_POINTS, schema.LBP_RADIUS, method="default")
    return code.astype(np.uint32)


def compute_hog_picture(image: UInt8[np.ndarray, "height width"]) -> np.ndarray:
    """scikit-image's HOG picture, grey levels (row C1)."""
    # PAPER: the released code feeds float32(image) / 255; only pixels on bin edges move, so one record serves both.
    from skimage.feature import hog

    _, picture = hog(
        image, schema.HOG_ORIENTATIONS, (schema.HOG_CELL, schema.HOG_CELL), (1, 1), visualize=True, feature_vector=False
    )
    return picture


def compute_hog_histogram(
    image: UInt8[np.ndarray, "height width"],
) -> Float32[np.ndarray, "cells_r cells_c orientation"]:
    """Cell histograms behind scikit-image's HOG picture, before any normalisation, grey levels.

    Its public `hog` returns the picture and normalised features only. Each orientation's line crosses pixels of its
    cell that no other line touches; the picture there is that orientation's bin, exactly.
    """
    stencil = line_stencil()
    alone = stencil * (stencil.sum(axis=0) == 1)
    rows, columns = np.array([np.argwhere(line)[0] for line in alone]).T
    cells_r, cells_c = image.shape[0] // schema.HOG_CELL, image.shape[1] // schema.HOG_CELL
    picture = compute_hog_picture(image)[: cells_r * schema.HOG_CELL, : cells_c * schema.HOG_CELL]
    tiles = picture.reshape(cells_r, schema.HOG_CELL, cells_c, schema.HOG_CELL)
    # Two integer-array axes apart from each other move to the front: (orientation, cells_r, cells_c).
    return np.moveaxis(tiles[:, rows, :, columns], 0, -1).astype(np.float32)


def compute_hog_flips(
    image: UInt8[np.ndarray, "height width"],
) -> Float32[np.ndarray, "4 cells_r cells_c orientation"]:
    """Cell histograms of the image and its flips, in schema.HOG_FLIPS order."""
    return np.stack([compute_hog_histogram(_flip(image, *flip)) for flip in schema.HOG_FLIPS])


def _flip(image: np.ndarray, vertical: bool, horizontal: bool) -> np.ndarray:
    return np.ascontiguousarray(image[:: -1 if vertical else 1, :: -1 if horizontal else 1])
