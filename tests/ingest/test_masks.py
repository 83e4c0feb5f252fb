"""Masks: TotalSegmentator's and BOA's forms, one grid with the image, and those that are not the image's own."""

from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.bodycomp.mask_check import judge_mask
from data_pipelines.bodycomp.trunk import compute_trunk
from data_pipelines.check_codes import VERDICTS
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.grid import Grid
from data_pipelines.ingest.masks import LABEL_OF_VERTEBRA, VERTEBRAE, load_masks
from data_pipelines.ingest.nifti import load_nifti
from data_pipelines.phantom import anatomy, render
from tests.ingest.conftest import GRID, HEIGHT, SPACING_MM, WIDTH, Z_MM, make_hu, save_nifti

SAT, VAT, ESM = schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM
FAT = (make_hu() < -50) & (make_hu() > -150)
MUSCLE = (make_hu() > 0) & (make_hu() < 100)
LEFT, RIGHT = MUSCLE.copy(), MUSCLE.copy()
LEFT[:, :, :45] = RIGHT[:, :, 35:] = False
LEFT[:, :35], RIGHT[:, :35] = False, False
NONE = Choice(segment="none")


def _codes(found: object) -> list[str]:
    return [finding.code for finding in found.findings]


def test_numbers_of_totalsegmentator() -> None:
    """Its class table (version 2): 27 L5, 31 L1, 32 T12, 33 T11, 43 T1, 44 C7, 50 C1."""
    known = {"L5": 27, "L1": 31, "T12": 32, "T11": 33, "T1": 43, "C7": 44, "C1": 50}
    assert {name: LABEL_OF_VERTEBRA[name] for name in known} == known
    assert (VERTEBRAE[0], VERTEBRAE[-1], len(VERTEBRAE)) == ("C1", "L5", 24)
    assert VERTEBRAE[VERTEBRAE.index("T11") + 1] == "T12"


# --- Forms ----------------------------------------------------------------------------------------


def _patient(tmp_path: Path) -> Path:
    save_nifti(make_hu(), tmp_path / "p" / "ct.nii")
    return tmp_path / "p"


def _label_map() -> np.ndarray:
    """T11 largest on slice 2, T12 below it, both back muscles."""
    labels = np.zeros_like(make_hu(), np.uint8)
    labels[LEFT], labels[RIGHT] = 86, 87
    labels[1:4, 28, 30:40], labels[2, 29, 30:40] = 33, 33
    labels[:2, 27, 30:45] = 32
    return labels


def test_label_map_gives_level_and_muscle(tmp_path: Path) -> None:
    save_nifti(_label_map(), tmp_path / "labels.nii.gz")
    found = read_source(_patient(tmp_path), tmp_path / "labels.nii.gz", NONE)
    assert found.index == 2
    assert compute_areas_cm2(found.image)["esma_cm2"] == pytest.approx((LEFT | RIGHT)[2].sum() * 0.12)
    assert "fat-unsegmented" in _codes(found)


@pytest.mark.parametrize("spelling", ["body-regions", "body_regions"])
def test_boa_folder(tmp_path: Path, spelling: str) -> None:
    """total: TotalSegmentator's numbers; body regions: 1 subcutaneous tissue, 2 muscle, 3 abdominal cavity."""
    regions = np.zeros_like(make_hu(), np.uint8)
    regions[FAT], regions[MUSCLE] = 1, 2
    regions[:, 10:30, 20:60] = 3
    save_nifti(regions, tmp_path / "boa" / f"{spelling}.nii.gz")
    save_nifti(np.full_like(regions, 3), tmp_path / "boa" / "tissues.nii.gz")
    save_nifti(_label_map(), tmp_path / "boa" / "total.nii.gz")
    masks = load_masks(tmp_path / "boa", GRID)
    of_slice, notes = masks.on_slice(2)
    np.testing.assert_array_equal(of_slice[SAT], regions[2] == 1)
    np.testing.assert_array_equal(of_slice[VAT], regions[2] == 3)
    np.testing.assert_array_equal(of_slice[ESM], (LEFT | RIGHT)[2])
    assert notes == ()
    np.testing.assert_array_equal(masks.count_vertebrae("T11")["T11"], [0, 10, 20, 10, 0])


def test_boa_tissues_where_there_are_no_regions(tmp_path: Path) -> None:
    tissues = np.zeros_like(make_hu(), np.uint8)
    tissues[FAT] = 3
    save_nifti(tissues, tmp_path / "tissues.nii.gz")
    regions, _ = load_masks(tmp_path, GRID).on_slice(1)
    np.testing.assert_array_equal(regions[SAT], FAT[1])
    assert not regions[VAT].any()


def test_only_files_that_are_needed_are_opened(tmp_path: Path) -> None:
    """Vertebrae two away, organs and slices' other structures may be damaged: nobody looks."""
    folder = tmp_path / "masks"
    for name in ("vertebrae_T10", "vertebrae_T11", "vertebrae_T12"):
        save_nifti((_label_map() == LABEL_OF_VERTEBRA[name[10:]]).astype(np.uint8), folder / f"{name}.nii.gz")
    for name in ("vertebrae_T9", "vertebrae_L1", "liver"):
        (folder / f"{name}.nii.gz").write_bytes(b"damaged")
    masks = load_masks(folder, GRID)
    assert {name: px.tolist() for name, px in masks.count_vertebrae("T11").items()} == {
        "T10": [0] * 5, "T11": [0, 10, 20, 10, 0], "T12": [15, 15, 0, 0, 0]}  # fmt: skip
    with pytest.raises(InputDataError, match=r"vertebrae_T9\.nii\.gz"):
        masks.count_vertebrae("T10")
    given = read_source(_patient(tmp_path), folder, Choice(slice_index=1, level="T11", segment="none"))
    assert given.index == 1


def test_vertebra_of_the_slice_helps_the_muscle(tmp_path: Path) -> None:
    save_nifti(_label_map(), tmp_path / "labels.nii.gz")
    masks = load_masks(tmp_path / "labels.nii.gz", GRID)
    region = masks.load_vertebra("T11", 3)
    assert region is not None
    np.testing.assert_array_equal(region, _label_map()[3] == 33)
    save_nifti(FAT.astype(np.uint8), tmp_path / "subcutaneous_fat.nii.gz")
    assert load_masks(tmp_path / "subcutaneous_fat.nii.gz", GRID).load_vertebra("T11", 3) is None


def test_one_mask_file_is_known_by_its_name(tmp_path: Path) -> None:
    save_nifti(FAT.astype(np.uint8) * 200, tmp_path / "subcutaneous_fat.nii.gz")
    regions, _ = load_masks(tmp_path / "subcutaneous_fat.nii.gz", GRID).on_slice(1)
    assert list(regions) == [SAT]
    np.testing.assert_array_equal(regions[SAT], FAT[1])


@pytest.mark.parametrize("form", ["label map", "one file", "one file empty"])
def test_half_a_muscle_is_unsegmented_and_told(tmp_path: Path, form: str) -> None:
    left = LEFT.astype(np.uint8) * 86
    save_nifti(left, tmp_path / "labels.nii.gz")
    save_nifti(left, tmp_path / "masks" / "autochthon_left.nii.gz")
    if form == "one file empty":
        save_nifti(np.zeros_like(left), tmp_path / "masks" / "autochthon_right.nii.gz")
    masks = load_masks(tmp_path / ("labels.nii.gz" if form == "label map" else "masks"), GRID)
    regions, notes = masks.on_slice(2)
    assert regions == {}
    assert [note.code for note in notes] == ["mask-half"]
    assert "1 of 2 parts of erector spinae" in str(notes[0])


def test_numbers_of_version_1_are_refused(tmp_path: Path) -> None:
    """There 18 to 25 are L5 to T10, from below upwards, and 33 is T2."""
    grid = Grid(HEIGHT, WIDTH, SPACING_MM, GRID.corner_mm, tuple(5.0 * k for k in range(60)))
    labels = np.zeros((60, HEIGHT, WIDTH), np.uint8)
    for k in range(60):
        labels[k, 20:40, 20:40] = 18 + k * 16 // 60
    save_nifti(labels, tmp_path / "total.nii.gz", grid)
    with pytest.raises(InputDataError, match="7 of labels 18 to 25") as refusal:
        load_masks(tmp_path, grid).count_vertebrae("T11")
    assert refusal.value.code == "mask-version"


def test_label_map_without_muscle_on_the_slice_leaves_it_unsegmented(tmp_path: Path) -> None:
    labels = _label_map()
    labels[2][labels[2] > 80] = 0
    save_nifti(labels, tmp_path / "labels.nii.gz")
    assert load_masks(tmp_path / "labels.nii.gz", GRID).on_slice(2) == ({}, ())


# --- The table of verdicts ------------------------------------------------------------------------

OTHER_GRIDS: dict[str, tuple[Grid, str]] = {
    "origin": (Grid(HEIGHT, WIDTH, SPACING_MM, (-115.5, -118.0), Z_MM), "mask-position"),
    "half a pixel": (Grid(HEIGHT, WIDTH, SPACING_MM, (-118.5, -116.0), Z_MM), "mask-position"),
    "spacing": (Grid(HEIGHT, WIDTH, (4.0, 3.1), GRID.corner_mm, Z_MM), "mask-spacing"),
    "other slices": (Grid(HEIGHT, WIDTH, SPACING_MM, GRID.corner_mm, tuple(z + 5 for z in Z_MM)), "mask-slices"),
}


@pytest.mark.parametrize("fault", OTHER_GRIDS)
def test_masks_of_another_grid_are_refused(tmp_path: Path, fault: str) -> None:
    grid, wanted = OTHER_GRIDS[fault]
    save_nifti(FAT.astype(np.uint8), tmp_path / "subcutaneous_fat.nii.gz", grid)
    with pytest.raises(InputDataError, match="mm, at most") as refusal:
        load_masks(tmp_path / "subcutaneous_fat.nii.gz", GRID).on_slice(0)
    assert refusal.value.code == wanted


#: What is laid on the patient's slice 3 as subcutaneous fat -> verdict; "" for none.
CONTENTS: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "right": (lambda: FAT, ""),
    "wrong shape": (lambda: FAT[:, :, :70], "mask-shape"),
    "one slice too few": (lambda: FAT[:4], "mask-shape"),
    "flipped": (lambda: np.roll(FAT, 6, axis=2)[:, ::-1], "mask-foreign"),
    "empty": (lambda: np.zeros_like(FAT), "mask-empty"),
    "full": (lambda: np.ones_like(FAT), "mask-full"),
    "outside the body": (lambda: make_hu() < -500, "mask-off-body"),
    "another patient's": (lambda: np.roll(FAT, 6, axis=1), "mask-foreign"),
    "half values": (lambda: FAT * np.float32(0.5), "mask-values"),
    "negative": (lambda: FAT * np.int16(-1), "mask-values"),
    "not finite": (lambda: np.where(FAT, np.nan, 0), "mask-values"),
    "part outside": (lambda: FAT | (np.indices(FAT.shape)[2] < 2) & (np.indices(FAT.shape)[1] < 10), "mask-outside"),
}  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS)
def test_table_of_verdicts(tmp_path: Path, content: str) -> None:
    make, wanted = CONTENTS[content]
    mask = make()
    save_nifti(mask.astype(np.uint8) if mask.dtype == bool else mask, tmp_path / "m" / "subcutaneous_fat.nii.gz")
    is_refused = bool(wanted) and VERDICTS[wanted].severity == "error"
    try:
        regions, _ = load_masks(tmp_path / "m", GRID).on_slice(3)
        hu = make_hu()[3]
        findings = judge_mask(SAT, regions[SAT], hu, compute_trunk(hu, SPACING_MM), SPACING_MM, "m")
    except InputDataError as error:
        assert (error.code, is_refused) == (wanted, True)
        assert error.fact or wanted == "mask-shape" or wanted == "mask-values"
    else:
        assert (findings[0].code if findings else "", is_refused) == (wanted, False)


def test_missing_masks_and_unknown_names(tmp_path: Path) -> None:
    for name, says in {"absent": "masks not found", "empty": "0 NIfTI files", "strange": "2 NIfTI files"}.items():
        folder = tmp_path / name
        if name != "absent":
            folder.mkdir()
        if name == "strange":
            save_nifti(FAT.astype(np.uint8), folder / "a.nii.gz")
            save_nifti(FAT.astype(np.uint8), folder / "b.nii.gz")
        with pytest.raises(InputDataError, match=says) as refusal:
            load_masks(folder, GRID)
        assert refusal.value.code == "mask-missing"


# --- Real masks and phantoms: what is caught, what is a false alarm --------------------------------

#: A slice's Hounsfield units, trunk, masks and spacing.
Case = tuple[np.ndarray, np.ndarray, dict[int, np.ndarray], tuple[float, float]]


@pytest.fixture(scope="module")
def real_slices(shared: Path) -> list[Case]:
    folder = shared / "data" / "ct_t11_l2_nifti"
    stack = load_nifti(find_files(folder / "ct.nii.gz")[0])
    masks = load_masks(folder / "masks", stack.grid)
    slices = [stack.load_hu(k)[0] for k in range(len(stack.grid.z_mm))]
    spacing = stack.grid.spacing_mm
    return [(hu, compute_trunk(hu, spacing), masks.on_slice(k)[0], spacing) for k, hu in enumerate(slices)]


@pytest.fixture(scope="module")
def phantoms() -> list[Case]:
    """Seeds and areas of their own: the limits were set on others."""
    cases = []
    for i in range(12):
        random = np.random.default_rng([2026, i])
        areas = anatomy.Areas(random.uniform(60, 180), random.uniform(40, 120), random.uniform(20, 45))
        image = render.render_slice(random, (256, 256), 1.6, areas, 3.0)
        masks = {code: image.tissue == code for code in (SAT, VAT, ESM)}
        cases.append((image.hu, compute_trunk(image.hu, image.spacing_mm), masks, image.spacing_mm))
    return cases


def _is_caught(case: Case, masks: Iterable[tuple[int, np.ndarray]]) -> bool:
    """True when any of a patient's masks is refused, or told to fit badly."""
    hu, trunk, _, spacing = case
    try:
        findings = [one for code, mask in masks for one in judge_mask(code, mask, hu, trunk, spacing, "m")]
    except InputDataError:
        return True
    return any(one.code == "mask-misfit" for one in findings)


def _mirrored(case: Case, axis: int) -> bool:
    return _is_caught(case, [(code, np.flip(mask, axis)) for code, mask in case[2].items()])


def test_real_masks_raise_no_alarm(real_slices: list[Case]) -> None:
    assert [_is_caught(case, case[2].items()) for case in real_slices] == [False] * 30


def _drawn_beyond_the_skin(case: Case) -> bool:
    """The subcutaneous ring as a reader draws it who follows the skin from 5 mm outside."""
    _, trunk, masks, spacing = case
    rim = ndimage.binary_dilation(trunk, iterations=max(1, round(5 / spacing[0]))) & ~trunk
    return _is_caught(case, [(SAT, masks[SAT] | rim)])


def test_generous_readers_raise_no_alarm(real_slices: list[Case], phantoms: list[Case]) -> None:
    """The same ring, 5 mm into the air; and every mask a pixel larger on all sides: 3 mm on the real slices."""
    assert not any(_drawn_beyond_the_skin(case) for case in (*real_slices, *phantoms))
    larger = [[(code, ndimage.binary_dilation(mask)) for code, mask in case[2].items()] for case in real_slices]
    assert not any(_is_caught(case, masks) for case, masks in zip(real_slices, larger, strict=True))


def test_flipped_real_masks_are_caught(real_slices: list[Case]) -> None:
    assert all(_mirrored(case, axis) for case in real_slices for axis in (0, 1))


@pytest.mark.parametrize("tissues", [(SAT, VAT, ESM), (SAT,), (VAT,)])
def test_real_masks_of_a_slice_24_mm_away_are_caught(real_slices: list[Case], tissues: tuple[int, ...]) -> None:
    """506 pairs of slices 8 or more apart stand for two patients on one grid."""
    caught = [
        _is_caught(real_slices[a], [(code, real_slices[b][2][code]) for code in tissues])
        for a in range(30) for b in range(30) if abs(a - b) >= 8
    ]  # fmt: skip
    print(f"\nmasks of a slice 24 mm away or more, {len(tissues)} tissues: {sum(caught)} of {len(caught)} caught")
    assert len(caught) == 506 and np.mean(caught) >= 0.9


def test_muscle_alone_says_little(real_slices: list[Case]) -> None:
    """All that a label map gives: counted and told, not promised. Right ones raise no alarm."""
    caught = [_is_caught(real_slices[a], [(ESM, real_slices[b][2][ESM])])
              for a in range(30) for b in range(30) if abs(a - b) >= 8]  # fmt: skip
    print(f"\nmuscle alone, of a slice 24 mm away or more: {sum(caught)} of {len(caught)} caught")
    assert not any(_is_caught(case, [(ESM, case[2][ESM])]) for case in real_slices)
    assert np.mean(caught) > 0.2


def test_phantom_masks(phantoms: list[Case]) -> None:
    """Right: no alarm. Flipped, and every other phantom's: at least nine of ten caught."""
    n = range(len(phantoms))
    assert not any(_is_caught(case, case[2].items()) for case in phantoms)
    flipped = [_mirrored(case, axis) for case in phantoms for axis in (0, 1)]
    foreign = [_is_caught(phantoms[a], phantoms[b][2].items()) for a in n for b in n if a != b]
    print(f"\nphantoms: {sum(flipped)} of {len(flipped)} flipped, {sum(foreign)} of {len(foreign)} foreign caught")
    assert np.mean(flipped) >= 0.9 and np.mean(foreign) >= 0.9


# --- The real series with its label map -----------------------------------------------------------


def test_real_series_with_its_label_map(shared: Path) -> None:
    """DICOM and a NIfTI label map meet on one grid; T11 is largest on slice 19, the end of the volume."""
    data = shared / "data"
    found = read_source(data / "ct_t11_dicom", data / "ct_t11_dicom_labels.nii.gz")
    assert (found.index, found.z_mm) == (19, -766.5)
    assert any("touches the volume's end" in str(note) for note in found.findings)
    found = read_source(data / "ct_t11_dicom", data / "ct_t11_dicom_labels.nii.gz", Choice(slice_z_mm=-768.5))
    # Autochthon labels at slice 18: 6.7 + 8.7 cm2.
    assert (found.image.tissue == ESM).sum() * found.image.pixel_cm2 == pytest.approx(15.4, abs=0.1)


def test_real_label_map_counted_by_nibabel(shared: Path) -> None:
    """117 classes: counts of the vertebrae and the muscle's pixels equal those of the whole array."""
    folder = shared / "data" / "ct_t11_l2_nifti"
    grid = load_nifti(find_files(folder / "ct.nii.gz")[0]).grid
    masks = load_masks(folder / "labels_117.nii.gz", grid)
    labels = np.asarray(nib.load(folder / "labels_117.nii.gz").dataobj)  # RAS as delivered
    for name, px in masks.count_vertebrae("T12").items():
        np.testing.assert_array_equal(px, (labels == LABEL_OF_VERTEBRA[name]).sum(axis=(0, 1)))
    for k in (0, 15, 29):
        muscle = np.isin(labels[::-1, ::-1, k].T, (86, 87))
        np.testing.assert_array_equal(masks.on_slice(k)[0][ESM], muscle)
