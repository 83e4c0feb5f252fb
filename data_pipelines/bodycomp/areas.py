"""Tissue areas and indices of a canonical slice (rows B1 and B2)."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from bonemet_jax import schema
from bonemet_jax.errors import UsageError
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import refusal

#: Tissue code -> name of its Hounsfield range in schema.HU_CONVENTIONS.
# PAPER: names no range for fat that is not told apart; the wider one, that of subcutaneous fat, holds both.
HU_RANGE_OF_CODE: dict[int, str] = {
    schema.TISSUE_SAT: "subcutaneous_fat",
    schema.TISSUE_VAT: "visceral_fat",
    schema.TISSUE_ESM: "muscle",
    schema.TISSUE_FAT_UNSEGMENTED: "subcutaneous_fat",
}
#: All fat of the trunk: subcutaneous, visceral and between muscles.
TRUNK_FAT = "trunk_fat_cm2"


def get_range(code: int, convention: str = "paper") -> tuple[int, int]:
    """Inclusive Hounsfield range of a tissue.

    Raises: UsageError for a convention that schema.HU_CONVENTIONS does not have.
    """
    if convention not in schema.HU_CONVENTIONS:
        raise UsageError(f"no such HU convention: {convention}", "--convention",
                         f"use {' or '.join(schema.HU_CONVENTIONS)}")
    return schema.HU_CONVENTIONS[convention][HU_RANGE_OF_CODE[code]]


def compute_counted(image: CanonicalSlice, code: int, convention: str = "paper") -> Bool[np.ndarray, "height width"]:
    """Pixels that count for a tissue: inside its region and, both ends included, inside its Hounsfield range.

    In grey levels the whole region counts.
    """
    low, high = get_range(code, convention)
    region = image.tissue == code
    return region & (image.hu >= low) & (image.hu <= high) if image.is_hu else region


def compute_areas_cm2(image: CanonicalSlice, convention: str = "paper") -> dict[str, float]:
    """Areas of erector spinae, subcutaneous and visceral fat, and of all fat of the trunk, cm2 (rows B1, B2).

    Returns: esma_cm2, sfa_cm2, vfa_cm2, trunk_fat_cm2. A tissue whose region the slice does not have was not segmented:
    its area is NaN, as is trunk_fat_cm2 without a trunk or in grey levels. Zero is a measurement: a region without one
    pixel in range.
    """
    areas = {
        name: float(compute_counted(image, code, convention).sum() * image.pixel_cm2)
        if (image.tissue == code).any() else math.nan
        for name, code in schema.AREA_CODES.items()
    }  # fmt: skip
    areas[TRUNK_FAT] = math.nan
    if image.is_hu and image.body.any():
        low, high = get_range(schema.TISSUE_FAT_UNSEGMENTED, convention)
        fat = (image.body > 0) & (image.hu >= low) & (image.hu <= high)
        areas[TRUNK_FAT] = float(fat.sum() * image.pixel_cm2)
    return areas


def compute_indices(areas: Mapping[str, float], height_m: float) -> dict[str, float]:
    """Indices esmi, sfi, vfi: area / height^2, cm2/m2 (row B2); NaN where area or height is missing.

    Raises: InputDataError when the height cannot be one in metres.
    """
    if not math.isnan(height_m) and not 0.5 <= height_m <= 2.5:
        raise refusal("slice-height", schema.HEIGHT, fact=f"{height_m:g} m")
    return {index: areas[area] / height_m**2 for index, area in schema.INDEX_OF_AREA.items()}
