"""Cohort directory and table of areas: joined by id, whole or not at all, no name in any file."""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import BonemetError, InputDataError, UsageError
from data_pipelines.canonical import load_slice
from data_pipelines.ingest import Choice, ingest, measure
from data_pipelines.ingest.cohort import SALT, make_slice_id
from tests.ingest.conftest import GRID, SPACING_MM, make_dicom, make_hu, save_dicom

pytestmark = pytest.mark.usefixtures("one_process")

CSV = "patient_id,age_years,height_m,bone_metastasis,dmfs_months,dmfs_event,sfa_cm2,vfa_cm2,menopause\n" \
      "patient_b,61,1.6,1,24,1,999,80,post\n007,50,,0,60,0,,,\nabsent,40,1.7,0,60,0,,,\n"
Z = -85.0


@pytest.fixture
def clinical(tmp_path: Path) -> Path:
    (tmp_path / "clinical.csv").write_text(CSV)
    return tmp_path / "clinical.csv"


def test_cohort_directory(dicom_folder: Path, nifti_folder: Path, clinical: Path, tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    ingest([nifti_folder, dicom_folder], out, clinical=clinical, choice=Choice(slice_z_mm=Z))
    manifest = artifacts.check_manifest(out)
    told = artifacts.load_json(out / "ingest.json").values()
    flags = manifest["facts"].pop("flags")
    assert manifest["facts"] == {"kind": "real", "n": 2, "intake_rules": 2}
    assert flags and all(n == sum(code in one["flags"] for one in told) for code, n in flags.items())
    table = artifacts.load_table(out / "cohort.parquet").set_index(schema.PATIENT_ID)
    assert list(table.index) == ["007", "patient_b"]
    assert set(schema.clinical_names()) < set(table.columns)
    row = table.loc["patient_b"]
    assert row["sfa_cm2"] < 900, "measured here wins over the table"
    assert row["sfi_cm2_m2"] == pytest.approx(row["sfa_cm2"] / 2.56)
    assert row["vfa_cm2"] == 80, "the table's value where nothing was measured"
    assert (row["dmfs_months"], row["dmfs_event"], row["menopause"]) == (24, 1, "post")
    assert np.isnan(table.loc["007", "esma_cm2"]) and np.isnan(table.loc["007", "height_m"])
    assert table["bone_metastasis"].dtype == np.float64
    for slice_id in table[schema.SLICE_ID]:
        assert load_slice(out / "slices" / f"{slice_id}.npz").hu.shape == (60, 80)
        assert (out / "overlays" / f"{slice_id}.png").is_file()
    assert artifacts.load_json(out / "ingest.json")[row[schema.SLICE_ID]]["z_mm"] == Z


@pytest.mark.every_change
def test_salt_is_made_once_private_and_kept(dicom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    ingest([dicom_folder], out, choice=Choice(slice_z_mm=Z))
    salt = (out / SALT).read_bytes()
    assert len(salt) == 16
    assert stat.S_IMODE((out / SALT).stat().st_mode) == 0o600
    first = sorted(f.name for f in (out / "slices").iterdir())
    ingest([dicom_folder], out, choice=Choice(slice_z_mm=Z))
    assert (out / SALT).read_bytes() == salt
    assert sorted(f.name for f in (out / "slices").iterdir()) == first == [f"{make_slice_id(salt, '007')}.npz"]
    ingest([dicom_folder], tmp_path / "other", choice=Choice(slice_z_mm=Z))
    assert (tmp_path / "other" / SALT).read_bytes() != salt
    assert SALT not in artifacts.load_json(out / artifacts.MANIFEST)["files"]


def test_measure_writes_csv_json_and_overlays(nifti_folder: Path, clinical: Path, tmp_path: Path) -> None:
    out = tmp_path / "areas"
    results = measure([nifti_folder], out, clinical=clinical)
    row = results["patients"][0]
    assert row["z_mm"] == Z and row["level"] == "T11"
    assert row["sfi_cm2_m2"] == pytest.approx(row["sfa_cm2"] / 2.56)
    assert row["esma_cm2"] is None
    assert json.loads((out / "areas.json").read_text()) == results
    lines = (out / "areas.csv").read_text().splitlines()
    assert len(lines) == 2 and lines[0].startswith("patient_id,")
    assert (out / row["overlay"]).is_file()
    assert measure([nifti_folder], out) != results, "without heights there are no indices"


def test_masks_of_several_patients_go_by_name(
    nifti_folder: Path, dicom_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / "masks"
    shutil.move(nifti_folder / "masks", masks / "patient_b")
    shutil.copytree(masks / "patient_b", masks / "007")
    rows = measure([nifti_folder, dicom_folder], tmp_path / "areas", masks=masks)["patients"]
    assert [row["slice_index"] for row in rows] == [3, 3]
    assert rows[0]["sfa_cm2"] == rows[1]["sfa_cm2"] > 0
    shutil.rmtree(masks / "007")
    summary = measure([nifti_folder, dicom_folder], tmp_path / "areas", masks=masks)
    assert len(summary["patients"]) == 1
    assert [(f["input"], f["of"], f["code"]) for f in summary["failed"]] == [(2, 2, "level-unknown")]
    assert "input 2 of 2: no entry for this input in --masks" in capfd.readouterr().err, "why the level is unknown"
    choice = Choice(slice_z_mm=Z)
    rows = measure([nifti_folder, dicom_folder], tmp_path / "areas", masks=masks, choice=choice)["patients"]
    assert ["cohort-no-masks" in row["flags"] for row in rows] == [True, False]
    assert [row["sfa_source"] for row in rows] == ["hu", "mask"]


def test_an_error_in_a_row_concerns_that_patient_alone(
    nifti_folder: Path, dicom_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "clinical.csv"
    table.write_text("patient_id,age_years\npatient_b,250\n007,50\nstranger,old\n")
    summary = ingest([nifti_folder, dicom_folder], tmp_path / "cohort", clinical=table, choice=Choice(slice_z_mm=Z))
    assert [(f["input"], f["code"]) for f in summary["failed"]] == [(1, "csv-range")]
    assert "row 2, column age_years" in summary["failed"][0]["what"]
    assert list(artifacts.load_table(tmp_path / "cohort" / "cohort.parquet")[schema.PATIENT_ID]) == ["007"]
    assert "warning: row 4, column age_years" in capfd.readouterr().err


def test_one_image_under_two_names_is_kept_once(dicom_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(dicom_folder, tmp_path / "copy")
    summary = ingest([tmp_path / "copy", dicom_folder], tmp_path / "cohort", choice=Choice(slice_z_mm=Z))
    assert [(f["code"], f["fact"]) for f in summary["failed"]] == [
        ("cohort-same-image", "equal to input 2 of 2 on every pixel")
    ]
    assert list(artifacts.load_table(tmp_path / "cohort" / "cohort.parquet")[schema.PATIENT_ID]) == ["007"]


def test_tables_index_is_not_kept_beside_an_area_measured_here(nifti_folder: Path, tmp_path: Path, capfd) -> None:
    """Without a height the index of the measured area is unknown; the index of an area not measured stays."""
    table = tmp_path / "clinical.csv"
    table.write_text("patient_id,sfa_cm2,sfi_cm2_m2,vfa_cm2,vfi_cm2_m2\npatient_b,999,390,80,31\n")
    ingest([nifti_folder], tmp_path / "cohort", clinical=table)
    row = artifacts.load_table(tmp_path / "cohort" / "cohort.parquet").iloc[0]
    assert row["sfa_cm2"] < 900 and np.isnan(row["sfi_cm2_m2"])
    assert (row["vfa_cm2"], row["vfi_cm2_m2"]) == (80, 31)
    assert "no height: the table's sfi_cm2_m2 left out" in capfd.readouterr().err


def test_warnings_name_inputs_by_number(
    nifti_folder: Path, dicom_folder: Path, clinical: Path, tmp_path: Path, capfd
) -> None:
    choice = Choice(slice_z_mm=Z, segment="none")
    measure([nifti_folder, dicom_folder], tmp_path / "areas", clinical=clinical, choice=choice)
    told = capfd.readouterr().err
    assert "warning: input 1 of 2: masks hold" in told and "warning: input 2 of 2: fat is unsegmented" in told
    assert "patient_b" not in told and "007" not in told


def test_regions_go_out_to_readers_and_come_back(tmp_path: Path) -> None:
    """On a series stored on its side: what two readers give back uncorrected is the slice as it was measured."""
    hu = make_hu()[0]
    header = make_dicom(hu[::-1].T)
    header.ImageOrientationPatient = [0, -1, 0, 1, 0, 0]
    header.ImagePositionPatient = [GRID.corner_mm[0], GRID.corner_mm[1] + SPACING_MM[0] * (len(hu) - 1), Z]
    header.PixelSpacing = list(SPACING_MM[::-1])
    save_dicom(header, tmp_path / "p" / "x")
    choice = Choice(slice_z_mm=Z)
    first = measure([tmp_path / "p"], tmp_path / "areas", choice=choice, workers=1)["patients"][0]
    assert first["sfa_cm2"] > 0
    for reader in ("ann", "bob"):
        (tmp_path / "rois" / reader).mkdir(parents=True)
        shutil.copy(tmp_path / "areas" / first["regions"], tmp_path / "rois" / reader / "p.zip")
    ingest([tmp_path / "p"], tmp_path / "cohort", rois=tmp_path / "rois", choice=choice, workers=1)
    slice_id, facts = next(iter(artifacts.load_json(tmp_path / "cohort" / "ingest.json").items()))
    image = load_slice(tmp_path / "cohort" / "slices" / f"{slice_id}.npz")
    assert facts["sfa_cm2"] == first["sfa_cm2"] == facts["sfa_cm2_reader2"]
    kept = artifacts.load_npz(tmp_path / "cohort" / "readers" / f"{slice_id}.npz")
    assert sorted(kept) == ["reader1", "reader2"], "numbered: a reader is a person too"
    for tissue in kept.values():
        np.testing.assert_array_equal(tissue, image.tissue)
    assert not (tmp_path / "cohort" / "regions").exists(), "readers' own are not handed out again"


def _refused(kind: type[BonemetError], wanted: str, out: Path, **arguments: object) -> None:
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(kind, match=wanted) as refusal:
        ingest(out=out, **arguments)
    assert "\n" not in str(refusal.value)
    assert sorted(out.parent.rglob("*")) == before, "something was written"


def test_bad_input_writes_nothing(dicom_folder: Path, clinical: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "noid.csv").write_text("age_years\n50\n")
    (tmp_path / "strangers.csv").write_text("patient_id\nx\n")
    twin = tmp_path / "twin" / "007"
    shutil.copytree(dicom_folder, twin)
    out = tmp_path / "results" / "cohort"
    out.parent.mkdir()
    _refused(InputDataError, "no DICOM files", out, inputs=[empty])
    _refused(InputDataError, "no such file", out, inputs=[tmp_path / "absent"])
    _refused(InputDataError, "patient_id", out, inputs=[dicom_folder], clinical=tmp_path / "noid.csv")
    _refused(InputDataError, "name of an input folder", out, inputs=[dicom_folder], clinical=tmp_path / "strangers.csv")
    _refused(InputDataError, "inputs 1 and 2 have the same name", out, inputs=[dicom_folder, twin])
    _refused(InputDataError, "--slice-z", out, inputs=[dicom_folder], clinical=clinical)
    _refused(UsageError, "no input", out, inputs=[])


def test_output_never_replaces_what_is_not_its_own(dicom_folder: Path, tmp_path: Path) -> None:
    _refused(UsageError, "holds an input", tmp_path, inputs=[dicom_folder], choice=Choice(slice_z_mm=Z))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    _refused(UsageError, "not an earlier output", mine, inputs=[dicom_folder], choice=Choice(slice_z_mm=Z))
    measure([dicom_folder], tmp_path / "areas", choice=Choice(slice_z_mm=Z))
    _refused(UsageError, "not an earlier output", tmp_path / "areas", inputs=[dicom_folder])
