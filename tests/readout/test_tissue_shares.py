"""Shares of a map by tissue against plain loops; the file of a run against its contract."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import Folds, make_folds
from bonemet_jax.config import Config, FoldsConfig, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.errors import CorruptFileError, InputDataError
from bonemet_jax.input_pipeline.records import RecordArrays, load_records
from bonemet_jax.readout.embeddings import compute_embeddings
from bonemet_jax.readout.gradcam import compute_gradcam
from bonemet_jax.readout.gradcam_run import compute_run_gradcam
from bonemet_jax.readout.tissue_shares import REGIONS, compute_area_shares, compute_shares, make_regions
from bonemet_jax.train.loop import train_folds
from data_pipelines.bonemet_ct.grid import to_grid
from data_pipelines.bonemet_ct.tissue import TissueReader
from data_pipelines.canonical import load_slice

pytestmark = pytest.mark.every_change

CONFIG = Config(
    name="small",
    records=RecordsConfig(height=64, width=80, spacing_mm=4.0),
    folds=FoldsConfig(n_folds=2),
    model=ModelConfig(network="tiny"),
    train=TrainConfig(epochs=1, batch_size=4),
)


def _draw(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Maps (2, 3, patient, 12, 10) and regions of five patients."""
    random = np.random.default_rng(seed)
    return random.gamma(0.3, size=(2, 3, 5, 12, 10)).astype(np.float32), random.integers(0, 6, (5, 12, 10), np.uint8)


def test_regions_part_the_picture() -> None:
    tissue = np.array([[0, 1, 2, 3, 4, 0, 1]], np.uint8)
    body = np.array([[1, 1, 1, 1, 1, 0, 0]], np.uint8)
    names = [list(REGIONS)[code] for code in make_regions(tissue, body)[0]]
    assert names == ["body", "sat", "vat", "muscle", "fat_unsegmented", "outside", "sat"]
    assert len(schema.TISSUE_NAMES) + 1 == len(REGIONS), "every tissue has a region"


def test_shares_are_those_of_a_plain_loop() -> None:
    cam, regions = _draw()
    got = compute_shares(cam, regions)
    assert got.shape == (2, 3, 5, 6)
    for e, s, p, r in np.ndindex(got.shape):
        one = cam[e, s, p].astype(np.float64)
        assert got[e, s, p, r] == pytest.approx(one[regions[p] == r].sum() / one.sum(), rel=1e-6)
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-12)


def test_a_map_without_preference_has_the_shares_of_areas() -> None:
    _, regions = _draw(1)
    area = compute_area_shares(regions)
    np.testing.assert_allclose(area, [[(one == r).mean() for r in range(6)] for one in regions], rtol=1e-12)
    np.testing.assert_allclose(compute_shares(np.full((1, 5, 12, 10), 0.37, np.float32), regions)[0], area, rtol=1e-6)


def test_a_map_of_zeros_has_no_shares() -> None:
    cam, regions = _draw()
    cam[1, 2, 3] = 0
    assert np.isnan(compute_shares(cam, regions)).all(-1).sum() == 1
    assert np.isnan(compute_shares(cam, regions)[1, 2, 3]).all()


@pytest.fixture(scope="module")
def records(small_records: dict[str, Path]) -> RecordArrays:
    return load_records(small_records["array_record"])


@pytest.fixture(scope="module")
def folds(records: RecordArrays) -> Folds:
    return make_folds(records.patient_id, records.label.tolist(), CONFIG.folds)


@pytest.fixture(scope="module")
def run_dir(records: RecordArrays, folds: Folds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small cohort, embedded."""
    path = tmp_path_factory.mktemp("run")
    train_folds(records, folds, CONFIG, path)
    compute_embeddings(records, CONFIG, path, CONFIG.folds.n_folds)
    return path


def test_tissues_lie_where_the_records_fat_mask_lies(records: RecordArrays, small_cohort: Path) -> None:
    found = TissueReader(small_cohort, CONFIG.records).read(records.patient_id)
    np.testing.assert_array_equal(np.isin(found.tissue, schema.FAT_CODES), records.mask)
    assert not found.tissue[found.body == 0].any()
    with pytest.raises(InputDataError, match="1 patients of the records are not in the cohort"):
        TissueReader(small_cohort, CONFIG.records).read(["p00", "stranger"])


def test_tissues_of_another_spacing_come_as_their_fat_mask_does(small_cohort: Path) -> None:
    """3.5 mm instead of 4: labels are resampled; joined by patient_id, whatever the table's order."""
    config = RecordsConfig(height=80, width=96, spacing_mm=3.5)
    found = TissueReader(small_cohort, config).read(["p07", "p02"])
    for i, name in enumerate(("s07", "s02")):
        grid = to_grid(load_slice(small_cohort / "slices" / f"{name}.npz"), config)
        np.testing.assert_array_equal(np.isin(found.tissue[i], schema.FAT_CODES), grid.fat_mask)
        np.testing.assert_array_equal(found.body[i], grid.body)


def test_file_of_a_run_follows_the_contract(
    run_dir: Path, records: RecordArrays, folds: Folds, small_cohort: Path
) -> None:
    """Every patient by the network that holds the patient out; two of each fold are kept as pictures."""
    reader = TissueReader(small_cohort, CONFIG.records)
    compute_run_gradcam(records, folds, CONFIG, run_dir, lambda ids: make_regions(*reader.read(ids)))
    found = artifacts.load_npz(run_dir / "gradcam.npz")
    ids = found["patient_id"].tolist()
    assert tuple(ids) == records.patient_id and found["fold"].tolist() == [folds.test_fold(p) for p in ids]
    assert found["stage"].tolist() == ["stage1", "stage2"] and found["evidence"].tolist() == ["for", "against"]
    assert found["region"].tolist() == list(REGIONS)
    score = artifacts.load_npz(run_dir / "embeddings.npz")["score"]
    np.testing.assert_array_equal(found["score"], score[found["fold"], np.arange(13)])
    np.testing.assert_array_equal(found["label"], records.label)
    regions = make_regions(*reader.read(ids))
    np.testing.assert_allclose(found["area_share"], compute_area_shares(regions), rtol=1e-6)
    for fold in (0, 1):
        own = np.flatnonzero(found["fold"] == fold)
        cam = compute_gradcam(records, CONFIG, run_dir, fold, own.tolist(), evidence="against")
        np.testing.assert_allclose(found["share"][1][:, own], compute_shares(cam, regions[own]), atol=1e-5)
        np.testing.assert_allclose(found["mass"][1][:, own], cam.sum((2, 3)), rtol=1e-4)
        for place, pick in ((2 * fold, np.argmax), (2 * fold + 1, np.argmin)):
            at = own[pick(found["score"][own])]
            assert found["shown_patient_id"][place] == ids[at]
            picture = found["shown_cam"][1, :, place] * found["shown_cam_max"][1, :, place, None, None]
            np.testing.assert_allclose(picture, cam[:, list(own).index(at)], atol=1e-3 * cam.max())
            np.testing.assert_array_equal(found["shown_region"][place], regions[at])
            np.testing.assert_array_equal(found["shown_ct"][place], records.ct[at])
    assert found["shown_cam"].dtype == np.float16 and found["shown_cam"].max() == 1


def test_embeddings_of_other_records_are_refused(run_dir: Path, records: RecordArrays, folds: Folds) -> None:
    other = replace(records, patient_id=tuple(p.replace("p", "q") for p in records.patient_id))
    with pytest.raises(CorruptFileError, match="embeddings are not of these records"):
        compute_run_gradcam(other, folds, CONFIG, run_dir, lambda ids: np.zeros((len(ids), 64, 80), np.uint8))
