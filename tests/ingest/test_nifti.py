"""NIfTI volumes and masks: anatomical order, one grid, labels; and the real volume beside its reference masks."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.grid import Grid
from data_pipelines.ingest.nifti import load_masks, load_nifti
from tests.ingest.conftest import GRID, HEIGHT, SPACING_MM, WIDTH, Z_MM, make_hu, save_nifti


@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_every_orientation_comes_out_anatomical(
    tmp_path: Path, flips: tuple[int, ...], order: tuple[int, int, int]
) -> None:
    """The same volume stored with flipped and permuted axes; nibabel writes the affine that says so."""
    save_nifti(make_hu(), tmp_path / "ct.nii.gz")
    image = nib.load(tmp_path / "ct.nii.gz")
    turn = np.array([[axis, -1 if axis in flips else 1] for axis in order])
    nib.save(image.as_reoriented(turn), tmp_path / "turned.nii")
    stack = load_nifti(tmp_path / "turned.nii")
    assert stack.grid.corner_mm == pytest.approx(GRID.corner_mm)
    assert stack.grid.z_mm == pytest.approx(Z_MM)
    np.testing.assert_array_equal(stack.load_hu(2)[0], make_hu()[2])


def test_level_comes_from_the_masks_beside(nifti_folder: Path) -> None:
    found = read_source(nifti_folder)
    assert (found.kind, found.index, found.z_mm, found.patient_id) == ("nifti", 3, Z_MM[3], "patient_b")
    assert set(np.unique(found.image.tissue)) == {schema.TISSUE_NONE, schema.TISSUE_SAT}
    areas = compute_areas_cm2(found.image)
    assert areas["sfa_cm2"] == pytest.approx((make_hu()[3] == -97).sum() * 0.12)
    assert np.isnan(areas["vfa_cm2"])
    assert np.isnan(areas["esma_cm2"]), "half a muscle is no measurement"


def test_given_position_wins_over_the_level(nifti_folder: Path) -> None:
    assert read_source(nifti_folder, choice=Choice(slice_z_mm=-99.0)).index == 0
    with pytest.raises(InputDataError, match="-100 to -80 mm"):
        read_source(nifti_folder, choice=Choice(slice_z_mm=-50.0))
    with pytest.raises(InputDataError, match="L3 is not in the volume"):
        read_source(nifti_folder, choice=Choice(level="L3"))
    with pytest.raises(UsageError, match="T13"):
        read_source(nifti_folder, choice=Choice(level="T13"))


def test_label_map_gives_level_and_muscle(tmp_path: Path) -> None:
    hu = make_hu()
    save_nifti(hu, tmp_path / "p" / "ct.nii")
    labels = np.zeros_like(hu, np.uint8)
    labels[1:4, 40, 30:40] = 33
    labels[2, 41, 30:40] = 33
    labels[:, 35, 20:25] = 86
    labels[:, 35, 45:50] = 87
    save_nifti(labels, tmp_path / "labels.nii.gz")
    found = read_source(tmp_path / "p", tmp_path / "labels.nii.gz")
    assert found.index == 2
    areas = compute_areas_cm2(found.image)
    assert areas["esma_cm2"] == pytest.approx(10 * 0.12)
    assert areas["fat_unsegmented_cm2"] > 0
    assert any("unsegmented" in note for note in found.warnings)


@pytest.mark.parametrize("form", ["label map", "one file", "one file empty"])
def test_half_a_muscle_is_unsegmented_and_told(tmp_path: Path, form: str) -> None:
    left = np.zeros_like(make_hu(), np.uint8)
    left[:, 35, 20:25] = 86
    save_nifti(left, tmp_path / "labels.nii.gz")
    save_nifti(left, tmp_path / "masks" / "autochthon_left.nii.gz")
    if form == "one file empty":
        save_nifti(np.zeros_like(left), tmp_path / "masks" / "autochthon_right.nii.gz")
    masks = load_masks(tmp_path / ("labels.nii.gz" if form == "label map" else "masks"), GRID)
    assert masks.regions == {}
    assert masks.warnings == ("masks hold 1 of the 2 parts of erector spinae: it stays unsegmented",)


def test_mask_outside_the_trunk_is_left_out_and_told(nifti_folder: Path) -> None:
    before = read_source(nifti_folder)
    fat = (make_hu() < -50) & (make_hu() > -150)
    fat[:, 28:33, 0:3] = True
    save_nifti(fat.astype(np.uint8), nifti_folder / "masks" / "subcutaneous_fat.nii.gz")
    found = read_source(nifti_folder)
    np.testing.assert_array_equal(found.image.tissue, before.image.tissue)
    assert "1.8 cm2 of the mask of subcutaneous fat lie outside the trunk and are left out" in found.warnings
    assert not any("outside the trunk" in note for note in before.warnings)
    assert any("1 of the 2 parts of erector spinae" in note for note in before.warnings)


OTHER_GRIDS: dict[str, tuple[Grid, str]] = {
    "shifted": (Grid(HEIGHT, WIDTH, SPACING_MM, (-115.5, -118.0), Z_MM), "position"),
    "spacing": (Grid(HEIGHT, WIDTH, (4.0, 3.1), GRID.corner_mm, Z_MM), "spacing"),
    "other slices": (Grid(HEIGHT, WIDTH, SPACING_MM, GRID.corner_mm, tuple(z + 5 for z in Z_MM)), "slice position"),
}


@pytest.mark.parametrize("fault", OTHER_GRIDS)
def test_masks_of_another_grid_are_refused(tmp_path: Path, fault: str) -> None:
    grid, wanted = OTHER_GRIDS[fault]
    save_nifti(np.ones_like(make_hu(), np.uint8), tmp_path / "m.nii.gz", grid)
    with pytest.raises(InputDataError, match=wanted):
        load_masks(tmp_path / "m.nii.gz", GRID)


def test_masks_of_another_shape_missing_or_no_labels(tmp_path: Path) -> None:
    save_nifti(np.ones((5, 60, 70), np.uint8), tmp_path / "small.nii.gz")
    with pytest.raises(InputDataError, match="5 x 60 x 70"):
        load_masks(tmp_path / "small.nii.gz", GRID)
    save_nifti(np.full(make_hu().shape, 0.5, np.float32), tmp_path / "half.nii.gz")
    with pytest.raises(InputDataError, match="not labels"):
        load_masks(tmp_path / "half.nii.gz", GRID)
    with pytest.raises(InputDataError, match="not found"):
        load_masks(tmp_path / "absent", GRID)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputDataError, match="masks in this folder"):
        load_masks(tmp_path / "empty", GRID)


def _save(file: Path, values: np.ndarray, affine: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(values, affine), file)


def test_volumes_not_understood_are_refused(tmp_path: Path) -> None:
    volume = np.ascontiguousarray(make_hu().transpose(2, 1, 0))
    straight = np.diag([3.0, 4.0, 5.0, 1.0])
    tilted = straight.copy()
    tilted[2, 1] = 1.0
    nowhere = nib.Nifti1Image(volume, None)
    nib.save(nowhere, tmp_path / "nowhere.nii.gz")
    _save(tmp_path / "tilted.nii.gz", volume, tilted)
    _save(tmp_path / "four.nii.gz", np.stack([volume, volume], axis=3), straight)
    holes = volume.astype(np.float32)
    holes[0] = np.nan
    _save(tmp_path / "holes.nii.gz", holes, straight)
    _save(tmp_path / "unsigned.nii.gz", volume + 1024, straight)
    whole = (tmp_path / "unsigned.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nii.gz").write_text("no NIfTI")
    for name, wanted in {
        "nowhere": "orientation", "tilted": "oblique", "four": "three dimensions", "holes": "finite",
        "unsigned": "no air", "cut": "not a readable", "text": "not a readable",
    }.items():  # fmt: skip
        with pytest.raises(InputDataError, match=wanted) as refusal:
            read_source(tmp_path / f"{name}.nii.gz", choice=Choice(slice_z_mm=0.0))
        assert "\n" not in str(refusal.value)


def test_real_volume_beside_its_reference_masks(shared: Path) -> None:
    """Areas of the reference masks: 151.5 cm2 at slice 0, 79.1 at slice 29, before the Hounsfield range."""
    folder = shared / "data" / "ct_t11_l2_nifti"
    stack = load_nifti(folder / "ct.nii.gz")
    for k, wanted_cm2 in ((0, 151.5), (29, 79.1)):
        found = read_source(folder, choice=Choice(slice_z_mm=stack.grid.z_mm[k]))
        assert found.index == k
        region = found.image.tissue == schema.TISSUE_SAT
        assert region.sum() * found.image.pixel_cm2 == pytest.approx(wanted_cm2, abs=0.1)
        # Given masks: the area is numpy's own count of region and range.
        in_range = region & (found.image.hu >= -190) & (found.image.hu <= -30)
        areas = compute_areas_cm2(found.image)
        assert areas["sfa_cm2"] == pytest.approx(np.count_nonzero(in_range) * 0.09, abs=1e-9)
        assert areas["esma_cm2"] > 0 and areas["vfa_cm2"] > 0
        assert region[found.image.body == 0].sum() == 0


def test_real_volume_ends_at_the_edge_of_t11(shared: Path) -> None:
    with pytest.raises(InputDataError, match="only the edge of T11"):
        read_source(shared / "data" / "ct_t11_l2_nifti")


def test_real_series_with_its_label_map(shared: Path) -> None:
    """DICOM and a NIfTI label map meet on one grid; T11 is largest on slice 19, the end of the volume."""
    data = shared / "data"
    found = read_source(data / "ct_t11_dicom", data / "ct_t11_dicom_labels.nii.gz")
    assert (found.index, found.z_mm) == (19, -766.5)
    assert any("touches the volume's end" in note for note in found.warnings)
    found = read_source(data / "ct_t11_dicom", data / "ct_t11_dicom_labels.nii.gz", choice=Choice(slice_z_mm=-768.5))
    # Autochthon labels at slice 18: 6.7 + 8.7 cm2.
    assert (found.image.tissue == schema.TISSUE_ESM).sum() * found.image.pixel_cm2 == pytest.approx(15.4, abs=0.1)


def test_real_trunk_fat_leaves_out_arms_and_table(shared: Path) -> None:
    found = read_source(shared / "data" / "ct_t11_dicom", choice=Choice(slice_z_mm=-768.5))
    assert found.index == 18
    areas = compute_areas_cm2(found.image)
    assert areas["fat_unsegmented_cm2"] == pytest.approx(157.6, rel=0.03)
    assert np.isnan(areas["sfa_cm2"]) and np.isnan(areas["vfa_cm2"]) and np.isnan(areas["esma_cm2"])
