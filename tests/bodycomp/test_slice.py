"""What a slice is refused for, and what it carries."""

import math

import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.bodycomp.slice import make_slice
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.phantom import anatomy, render

SPACING_MM = (1.5, 1.5)


@pytest.fixture(scope="module")
def phantom() -> CanonicalSlice:
    return render.render_slice(np.random.default_rng(1), (214, 268), 1.5, anatomy.Areas(150, 90, 30), 5.0)


def test_no_air_is_refused_with_the_value_that_decides() -> None:
    with pytest.raises(InputDataError, match="lowest value 40 HU") as refused:
        make_slice(np.full((40, 40), 40, np.int16), SPACING_MM, {}, "x")
    assert refused.value.code == "slice-no-air"


def test_no_trunk_is_refused() -> None:
    hu = np.full((200, 200), -1000, np.int16)
    hu[50:90, 50:90] = 40
    with pytest.raises(InputDataError, match="36 cm2, a trunk has 100") as refused:
        make_slice(hu, SPACING_MM, {}, "x")
    assert refused.value.code == "slice-no-trunk"


def test_segment_none_leaves_fat_together(phantom: CanonicalSlice) -> None:
    found = make_slice(phantom.hu, SPACING_MM, {}, "x", segment="none")
    assert [finding.code for finding in found.findings] == ["fat-unsegmented"]
    areas = compute_areas_cm2(found.image)
    assert math.isnan(areas["sfa_cm2"]) and math.isnan(areas["vfa_cm2"])
    counted = (found.image.tissue == schema.TISSUE_FAT_UNSEGMENTED).sum() * found.image.pixel_cm2
    assert areas["trunk_fat_cm2"] == pytest.approx(counted)
    segmented = compute_areas_cm2(make_slice(phantom.hu, SPACING_MM, {}, "x").image)
    assert segmented["trunk_fat_cm2"] == areas["trunk_fat_cm2"], "whatever is segmented, all fat is told"


def test_tilt_travels_with_the_slice(phantom: CanonicalSlice) -> None:
    straight, tilted = (compute_areas_cm2(make_slice(phantom.hu, SPACING_MM, {}, "x", tilt_deg=tilt_deg).image)
                        for tilt_deg in (0.0, 20.0))  # fmt: skip
    for name in ("sfa_cm2", "vfa_cm2", "trunk_fat_cm2"):
        assert tilted[name] == pytest.approx(straight[name] * math.cos(math.radians(20)))


def test_grey_levels_are_not_segmented_and_count_whole(phantom: CanonicalSlice) -> None:
    grey = np.clip((phantom.hu + 200.0) / 500 * 255, 0, 255).astype(np.int16)
    drawn = phantom.tissue == schema.TISSUE_SAT
    found = make_slice(grey, SPACING_MM, {schema.TISSUE_SAT: drawn}, "x", is_hu=False)
    assert not found.image.is_hu and not found.incomplete
    np.testing.assert_array_equal(found.image.tissue == schema.TISSUE_SAT, drawn)
    areas = compute_areas_cm2(found.image)
    assert areas["sfa_cm2"] == pytest.approx(drawn.sum() * 0.0225)
    assert all(math.isnan(areas[name]) for name in ("vfa_cm2", "esma_cm2", "trunk_fat_cm2"))
    overlap = (found.image.body > 0) & (phantom.body > 0)
    assert 2 * overlap.sum() / (found.image.body.sum() + phantom.body.sum()) > 0.98


def test_drawn_muscle_takes_its_pixels_from_segmented_fat(phantom: CanonicalSlice) -> None:
    drawn = np.zeros(phantom.hu.shape, bool)
    rows, columns = np.nonzero(phantom.tissue == schema.TISSUE_ESM)
    drawn[rows.min() : rows.max() + 8, columns.min() : columns.max()] = True
    found = make_slice(phantom.hu, SPACING_MM, {schema.TISSUE_ESM: drawn}, "x")
    np.testing.assert_array_equal(found.image.tissue == schema.TISSUE_ESM, drawn)
    assert "muscle-estimated" not in {finding.code for finding in found.findings}


def test_same_slice_twice_is_the_same(phantom: CanonicalSlice) -> None:
    first, second = (make_slice(phantom.hu, SPACING_MM, {}, "x") for _ in range(2))
    np.testing.assert_array_equal(first.image.tissue, second.image.tissue)
    assert first.findings == second.findings
