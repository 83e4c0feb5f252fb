"""The synthetic cohort as DICOM: an independent reader finds the same Hounsfield units in the same place."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.pixels import apply_rescale

from bonemet_jax import artifacts, schema
from bonemet_jax.cli import main
from bonemet_jax.errors import UsageError
from data_pipelines.canonical import load_slice
from data_pipelines.phantom.dicom import save_dicom_cohort


@pytest.fixture(scope="module")
def dicoms(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dicoms") / "out"
    save_dicom_cohort(small_cohort, out)
    return out


def test_pixels_and_geometry_are_the_slices(dicoms: Path, small_cohort: Path) -> None:
    for row in artifacts.load_table(small_cohort / "cohort.parquet").itertuples():
        image = load_slice(small_cohort / "slices" / f"{row.slice_id}.npz")
        header = pydicom.dcmread(dicoms / "patients" / row.patient_id / "slice.dcm")
        np.testing.assert_array_equal(apply_rescale(header.pixel_array, header), image.hu)
        assert tuple(map(float, header.PixelSpacing)) == image.spacing_mm
        # 64 x 80 pixels of 4 mm about the origin: centres of the corner pixels at -(80 - 1) / 2 * 4 and so on
        assert [float(v) for v in header.ImagePositionPatient] == [-158, -126, 0]


def test_the_table_holds_what_ingest_does_not_measure(dicoms: Path) -> None:
    table = pd.read_csv(dicoms / "clinical.csv", dtype={schema.PATIENT_ID: str})
    assert len(table) == 13 and {"age_years", "height_m", "bone_metastasis"} < set(table)
    assert not {"sfa_cm2", "sfi_cm2_m2", "slice_id"} & set(table)


def test_equal_cohorts_give_equal_bytes(dicoms: Path, small_cohort: Path, tmp_path: Path) -> None:
    save_dicom_cohort(small_cohort, tmp_path / "again")
    assert artifacts.check_manifest(tmp_path / "again") == artifacts.check_manifest(dicoms)


def test_nothing_of_the_users_is_replaced(small_cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="no synthetic DICOM"):
        save_dicom_cohort(small_cohort, tmp_path)


def test_flag_of_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, dicom = tmp_path / "cohort", tmp_path / "dicom"
    size = ["--n", "12", "--height", "112", "--width", "144", "--spacing-mm", "3"]
    assert main(["phantom", "-o", str(out), "--dicom", str(dicom), *size]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(dicom)
    assert len(list((dicom / "patients").glob("*/slice.dcm"))) == 12
