"""The trunk mask on drawn bodies, where the truth is a formula."""

import numpy as np
import pytest
from scipy import ndimage

from bonemet_jax import schema
from data_pipelines.bodycomp.tissue import label_tissue
from data_pipelines.bodycomp.trunk import compute_cut_mm, compute_trunk, dilate, distance_mm


def _ellipse(size_px: int, mm: float, centre_mm: tuple[float, float], radii_mm: tuple[float, float]) -> np.ndarray:
    y, x = np.indices((size_px, size_px)) * mm
    return ((y - centre_mm[0]) / radii_mm[0]) ** 2 + ((x - centre_mm[1]) / radii_mm[1]) ** 2 <= 1


def _scene(mm: float, arm_gap_mm: float = 15.0) -> tuple[np.ndarray, np.ndarray]:
    """HU of a trunk with lungs, two arms and a table, and the trunk's true mask. Field 500 mm."""
    n = round(500 / mm)
    trunk = _ellipse(n, mm, (250, 250), (100, 150))
    hu = np.full((n, n), -1000, np.int16)
    hu[trunk] = 50
    hu[_ellipse(n, mm, (250, 180), (70, 55))] = -850
    for side in (-1, 1):
        hu[_ellipse(n, mm, (250, 250 + side * (150 + arm_gap_mm + 35)), (35, 35))] = 40
    hu[round(360 / mm):round(364 / mm) + 1, round(50 / mm):round(450 / mm)] = 200
    return hu, trunk


@pytest.mark.parametrize("mm", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("arm_gap_mm", [15.0, -1.0])
def test_trunk_keeps_lungs_and_drops_arms_and_table(mm: float, arm_gap_mm: float) -> None:
    hu, truth = _scene(mm, arm_gap_mm)
    trunk = compute_trunk(hu, (mm, mm))
    dice = 2 * (trunk & truth).sum() / (trunk.sum() + truth.sum())
    assert dice > (0.995 if arm_gap_mm > 0 else 0.97)


def test_spacing_may_differ_by_axis() -> None:
    hu, truth = _scene(1.0)
    trunk = compute_trunk(hu[::2], (2.0, 1.0))
    assert abs(int(trunk.sum()) - int(truth[::2].sum())) / truth[::2].sum() < 0.01


def test_air_has_no_trunk() -> None:
    assert not compute_trunk(np.full((50, 60), -1000, np.int16), (1.0, 1.0)).any()


def test_cut_is_the_border_length_under_the_trunk() -> None:
    trunk = np.zeros((10, 10), bool)
    trunk[4:9, 0] = True
    trunk[9, 2:5] = True
    assert compute_cut_mm(trunk, (2.0, 3.0)) == pytest.approx(5 * 2.0 + 3 * 3.0)


def test_unsegmented_fat_only_without_fat_masks() -> None:
    hu = np.array([[-100, -100, 50, -100]], np.int16)
    trunk = np.array([[True, True, True, False]])
    assert label_tissue(hu, trunk, {}).tolist() == [[4, 4, 0, 0]]
    muscle = np.array([[False, False, True, False]])
    assert label_tissue(hu, trunk, {schema.TISSUE_ESM: muscle}).tolist() == [[4, 4, 3, 0]]
    fat = np.array([[True, False, True, False]])
    both = {schema.TISSUE_SAT: fat, schema.TISSUE_ESM: muscle}
    assert label_tissue(hu, trunk, both).tolist() == [[1, 0, 3, 0]]


def test_regions_are_cut_to_the_trunk() -> None:
    """Fat of the arms is no fat of the trunk, whoever drew the mask."""
    trunk = np.array([[True, True, True, False, False]])
    everywhere = np.ones_like(trunk)
    hu = np.full(trunk.shape, -100, np.int16)
    assert label_tissue(hu, trunk, {schema.TISSUE_SAT: everywhere}).tolist() == [[1, 1, 1, 0, 0]]
    muscle = np.array([[False, False, True, True, False]])
    both = {schema.TISSUE_VAT: everywhere, schema.TISSUE_ESM: muscle}
    assert label_tissue(hu, trunk, both).tolist() == [[2, 2, 3, 0, 0]]


def test_lung_cut_open_by_the_border_is_trunk() -> None:
    """The lung reaches from column 125 to 235 mm: an image that begins at 180 mm shows it open."""
    hu, truth = _scene(1.0)
    crop = np.s_[:, 180:]
    trunk = compute_trunk(hu[crop], (1.0, 1.0))
    assert (trunk != truth[crop]).sum() < 0.01 * truth[crop].sum()


def test_arm_with_bone_is_dropped_whole_and_a_fold_stays() -> None:
    hu, truth = _scene(1.0, arm_gap_mm=-1.0)
    for side in (-1, 1):
        hu[_ellipse(500, 1.0, (250, 250 + side * 184), (9, 9))] = 800
    trunk = compute_trunk(hu, (1.0, 1.0))
    assert 2 * (trunk & truth).sum() / (trunk.sum() + truth.sum()) > 0.985
    fold = _ellipse(500, 1.0, (160, 250), (25, 12))
    hu[fold] = 40
    assert compute_trunk(hu, (1.0, 1.0))[fold].mean() > 0.6


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (0.7, 1.9)])
@pytest.mark.parametrize("threshold", [-3.0, 0.0, 0.02, 0.06, 3.0])
def test_distances_in_a_box_are_those_in_the_whole_image(threshold: float, spacing_mm: tuple[float, float]) -> None:
    """Masks that fill the image, touch its border, lie inside, or are empty."""
    mask = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(70, 90)), 6) > threshold
    inside, outside = (np.asarray(ndimage.distance_transform_edt(m, sampling=spacing_mm)) for m in (mask, ~mask))
    np.testing.assert_array_equal(distance_mm(mask, spacing_mm), inside)
    np.testing.assert_array_equal(dilate(mask, 9.0, spacing_mm), (outside <= 9.0) & mask.any())
