"""CT window: Hounsfield units to the stored uint8 picture."""

import numpy as np
from jaxtyping import Num, UInt8

from bonemet_jax import schema


def window_ct(
    hu: Num[np.ndarray, "*shape"], window_hu: tuple[int, int] = schema.CT_WINDOW_HU
) -> UInt8[np.ndarray, "*shape"]:
    """Map a window of Hounsfield units linearly onto 0..255, rounded and clipped.

    The default covers all three tissue ranges (row B1), so no tissue is clipped away.

    Args:
        hu: Hounsfield units, any shape; a numpy or a jax array.
        window_hu: Lowest and highest HU of the window.

    Returns: uint8, same shape and kind of array.
    """
    low, high = window_hu
    grey = (hu.astype(np.float32) - low) * np.float32(255.0 / (high - low))
    return grey.round().clip(0, 255).astype(np.uint8)
