"""One image under two patients is found, whatever was done to it; different patients are left alone."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy import ndimage

from bonemet_jax import artifacts, schema
from bonemet_jax.channels.window import window_ct
from bonemet_jax.cohort import near_duplicates
from bonemet_jax.cohort.folds import Folds, load_folds, make_folds, save_folds
from bonemet_jax.cohort.near_duplicates import (
    Pair,
    check_leakage,
    compute_descriptor,
    find_near_duplicates,
    load_pairs,
    save_pairs,
)
from bonemet_jax.config import Config, FoldsConfig, PhantomConfig, RecordsConfig
from bonemet_jax.errors import CorruptFileError, LeakageError
from bonemet_jax.study.run import Run
from bonemet_jax.study.runner import stage_keys
from data_pipelines.bonemet_ct.grid import to_grid
from data_pipelines.canonical import CanonicalSlice, load_slice
from data_pipelines.phantom import make_cohort

SMOKE = RecordsConfig(height=160, width=200, spacing_mm=2.0)
PAPER = RecordsConfig()
HU_PER_LEVEL = (schema.CT_WINDOW_HU[1] - schema.CT_WINDOW_HU[0]) / 255
FLIPS = ((False, False), (False, True), (True, False), (True, True))


def make_slices(folder: Path, n: int, seed: int, records: RecordsConfig) -> list[CanonicalSlice]:
    size = {"height": records.height, "width": records.width, "spacing_mm": records.spacing_mm}
    make_cohort(PhantomConfig(n=n, seed=seed, **size), folder / "cohort", workers=1)
    return [load_slice(file) for file in sorted((folder / "cohort" / "slices").glob("*.npz"))]


def to_ct(image: CanonicalSlice, records: RecordsConfig) -> np.ndarray:
    return window_ct(to_grid(image, records).hu)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[CanonicalSlice]:
    """The synthetic cohort of configs/smoke.py, its first patients; thresholds were chosen on another seed."""
    return make_slices(tmp_path_factory.mktemp("smoke"), 120, 0, SMOKE)


@pytest.fixture(scope="module")
def ct(slices: list[CanonicalSlice]) -> np.ndarray:
    return np.stack([to_ct(image, SMOKE) for image in slices])


def find(ct: np.ndarray, **options: int) -> tuple[Pair, ...]:
    return find_near_duplicates([f"{i:05}" for i in range(len(ct))], lambda positions: ct[positions], **options)


def move(image: np.ndarray, rows: int, columns: int, empty: int = 0) -> np.ndarray:
    """The image moved down and right; what comes in is empty, what leaves is lost."""
    moved = np.full_like(image, empty)
    height, width = image.shape
    moved[max(rows, 0):height + min(rows, 0), max(columns, 0):width + min(columns, 0)] = (
        image[max(-rows, 0):height - max(rows, 0), max(-columns, 0):width - max(columns, 0)])
    return moved


def flip(image: np.ndarray, axes: tuple[bool, bool]) -> np.ndarray:
    return np.flip(image, [axis for axis in (0, 1) if axes[axis]])


def magnify(image: np.ndarray, factor: float) -> np.ndarray:
    middle = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image.astype(float), np.full(2, 1 / factor), middle - middle / factor, order=1)


def through_jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise of 5 HU": lambda image, random: image + random.normal(0, 5 / HU_PER_LEVEL, image.shape),
    "window of another width and level": lambda image, _: image * 1.03 + np.where(image > 0, 4, 0),
    "rounded to 4 HU": lambda image, _: np.rint(image / 2) * 2,
    "JPEG of quality 75": lambda image, _: through_jpeg(image),
    "1 % larger": lambda image, _: magnify(image, 1.01),
    "1 % smaller": lambda image, _: magnify(image, 0.99),
    "half a pixel and noise of 10 HU": lambda image, random: (
        ndimage.shift(image.astype(float), (0.5, 0.5), order=1) + random.normal(0, 10 / HU_PER_LEVEL, image.shape)),
}


def change(image: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """Flipped, moved by up to 20 pixels either way, then changed."""
    moved = move(flip(image, FLIPS[random.integers(4)]), *random.integers(-20, 21, 2).tolist())
    return np.clip(np.rint(CHANGES[kind](moved, random)), 0, 255).astype(np.uint8)


def count_found(ct: np.ndarray, copies: np.ndarray, sources: np.ndarray) -> tuple[int, int]:
    """Copies found and pairs that are none, in the cohort with the copies behind it."""
    n = len(ct)
    wanted = {(f"{source:05}", f"{n + k:05}") for k, source in enumerate(sources)}
    found = {(pair.first, pair.second) for pair in find(np.concatenate([ct, copies]))}
    return len(wanted & found), len(found - wanted)


def check_recall(ct: np.ndarray, n_copies: int, seed: int) -> tuple[int, int]:
    """Near-duplicates found of n_copies, and false alarms."""
    random = np.random.default_rng(seed)
    sources = random.permutation(len(ct))[:n_copies]
    copies = np.stack([change(ct[i], list(CHANGES)[k % len(CHANGES)], random) for k, i in enumerate(sources)])
    return count_found(ct, copies, sources)


# --- The fingerprint ---------------------------------------------------------------------------------


def test_fingerprint_forgets_shifts_and_is_mirrored_by_flips(ct: np.ndarray) -> None:
    whole = compute_descriptor(ct[:3])
    assert whole.shape == (3, 65, 33)
    assert np.allclose(np.square(whole).sum(axis=(1, 2)), 1, atol=1e-5)
    assert np.allclose(compute_descriptor(np.roll(ct[:3], (17, -9), (1, 2))), whole, atol=1e-3)
    assert np.allclose(compute_descriptor(ct[:3, ::-1, ::-1]), whole, atol=1e-3)
    for axis in (1, 2):
        assert np.allclose(compute_descriptor(np.flip(ct[:3], axis)), whole[:, ::-1], atol=1e-3)


def test_slices_without_structure_are_nobodys_duplicate() -> None:
    flat = np.zeros((4, 64, 80), np.uint8)
    flat[2:] = 100
    assert not compute_descriptor(flat[:2]).any()
    assert find(flat) == ()


def test_no_patients_have_no_duplicates() -> None:
    assert find(np.zeros((0, 64, 80), np.uint8)) == ()


def test_pixels_are_read_in_blocks(ct: np.ndarray) -> None:
    asked: list[int] = []

    def read_ct(positions: np.ndarray) -> np.ndarray:
        asked.append(len(positions))
        return ct[positions]

    assert find_near_duplicates([str(i) for i in range(20)], read_ct, block=7) == ()
    assert asked[:3] == [7, 7, 6] and set(asked[3:]) <= {2}
    doubled = np.concatenate([ct[:20], ct[:20]])
    assert find(doubled, block=7) == find(doubled, block=64), "the answer does not depend on the block"


# --- Found ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flipped", FLIPS)
def test_exact_copies_are_found_with_their_flip_and_shift(ct: np.ndarray, flipped: tuple[bool, bool]) -> None:
    random = np.random.default_rng(3)
    for i in range(5):
        rows, columns = random.integers(-20, 21, 2).tolist()
        (pair,) = find(np.stack([ct[i], ct[i + 20], move(flip(ct[i], flipped), rows, columns)]))
        assert (pair.first, pair.second) == ("00000", "00002")
        assert pair.is_exact and pair.scale == 1 and pair.correlation > 0.97
        assert pair.flip == flipped
        # The way back: flipped again, the shift turns round where the flip does not.
        assert pair.shift_px == tuple(by if f else -by for by, f in zip((rows, columns), flipped, strict=True))


def test_copies_of_slices_are_found_behind_the_grid(slices: list[CanonicalSlice], ct: np.ndarray) -> None:
    """The clinic's picture lies elsewhere in its frame, is flipped or noisier; the grid centres its trunk again."""
    random = np.random.default_rng(4)
    copies = []
    for i in range(20):
        flipped, by = FLIPS[i % 4], random.integers(-20, 21, 2).tolist()
        image = CanonicalSlice(
            *(move(np.pad(flip(part, flipped), 20, constant_values=empty), *by, empty) if isinstance(part, np.ndarray)
              else part for part, empty in ((slices[i].hu, schema.HU_PADDING), (slices[i].spacing_mm, 0),
                                            (slices[i].tissue, 0), (slices[i].body, 0))))
        if i >= 10:
            noisy = image.hu + random.normal(0, 5, image.hu.shape)
            image = replace(image, hu=np.rint(noisy).astype(np.int16))
        copies.append(to_ct(image, SMOKE))
    assert count_found(ct, np.stack(copies), np.arange(20)) == (20, 0)


@pytest.mark.parametrize("kind", CHANGES)
def test_each_slight_change_is_seen_through(ct: np.ndarray, kind: str) -> None:
    random = np.random.default_rng(5)
    copies = np.stack([change(ct[i], kind, random) for i in range(8)])
    found, others = count_found(ct[:40], copies, np.arange(8))
    print(f"{kind}: {found}/8")
    assert found >= 7 and others == 0


def test_near_duplicates_and_false_alarms(ct: np.ndarray) -> None:
    found, others = check_recall(ct, 20, seed=6)
    print(f"near {found}/20, {others} others in {len(ct)}")
    assert found >= 19 and others <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "records", "n"), [(0, SMOKE, 431), (7, SMOKE, 431), (7, PAPER, 150)])
def test_whole_cohorts(tmp_path: Path, seed: int, records: RecordsConfig, n: int) -> None:
    ct = np.stack([to_ct(image, records) for image in make_slices(tmp_path, n, seed, records)])
    alarms = find(ct)
    random = np.random.default_rng(seed)
    sources = random.permutation(n)[:50]
    exact = np.stack([flip(ct[i], FLIPS[k % 4]) for k, i in enumerate(sources)])
    exact_found, _ = count_found(ct, exact, sources)
    near_found, _ = check_recall(ct, 150, seed)
    print(f"seed {seed}, {records.height} rows: exact {exact_found}/50, near {near_found}/150, "
          f"{len(alarms)} false alarms in {n}")
    assert exact_found == 50
    assert near_found >= 144
    assert len(alarms) <= 1


def test_toy_slices_of_other_tests_are_all_different(small_cohort: Path) -> None:
    grid = RecordsConfig(height=64, width=80, spacing_mm=4.0)
    files = sorted((small_cohort / "slices").glob("*.npz"))
    assert find(np.stack([to_ct(load_slice(file), grid) for file in files])) == ()


# --- Real CT -------------------------------------------------------------------------------------------


def _dicom_series(folder: Path) -> np.ndarray:
    read = sorted((pydicom.dcmread(file, force=True) for file in folder.iterdir()),
                  key=lambda image: float(image.ImagePositionPatient[2]))
    hu = [image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept) for image in read]
    return window_ct(np.rint(hu).astype(np.int16)[:, 56:456, 6:506])


@pytest.fixture(scope="module")
def real_series(shared: Path) -> Iterator[dict[float, np.ndarray]]:
    """Two real patients, by the distance of their slices in mm."""
    volume = nibabel.load(shared / "data" / "ct_t11_l2_nifti" / "ct.nii.gz").get_fdata()
    yield {2.0: _dicom_series(shared / "data" / "ct_t11_dicom"),
           3.0: np.pad(window_ct(np.rint(volume).astype(np.int16)).transpose(2, 1, 0), ((0, 0), (20, 20), (20, 20)))}


@pytest.mark.slow
def test_real_slices_far_apart_are_different(real_series: dict[float, np.ndarray]) -> None:
    for apart_mm, ct in real_series.items():
        near_mm = [apart_mm * abs(int(pair.first) - int(pair.second)) for pair in find(ct)]
        print(f"slices {apart_mm} mm apart: {len(near_mm)} near pairs, up to {max(near_mm, default=0)} mm")
        assert max(near_mm, default=0) <= 6


def test_real_copies_are_found(real_series: dict[float, np.ndarray]) -> None:
    random = np.random.default_rng(8)
    for ct in real_series.values():
        apart = ct[::5]
        kinds = list(CHANGES)
        for k, image in enumerate(apart):
            (pair,) = find(np.stack([*apart, change(image, kinds[k % len(kinds)], random)]))
            assert (int(pair.first), int(pair.second)) == (k, len(apart))


def test_half_a_pixel_is_part_of_the_shift(ct: np.ndarray) -> None:
    """Noise makes the half necessary; without it the nearest whole pixel would do."""
    noise = np.random.default_rng(9).normal(0, 10 / HU_PER_LEVEL, ct[0].shape)
    moved = ndimage.shift(move(ct[0], 3, -4).astype(float), (0.5, 0.5), order=1) + noise
    (pair,) = find(np.stack([ct[0], np.clip(np.rint(moved), 0, 255).astype(np.uint8)]))
    assert not pair.is_exact and pair.scale == 1
    assert np.allclose(pair.shift_px, (-3.5, 3.5), atol=0.5)
    assert any(by % 1 for by in pair.shift_px)


@pytest.mark.parametrize(
    ("name", "value"),
    [("MIN_LIKENESS", 0.5), ("MIN_CORRELATION", 0.7), ("_TRIES", ((1.0, (0.0, 0.0)),)), ("_VERSION", 99)],
)
def test_another_method_seeks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    def keys() -> dict[str, str]:
        return stage_keys(Run(tmp_path, Config("toy")))

    before = keys()
    assert keys() == before
    monkeypatch.setattr(near_duplicates, name, value)
    after = keys()
    assert {stage for stage in after if after[stage] != before[stage]} >= {"near_duplicates", "cv"}
    assert all(after[stage] == before[stage] for stage in ("cohort", "build", "folds"))


# --- What follows --------------------------------------------------------------------------------------

PAIR = Pair("b", "d", (False, True), 0.99, (3, -4), 0.71, 0.9, False)
TOGETHER = {"a": ("test", "train"), "b": ("train", "test"), "c": ("test", "val"), "d": ("train", "test")}


@pytest.mark.parametrize("splits", [("test", "train"), ("val", "test"), ("test", "val")])
def test_folds_that_part_a_pair_are_refused(splits: tuple[str, str]) -> None:
    folds = Folds(0, TOGETHER | {"d": splits})
    with pytest.raises(LeakageError) as caught:
        check_leakage([PAIR], folds, "run/near_duplicates.json")
    assert caught.value.exit_code == 7
    told = str(caught.value)
    assert "patients 2 and 4 of 4" in told and splits[0] in told and "fold 0" in told
    assert "run/near_duplicates.json" in told and "--folds.file" in told
    assert "(1 of 1 such pairs)" in told and "false alarm" in told and '"sha256"' in told
    assert "b" not in told.split(), "ids stay in the run's own files"


def test_pairs_that_folds_part_are_counted() -> None:
    pairs = [replace(PAIR, second="c"), PAIR, replace(PAIR, first="a")]  # b and c, b and d, a and d: the second passes
    with pytest.raises(LeakageError, match=r"patients 2 and 3 of 4 .*\(1 of 2 such pairs\)"):
        check_leakage(pairs, Folds(0, TOGETHER))


def test_folds_that_keep_a_pair_together_pass() -> None:
    check_leakage([PAIR], Folds(0, TOGETHER))
    check_leakage([], Folds(0, TOGETHER | {"d": ("test", "train")}))


def test_a_pair_without_a_fold_is_refused() -> None:
    with pytest.raises(LeakageError, match="no fold"):
        check_leakage([replace(PAIR, second="nobody")], Folds(0, TOGETHER))


def test_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "near_duplicates.json"
    save_pairs(path, [PAIR], 431)
    assert load_pairs(path) == (PAIR,)
    assert artifacts.load_json(path)["n"] == 431
    for value in ([], {}, {"pairs": [{"first": "a"}]}, {"pairs": 3}):
        artifacts.write_json(path, value)
        with pytest.raises(CorruptFileError, match="near_duplicates"):
            load_pairs(path)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_folds_edited_by_hand_are_told_to_drop_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    save_folds(path, make_folds([f"P{i}" for i in range(12)], [1, 0, 0] * 4, FoldsConfig()))
    value = artifacts.load_json(path)
    value["patients"]["P3"] = value["patients"]["P4"]
    artifacts.write_json(path, value)
    with pytest.raises(CorruptFileError, match='edited by hand, take out its "sha256" line'):
        load_folds(path)
    del value["sha256"]
    artifacts.write_json(path, value)
    folds = load_folds(path)
    assert folds.splits["P3"] == folds.splits["P4"]


def test_a_patient_in_two_splits_of_a_file_made_by_hand(tmp_path: Path) -> None:
    """Given twice, tested twice, or with two answers to where it is tested."""
    path = tmp_path / "folds.json"
    save_folds(path, make_folds([f"P{i}" for i in range(12)], [1, 0, 0] * 4, FoldsConfig()))
    value = artifacts.load_json(path)
    del value["sha256"]
    at = value["patients"]["P3"]["test_fold"]

    def refused(edit: Callable[[Path], None], match: str) -> None:
        artifacts.write_json(path, value)
        load_folds(path)
        edit(path)
        with pytest.raises(LeakageError, match=match) as caught:
            load_folds(path)
        assert caught.value.exit_code == 7 and str(path) in str(caught.value)

    refused(lambda file: _edit(file, '"P4": {', '"P3": {'), "come twice")
    wrong = dict(value["patients"]["P3"], test_fold=(at + 1) % 3)
    refused(lambda file: artifacts.write_json(file, value | {"patients": value["patients"] | {"P3": wrong}}), "differ")
    twice = dict(value["patients"]["P3"], splits=["test"] * 3)
    refused(lambda file: artifacts.write_json(file, value | {"patients": value["patients"] | {"P3": twice}}), "3 test")
