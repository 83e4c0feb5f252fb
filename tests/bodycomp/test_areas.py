"""Areas are counts of pixels; what was not segmented is missing."""

import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.bodycomp.areas import compute_areas_cm2, compute_indices
from data_pipelines.canonical import CanonicalSlice


def _slice(hu: list[list[int]], tissue: list[list[int]]) -> CanonicalSlice:
    labels = np.array(tissue, np.uint8)
    return CanonicalSlice(np.array(hu, np.int16), (2.0, 5.0), labels, np.ones_like(labels))


def _three_rows() -> CanonicalSlice:
    """One pixel is 2 x 5 mm = 0.1 cm2; rows: subcutaneous, visceral, muscle, at both ends of the paper's ranges."""
    return _slice(
        [[-191, -190, -30, -29], [-151, -150, -50, -49], [-30, -29, 150, 151]],
        [[schema.TISSUE_SAT] * 4, [schema.TISSUE_VAT] * 4, [schema.TISSUE_ESM] * 4],
    )


def test_hu_ranges_include_both_ends() -> None:
    areas = compute_areas_cm2(_three_rows())
    assert {name: areas[name] for name in schema.AREA_CODES} == pytest.approx(
        {"sfa_cm2": 0.2, "vfa_cm2": 0.2, "esma_cm2": 0.2}
    )


def test_boa_counts_all_fat_alike() -> None:
    areas = compute_areas_cm2(_three_rows(), "boa")
    assert (areas["sfa_cm2"], areas["vfa_cm2"], areas["esma_cm2"]) == pytest.approx((0.2, 0.4, 0.2))
    with pytest.raises(UsageError, match="paper or boa"):
        compute_areas_cm2(_three_rows(), "mine")


def test_not_segmented_is_nan_and_out_of_range_is_zero() -> None:
    areas = compute_areas_cm2(_slice([[100, 100]], [[schema.TISSUE_SAT, 0]]))
    assert areas["sfa_cm2"] == 0.0
    assert math.isnan(areas["vfa_cm2"])
    assert math.isnan(areas["esma_cm2"])


def test_trunk_fat_is_all_fat_of_the_trunk_whatever_is_segmented() -> None:
    labels = [[schema.TISSUE_FAT_UNSEGMENTED] * 3 + [0]]
    image = _slice([[-100, -100, 0, -100]], labels)
    assert compute_areas_cm2(image)["trunk_fat_cm2"] == pytest.approx(0.3)
    assert math.isnan(compute_areas_cm2(image)["sfa_cm2"])
    no_trunk = replace(image, body=np.zeros_like(image.body))
    assert math.isnan(compute_areas_cm2(no_trunk)["trunk_fat_cm2"])


def test_grey_levels_count_regions_whole() -> None:
    image = replace(_slice([[200, 7, 0]], [[schema.TISSUE_SAT, schema.TISSUE_SAT, 0]]), is_hu=False)
    areas = compute_areas_cm2(image)
    assert areas["sfa_cm2"] == pytest.approx(0.2)
    assert math.isnan(areas["trunk_fat_cm2"])


@pytest.mark.parametrize("tilt_deg", [0.0, 15.0, 30.0])
def test_tilted_slice_of_a_cylinder_measures_its_cross_section(tilt_deg: float) -> None:
    """An upright cylinder of fat, radius 60 mm, cut by a plane tilted about the left-right axis: an ellipse."""
    mm = 0.5
    rows, columns = (np.indices((400, 400)) - 199.5) * mm
    inside = np.hypot(rows * math.cos(math.radians(tilt_deg)), columns) <= 60
    image = CanonicalSlice(
        np.where(inside, -100, -1000).astype(np.int16), (mm, mm),
        np.where(inside, schema.TISSUE_SAT, 0).astype(np.uint8), inside.astype(np.uint8), tilt_deg,
    )
    areas = compute_areas_cm2(image)
    assert areas["sfa_cm2"] == pytest.approx(math.pi * 6**2, rel=2e-3)
    assert areas["trunk_fat_cm2"] == areas["sfa_cm2"]


def test_areas_of_given_masks_are_numpys_own_count(shared: Path) -> None:
    """All 30 slices of the real abdomen, counted by nibabel and numpy alone on the volume as stored."""
    folder = shared / "data" / "ct_t11_l2_nifti"
    volume = nib.Nifti1Image.from_filename(folder / "ct.nii.gz")
    hu = np.rint(volume.get_fdata())
    voxel = np.asarray(volume.header.get_zooms(), float)
    names = {
        "sfa_cm2": (("subcutaneous_fat",), -190, -30), "vfa_cm2": (("torso_fat",), -150, -50),
        "esma_cm2": (("autochthon_left", "autochthon_right"), -29, 150),
    }
    masks = {
        area: np.logical_or.reduce([
            nib.Nifti1Image.from_filename(folder / "masks" / f"{file}.nii.gz").get_fdata() > 0 for file in files
        ])
        for area, (files, _, _) in names.items()
    }
    for k in range(hu.shape[2]):
        tissue = np.zeros(hu.shape[:2], np.uint8)
        for area, mask in masks.items():
            assert not tissue[mask[..., k]].any(), "the reference masks are disjoint"
            tissue[mask[..., k]] = schema.AREA_CODES[area]
        plane = hu[..., k].astype(np.int16)
        image = CanonicalSlice(plane, (float(voxel[0]), float(voxel[1])), tissue, np.ones_like(tissue))
        areas = compute_areas_cm2(image)
        for area, (_, low, high) in names.items():
            n = np.count_nonzero(masks[area][..., k] & (hu[..., k] >= low) & (hu[..., k] <= high))
            assert areas[area] == pytest.approx(n * float(voxel[0]) * float(voxel[1]) / 100, abs=1e-9)


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
