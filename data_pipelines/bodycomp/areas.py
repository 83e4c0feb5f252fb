"""Tissue areas and indices of a canonical slice (rows B1 and B2)."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.canonical import CanonicalSlice

#: Tissue code -> name of its Hounsfield range in schema.HU_RANGES.
# PAPER: names no range for fat that is not told apart; the wider one, that of subcutaneous fat, holds both.
HU_RANGE_OF_CODE: dict[int, str] = {
    schema.TISSUE_SAT: "subcutaneous_fat",
    schema.TISSUE_VAT: "visceral_fat",
    schema.TISSUE_ESM: "muscle",
    schema.TISSUE_FAT_UNSEGMENTED: "subcutaneous_fat",
}
FAT_UNSEGMENTED = "fat_unsegmented_cm2"


def compute_counted(image: CanonicalSlice, code: int) -> Bool[np.ndarray, "height width"]:
    """Pixels that count for a tissue: inside its region and inside its Hounsfield range, both ends included."""
    low, high = schema.HU_RANGES[HU_RANGE_OF_CODE[code]]
    return (image.tissue == code) & (image.hu >= low) & (image.hu <= high)


def compute_areas_cm2(image: CanonicalSlice) -> dict[str, float]:
    """Areas of erector spinae, subcutaneous and visceral fat, cm2 (rows B1, B2).

    Returns: esma_cm2, sfa_cm2, vfa_cm2, and fat_unsegmented_cm2 when the slice has such fat. A tissue whose region
    the slice does not have was not segmented: its area is NaN. Zero is a measurement: a region without one pixel in
    range.
    """
    codes = dict(schema.AREA_CODES)
    if (image.tissue == schema.TISSUE_FAT_UNSEGMENTED).any():
        codes[FAT_UNSEGMENTED] = schema.TISSUE_FAT_UNSEGMENTED
    return {
        name: float(compute_counted(image, code).sum() * image.pixel_cm2) if (image.tissue == code).any() else math.nan
        for name, code in codes.items()
    }


def compute_indices(areas: Mapping[str, float], height_m: float) -> dict[str, float]:
    """Indices esmi, sfi, vfi: area / height^2, cm2/m2 (row B2); NaN where area or height is missing.

    Raises: InputDataError when the height cannot be one in metres.
    """
    if not math.isnan(height_m) and not 0.5 < height_m < 2.6:
        raise InputDataError(f"body height {height_m:g} m is out of range", schema.HEIGHT, "give metres, 0.5 to 2.6")
    return {index: areas[area] / height_m**2 for index, area in schema.INDEX_OF_AREA.items()}
