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
        hu: Hounsfield units, any shape; a numpy or a jax array of integers or real floats. Infinities are clipped.
        window_hu: Lowest and highest HU of the window.

    Returns: uint8, same shape and kind of array.

    Raises: ValueError for values that are no real numbers, NaN in a numpy array (in a jax array it gives any grey
        level), or a window that does not rise.
    """
    low, high = window_hu
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"window_hu is {window_hu}, wanted the lowest and the highest HU")
    if hu.dtype.kind not in "iuf":
        raise ValueError(f"hu has dtype {hu.dtype}, wanted integers or real floating point")
    if isinstance(hu, np.ndarray) and hu.dtype.kind == "f" and np.isnan(hu).any():
        raise ValueError("hu holds NaN: a pixel without Hounsfield units has no grey level")
    grey = (hu.astype(np.float32) - low) * np.float32(255.0 / (high - low))
    return grey.round().clip(0, 255).astype(np.uint8)
