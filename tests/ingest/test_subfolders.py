"""Several patients in one input: refused, never one patient's number for all; masks of another id are named."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest import Choice, Failure, Patient, read_patients
from data_pipelines.ingest.dicom import load_dicom
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.inputs import find_only_masks, name_inputs
from data_pipelines.ingest.source import read_source
from tests.ingest.conftest import Z_MM, make_dicom, make_hu, save_dicom, save_nifti

CHOICE = Choice(slice_index=2, segment="none")
DICOM = make_dicom(make_hu()[0])


def _add(path: Path) -> None:
    """A small file of the kind that the ending names; without an ending DICOM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii.gz", ".nii")):
        save_nifti(make_hu(), path)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    elif path.suffix in (".txt", ".png", ".json"):
        path.write_bytes(b"x")
    else:
        save_dicom(DICOM, path)


@pytest.mark.parametrize(
    ("files", "n"),
    [(["bert/IM0001"], 2), (["bert/a/b/IM0001", "cleo/IM0001"], 3), (["bert/ct.nii.gz"], 2), (["bert/scan.nii"], 2),
     (["bert.nii.gz"], 2), (["bert.zip"], 2), (["bert/x.zip"], 2), (["bert/slice.png"], 2),
     (["bert/ct.nii.gz", "cleo/IM0001"], 2)],
)  # fmt: skip
def test_a_folder_of_patients_is_refused(tmp_path: Path, files: list[str], n: int) -> None:
    for name in ("anna/ct.nii.gz", *files):
        _add(tmp_path / "patients" / name)
    with pytest.raises(InputDataError, match=rf"several subfolders: {n} of them.*patients/\*") as refusal:
        read_source(tmp_path / "patients", choice=CHOICE)
    assert refusal.value.code == "file-several-folders"
    (tmp_path / "hospital").mkdir()
    (tmp_path / "patients").rename(tmp_path / "hospital" / "patients")
    with pytest.raises(InputDataError, match="several subfolders"):
        read_source(tmp_path / "hospital", choice=CHOICE)


def test_a_zip_of_patients_is_refused(tmp_path: Path) -> None:
    _add(tmp_path / "patients/anna/ct.nii.gz")
    _add(tmp_path / "patients/bert/IM0001")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "patients"))
    with pytest.raises(InputDataError, match="several subfolders: 2 of them"):
        read_source(packed, choice=CHOICE)


@pytest.mark.parametrize(
    "files", [["ct.nii.gz", "dicom/IM0001", "old/x.nii.gz"], ["study/ct.nii.gz"], ["a/b/ct.nii.gz", "notes/x.txt"],
              ["study/ct.nii.gz", "study/dicom/IM0001"], ["study/ct.nii.gz", "more/masks/x.nii.gz"],
              ["study/scan.nii.gz", "notes/x.json"]],
)  # fmt: skip
def test_one_patients_folders_are_read(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        _add(tmp_path / "p1" / name)
    assert read_source(tmp_path / "p1", choice=CHOICE).kind == "nifti"


def _save_series(folder: Path, heights: range, patient: str = "", series: str = "") -> None:
    for k in heights:
        header = make_dicom(make_hu()[0])
        header.PatientID, header.SeriesInstanceUID = patient, series
        header.ImagePositionPatient = [*header.ImagePositionPatient[:2], Z_MM[0] + 5 * k]
        save_dicom(header, folder / f"{k}.dcm")


def test_anonymised_series_of_two_folders_are_not_one_stack(tmp_path: Path) -> None:
    """Equal geometry, no identifier, one above the other: 4 and 4 slices would be a stack of 8."""
    _save_series(tmp_path / "anna", range(4))
    _save_series(tmp_path / "bert", range(4, 8))
    with pytest.raises(InputDataError, match="2 CT series: 1: 4 slices") as refusal:
        load_dicom(find_files(tmp_path), tmp_path)
    assert refusal.value.code == "dicom-several-series"


@pytest.mark.parametrize(("patient", "series"), [("p1", ""), ("", "1.2.3")])
def test_a_series_with_an_identifier_may_be_in_two_folders(tmp_path: Path, patient: str, series: str) -> None:
    _save_series(tmp_path / "a", range(4), patient, series)
    _save_series(tmp_path / "b", range(4, 8), patient, series)
    assert len(load_dicom(find_files(tmp_path), tmp_path).frames) == 8


# --- Masks of a single input ----------------------------------------------------------------------------


def _add_masks(folder: Path) -> None:
    save_nifti((np.abs(make_hu() + 97) < 30).astype(np.uint8), folder / "subcutaneous_fat.nii.gz")


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    _add(tmp_path / "anna/ct.nii.gz")
    return tmp_path / "anna"


@pytest.mark.parametrize("names", [["998", "999"], ["batch/998", "batch/999"]])
def test_masks_of_several_other_ids_are_not_used(anna: Path, tmp_path: Path, names: list[str]) -> None:
    for name in names:
        _add_masks(tmp_path / "lab" / name)
    (one,) = read_patients([anna], masks=tmp_path / "lab", choice=CHOICE)
    (note,) = [note for note in one.given.findings if note.code == "cohort-no-masks"]
    assert isinstance(one, Patient) and not one.source.has_masks and "anna" in note.ids
    assert "<patient_id>.nii.gz" in note.mend


def test_masks_of_one_other_id_are_used_and_named(anna: Path, tmp_path: Path) -> None:
    _add_masks(tmp_path / "lab/999")
    (one,) = read_patients([anna], masks=tmp_path / "lab", choice=CHOICE)
    (note,) = [note for note in one.given.findings if note.code == "cohort-masks-other"]
    assert isinstance(one, Patient) and one.source.has_masks and "'999'" in note.ids


def test_a_label_map_of_another_id_is_refused_with_the_name_expected(anna: Path, tmp_path: Path) -> None:
    save_nifti(np.zeros(make_hu().shape, np.uint8), tmp_path / "lab/999.nii.gz")
    (one,) = read_patients([anna], masks=tmp_path / "lab", choice=CHOICE)
    assert isinstance(one, Failure) and "<patient_id>.nii.gz" in one.error.mend


def test_a_folder_of_masks_is_used_as_it_is(tmp_path: Path) -> None:
    _add_masks(tmp_path / "masks")
    (tmp_path / "masks/extra").mkdir()
    assert find_only_masks(tmp_path / "masks") == tmp_path / "masks"


# --- Messages -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("n", [1, 2])
def test_the_remedy_of_one_of_many_inputs_is_its_row(tmp_path: Path, n: int) -> None:
    for number in range(n):
        _add(tmp_path / f"p{number}/ct.nii.gz")
    outcomes = list(read_patients([tmp_path / f"p{number}" for number in range(n)], workers=1))
    for one in outcomes:
        assert isinstance(one, Failure) and one.error.code == "level-unknown"
        assert ("fill slice_z_mm in this patient's row" in str(one)) == (n > 1)


def test_equal_names_are_shown_with_both_paths() -> None:
    with pytest.raises(InputDataError, match=r"inputs 1 and 2 have the same name.*a/p1 and b/p1"):
        name_inputs([Path("a/p1"), Path("b/p1")])
