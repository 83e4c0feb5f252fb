"""The four input channels of one slice as pictures, drawn by scikit-image on the slice's own grid (rows C1, C2, D2)."""

import numpy as np
from jaxtyping import Integer

from bonemet_jax import schema
from bonemet_jax.channels.window import window_ct


def make_channel_pictures(
    hu: Integer[np.ndarray, "height width"], tissue: Integer[np.ndarray, "height width"]
) -> dict[str, np.ndarray]:
    """Title -> picture (height, width): for looking at; the network's own channels come from the records."""
    from skimage.feature import hog, local_binary_pattern

    image = window_ct(hu)
    _, picture = hog(image, orientations=schema.HOG_ORIENTATIONS, pixels_per_cell=(schema.HOG_CELL, schema.HOG_CELL),
                     cells_per_block=(1, 1), visualize=True)
    return {
        "CT": image,
        "LBP": local_binary_pattern(image, schema.LBP_POINTS, schema.LBP_RADIUS, method="default"),
        "HOG": picture,
        "Fat mask": np.isin(tissue, schema.FAT_CODES),
    }
