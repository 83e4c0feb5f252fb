"""The cohort directory."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.config import PhantomConfig
from bonemet_jax.errors import DiskError, UsageError
from data_pipelines.canonical import load_slice
from data_pipelines.phantom import cohort, make_cohort, make_table


def small(n=13, **changes):
    return PhantomConfig(n=n, height=160, width=200, spacing_mm=2.0, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    make_cohort(small(), out, workers=1)
    return out


def test_directory_is_complete(made):
    manifest = artifacts.check_manifest(made)
    assert manifest["facts"]["kind"] == "synthetic"
    assert manifest["facts"]["n"] == 13
    table = artifacts.load_table(made / "cohort.parquet")
    assert not any("texture" in name or "factor" in name for name in table)
    assert sorted(p.stem for p in (made / "slices").iterdir()) == table[schema.SLICE_ID].tolist()
    assert len(list((made / "overlays").glob("*.png"))) == 10
    image = load_slice(made / "slices" / "P000013.npz")
    assert image.hu.shape == image.tissue.shape == image.body.shape == (160, 200)
    assert (image.hu.dtype, image.spacing_mm) == (np.int16, (2.0, 2.0))
    assert image.hu.min() >= schema.HU_PADDING


def test_table_is_make_tables(made):
    table, length_mm = make_table(small())
    saved = artifacts.load_table(made / "cohort.parquet")
    np.testing.assert_allclose(saved["sfa_cm2"], table["sfa_cm2"])
    planted = artifacts.load_json(made / "truth.json")["texture"]
    found = [planted["median_mm"] * np.exp(planted["log_sd"] * planted["factor"][p]) for p in saved["patient_id"]]
    np.testing.assert_allclose(found, length_mm, rtol=1e-5)


@pytest.mark.every_change
def test_same_bytes_for_any_number_of_processes(made, tmp_path, monkeypatch):
    monkeypatch.setattr(cohort, "_SPAWN_FROM", 0)
    make_cohort(small(), tmp_path / "two", workers=2)
    assert artifacts.load_json(tmp_path / "two" / "manifest.json") == artifacts.load_json(made / "manifest.json")


def test_without_texture_the_values_of_fat_lie_elsewhere_and_nothing_else_changes(made, tmp_path):
    make_cohort(small(texture_strength=0), tmp_path / "plain", workers=1)
    table, plain = (artifacts.load_table(d / "cohort.parquet") for d in (made, tmp_path / "plain"))
    pd.testing.assert_frame_equal(table, plain)
    assert artifacts.load_json(tmp_path / "plain" / "truth.json")["texture"]["log_sd"] == 0
    moved = []
    for name in table[schema.SLICE_ID]:
        with_texture, without = (load_slice(d / "slices" / f"{name}.npz") for d in (made, tmp_path / "plain"))
        np.testing.assert_array_equal(with_texture.tissue, without.tissue)
        fat = np.isin(with_texture.tissue, (schema.TISSUE_SAT, schema.TISSUE_VAT))
        np.testing.assert_array_equal(with_texture.hu[~fat], without.hu[~fat])
        moved.append((with_texture.hu[fat] != without.hu[fat]).mean())
        np.testing.assert_array_equal(np.sort(with_texture.hu[fat]), np.sort(without.hu[fat]))
    assert min(moved) > 0 and np.median(moved) > 0.5


def test_other_seed_other_bytes(made, tmp_path):
    make_cohort(small(seed=1), tmp_path / "other", workers=1)
    first, other = (artifacts.load_json(d / "manifest.json")["files"] for d in (made, tmp_path / "other"))
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize("generator", ["repaired", "as_printed"])
@pytest.mark.parametrize("null", [False, True])
def test_truth_holds_what_was_planted(generator, null, tmp_path):
    make_cohort(small(12, generator=generator, null=null, seed=3), tmp_path / "c", workers=1)
    truth = json.loads((tmp_path / "c" / "truth.json").read_text())
    assert (truth["generator"], truth["seed"], truth["n"], truth["null"]) == (generator, 3, 12, null)
    assert set(truth["bayes_auc"]) == {"imaging", "clinical", "both"}
    assert truth["expected_event_share"] == pytest.approx(52 / 431)
    assert isinstance(truth["redrawn_rows"], int)
    assert truth["marginals"]["sfi_cm2_m2"]["no"]["printed_mean"] == 60.2
    assert len(truth["texture"]["factor"]) == 12
    planted = generator == "repaired" and not null
    assert bool(truth["log_hazard_ratios"]) == planted
    assert (truth["texture"]["log_hazard_ratio_per_sd"] is not None) == planted
    if planted:
        assert np.exp(truth["log_hazard_ratios"]["sfi_cm2_m2"]) == pytest.approx(0.97)
        assert truth["log_hazard_ratios"]["sfa_cm2"] == 0.0
    if null:
        assert set(truth["bayes_auc"].values()) == {0.5}


def test_other_peoples_files_are_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="no synthetic cohort"):
        make_cohort(small(), tmp_path, workers=1)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("manifest", ['{"files": {}, "facts": {"kind": "real", "n": 3}}', '{"facts": null}', "[]", "{"])
def test_real_cohort_is_never_replaced(manifest, tmp_path):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UsageError, match="no synthetic cohort"):
        make_cohort(small(), tmp_path, workers=1)
    assert (tmp_path / "manifest.json").read_text() == manifest


def test_synthetic_cohort_may_be_replaced(tmp_path):
    (tmp_path / "manifest.json").write_text('{"files": {}, "facts": {"kind": "synthetic"}}')
    make_cohort(small(12), tmp_path, workers=1)
    assert artifacts.check_manifest(tmp_path)["facts"]["n"] == 12


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(path, image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cohort, "save_slice", full)
    with pytest.raises(DiskError, match="No space left"):
        make_cohort(small(), tmp_path / "c", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_room_is_light():
    code = "import sys, data_pipelines.phantom; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["jax", "tensorflow", "matplotlib", "sklearn", "sksurv", "skimage"]
    found = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
