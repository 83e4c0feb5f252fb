"""The tissue label map of a slice: from regions where there are some, from Hounsfield units where there are none."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int16, UInt8

from bonemet_jax import schema

#: Where two regions claim a pixel the later one here has it: muscle is drawn most closely, visceral fat most loosely.
PRECEDENCE = (schema.TISSUE_VAT, schema.TISSUE_SAT, schema.TISSUE_ESM)


def label_tissue(
    hu: Int16[np.ndarray, "height width"],
    trunk: Bool[np.ndarray, "height width"],
    regions: Mapping[int, Bool[np.ndarray, "height width"]],
    *,
    find_fat: bool = True,
) -> UInt8[np.ndarray, "height width"]:
    """Tissue codes of the schema.

    Args:
        hu: Hounsfield units.
        trunk: true inside the trunk.
        regions: tissue code -> region; what lies outside the trunk, as fat of the arms does, is left out. Without
            any fat region, the trunk's fat becomes TISSUE_FAT_UNSEGMENTED: Hounsfield units alone cannot tell
            subcutaneous from visceral fat (row B1).
        find_fat: false where `hu` holds grey levels: nothing is called fat by its value.
    """
    tissue = np.full(hu.shape, schema.TISSUE_NONE, np.uint8)
    if find_fat and schema.TISSUE_SAT not in regions and schema.TISSUE_VAT not in regions:
        low, high = schema.HU_RANGES["subcutaneous_fat"]
        tissue[trunk & (hu >= low) & (hu <= high)] = schema.TISSUE_FAT_UNSEGMENTED
    for code in PRECEDENCE:
        if code in regions:
            tissue[regions[code] & trunk] = code
    return tissue
