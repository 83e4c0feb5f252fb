"""Areas are counts of pixels; what was not segmented is missing."""

import math

import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2, compute_indices
from data_pipelines.canonical import CanonicalSlice


def _slice(hu: list[list[int]], tissue: list[list[int]]) -> CanonicalSlice:
    labels = np.array(tissue, np.uint8)
    return CanonicalSlice(np.array(hu, np.int16), (2.0, 5.0), labels, np.ones_like(labels))


def test_hu_ranges_include_both_ends() -> None:
    """One pixel is 2 x 5 mm = 0.1 cm2; rows: subcutaneous, visceral, muscle, each with two pixels in range."""
    image = _slice(
        [[-191, -190, -30, -29], [-151, -150, -50, -49], [-30, -29, 150, 151]],
        [[schema.TISSUE_SAT] * 4, [schema.TISSUE_VAT] * 4, [schema.TISSUE_ESM] * 4],
    )
    assert compute_areas_cm2(image) == pytest.approx({"sfa_cm2": 0.2, "vfa_cm2": 0.2, "esma_cm2": 0.2})


def test_not_segmented_is_nan_and_out_of_range_is_zero() -> None:
    areas = compute_areas_cm2(_slice([[100, 100]], [[schema.TISSUE_SAT, 0]]))
    assert areas["sfa_cm2"] == 0.0
    assert math.isnan(areas["vfa_cm2"])
    assert math.isnan(areas["esma_cm2"])
    assert "fat_unsegmented_cm2" not in areas


def test_unsegmented_fat_is_its_own_area() -> None:
    areas = compute_areas_cm2(_slice([[-100, -100, 0]], [[schema.TISSUE_FAT_UNSEGMENTED] * 3]))
    assert areas["fat_unsegmented_cm2"] == pytest.approx(0.2)
    assert math.isnan(areas["sfa_cm2"])


def test_indices_are_area_over_height_squared() -> None:
    indices = compute_indices({"esma_cm2": 30.0, "sfa_cm2": 140.0, "vfa_cm2": math.nan}, 1.6)
    assert indices["esmi_cm2_m2"] == pytest.approx(30 / 2.56)
    assert indices["sfi_cm2_m2"] == pytest.approx(140 / 2.56)
    assert math.isnan(indices["vfi_cm2_m2"])
    assert all(math.isnan(v) for v in compute_indices(dict.fromkeys(schema.AREA_CODES, 1.0), math.nan).values())


@pytest.mark.parametrize("height_m", [0.0, 160.0, -1.6, math.inf])
def test_height_in_other_units_is_refused(height_m: float) -> None:
    with pytest.raises(InputDataError, match="give metres"):
        compute_indices(dict.fromkeys(schema.AREA_CODES, 1.0), height_m)
