"""Images are read as ingest reads them: faults named by patient, nothing changed, copies found across patients."""

import shutil
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from data_pipelines.checks import Verification, verify
from data_pipelines.checks.verify import save_verification
from data_pipelines.phantom.dicom import save_dicom_cohort


@pytest.fixture(scope="module")
def clinic(sound_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients as DICOM: P000002 truncated, P000003 with P000001's image; the table's row 3 has an age of 210."""
    directory = tmp_path_factory.mktemp("clinic") / "export"
    save_dicom_cohort(sound_cohort, directory)
    for patient in sorted((directory / "patients").iterdir())[4:]:
        shutil.rmtree(patient)
    first, second, third = (directory / "patients" / f"P00000{i}" / "slice.dcm" for i in (1, 2, 3))
    second.write_bytes(second.read_bytes()[:3000])
    shutil.copy(first, third)
    lines = (directory / "clinical.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[lines[0].split(",").index("age_years")] = "210"
    (directory / "clinical.csv").write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    return directory


@pytest.fixture(scope="module")
def result(clinic: Path) -> Verification:
    inputs = sorted((clinic / "patients").iterdir(), reverse=True)
    before = {file: artifacts.sha256_file(file) for file in clinic.rglob("*") if file.is_file()}
    result = verify(inputs, clinic / "clinical.csv", with_overlays=True, workers=1)
    assert {file: artifacts.sha256_file(file) for file in clinic.rglob("*") if file.is_file()} == before
    return result


def test_faults_are_named_by_patient_and_row(result: Verification) -> None:
    errors = [(f.patient, f.row, f.column, f.code) for f in result.findings if f.severity == "error"]
    print(*errors, sep="\n")
    damaged = [code for patient, row, _, code in errors if patient == "P000002" and row is None]
    assert len(damaged) == 1 and damaged[0].startswith("dicom-")
    twins = {f.patient: f.fact for f in result.findings if f.code == "cohort-same-image"}
    assert twins == {"P000003": "equal to input 4 on every pixel", "P000001": "equal to input 2 on every pixel"}
    assert [error[:3] for error in errors if error[3].startswith("csv-")] == [("P000002", 3, "age_years")]
    assert len(errors) == 4
    assert all(finding.mend for finding in result.findings)


def test_a_refused_row_is_not_a_missing_one(result: Verification) -> None:
    told = {finding.code: finding.what for finding in result.findings}
    assert told["cohort-row-refused"].startswith("1 of 4 inputs have a row with errors")
    assert not {"cohort-no-row", "cohort-no-label"} & set(told)


def test_a_refused_row_leaves_the_readable_image_without_its_columns(clinic: Path, tmp_path: Path) -> None:
    """Both readable patients' rows are in the table; one of them has an impossible age."""
    lines = (clinic / "clinical.csv").read_text().splitlines()
    cells = lines[4].split(",")
    cells[lines[0].split(",").index("age_years")] = "210"
    table = tmp_path / "clinical.csv"
    table.write_text("\n".join([lines[0], lines[1], ",".join(cells)]) + "\n")
    result = verify([clinic / "patients" / name for name in ("P000001", "P000004")], table, workers=1)
    assert result.card is not None
    assert (result.card["n_inputs"], result.card["n_slices"], result.card["n_with_row"]) == (2, 2, 1)
    assert result.card["outcome"]["unknown"] == 1
    assert "cohort-no-label" not in {finding.code for finding in result.findings}


def test_inputs_are_numbered_in_the_order_given(result: Verification) -> None:
    assert result.numbers == {"P000004": 1, "P000003": 2, "P000002": 3, "P000001": 4}


def test_places_say_nothing_of_the_machine(result: Verification, clinic: Path) -> None:
    told = [finding.where for finding in result.findings if finding.patient]
    assert not any(str(clinic) in where for where in told)


def test_card_and_sheet_hold_those_who_could_be_read(result: Verification, tmp_path: Path, clinic: Path) -> None:
    assert result.card is not None
    assert result.card["n_patients"] == 3 and result.card["kind"] == "real"
    save_verification(result, tmp_path / "out", [clinic / "patients"])
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"findings.json", "findings.csv", "datacard.md", "datacard.json", "contact_sheet_01.png",
                     "manifest.json"}
    for file in (tmp_path / "out").iterdir():
        assert b"Synthetic^Phantom" not in file.read_bytes(), f"PatientName in {file.name}"
    page = (tmp_path / "out" / "datacard.md").read_text()
    assert "P00000" not in page and "Real" in page
    assert "4 inputs, 3 readable, 3 of them with a usable row" in page
    pictures = list(result.pictures())
    truncated = pictures[2].code
    assert [picture.caption for picture in pictures] == [
        "input 1", "input 2 · cohort-same-image", f"input 3 · {truncated}", "input 4 · cohort-same-image"]
    assert [picture.image is None for picture in pictures] == [False, False, True, False]
    assert truncated.startswith("dicom-")


def test_a_warning_that_all_share_colours_no_rim(result: Verification) -> None:
    assert result.shared == ("slice-only",)
    assert next(iter(result.pictures())).worst is None


def test_pictures_are_cropped_to_the_slice(result: Verification) -> None:
    """112 x 144 pixels of 3 mm."""
    image = next(iter(result.pictures())).image
    assert image is not None and image.size == (900, 700)


def test_a_table_that_cannot_be_read_does_not_hide_the_images(clinic: Path, tmp_path: Path) -> None:
    table = tmp_path / "clinical.csv"
    table.write_bytes(b"PK\x03\x04 a workbook")
    result = verify([clinic / "patients" / "P000001"], table, workers=1)
    codes = {finding.code for finding in result.findings}
    assert any(code.startswith("csv-") for code in codes)
    assert result.card is not None and result.card["n_patients"] == 1


def test_inputs_of_one_name_are_told(clinic: Path) -> None:
    folder = clinic / "patients" / "P000001"
    assert [finding.code for finding in verify([folder, folder]).findings] == ["cohort-same-name"]
