"""Ids that look alike, in every place where inputs are looked up by id: named, never joined silently."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.cohort.folds import load_folds
from bonemet_jax.errors import InputDataError, LeakageError
from bonemet_jax.patient_ids import quote
from data_pipelines.checks.cohort_table import check_table
from data_pipelines.clinical.table import load_clinical
from data_pipelines.findings import Finding
from data_pipelines.ingest.cohort import Batch
from data_pipelines.ingest.inputs import MASK_SUFFIXES
from data_pipelines.ingest.match import EntryFolder, compare_readers, join_table
from data_pipelines.ingest.patients import Failure, read_patients
from tests.ingest.conftest import make_dicom, make_hu, save_dicom, save_nifti
from tests.test_patient_ids import LOOK_ALIKES

OTHER = "other patient"


def _search_table(here: str, there: str, tmp_path: Path) -> tuple[list[str], bool]:
    """Lines about the ids, and whether the input `here` has the row of `there`."""
    (tmp_path / "c.csv").write_text(f'patient_id,age_years\n"{there}",50\n{OTHER},60\n')
    table = load_clinical(tmp_path / "c.csv")
    joined, found = join_table({here: 1, OTHER: 2}, table, tmp_path / "c.csv")
    return [finding.line for finding in (*table.findings, *found)], here in joined.rows


def _search_folder(suffix: str) -> Callable[[str, str, Path], tuple[list[str], bool]]:
    def search(here: str, there: str, tmp_path: Path) -> tuple[list[str], bool]:
        for name in (there, OTHER):
            (tmp_path / f"{name}{suffix}").touch()
        entry = EntryFolder(tmp_path, (suffix,)).find(here)
        return [entry.alike or entry.composed], entry.path is not None

    return search


def _search_folds(here: str, there: str, tmp_path: Path) -> tuple[list[str], bool]:
    splits = {there: {"splits": ["test", "train"]}, OTHER: {"splits": ["train", "test"]}}
    (tmp_path / "folds.json").write_text(json.dumps({"seed": 0, "n_folds": 2, "patients": splits}))
    try:
        load_folds(tmp_path / "folds.json", [here, OTHER])
    except LeakageError as error:
        return [str(error)], False
    return [], True


PLACES = {"clinical table": _search_table, "--masks": _search_folder(".nii.gz"), "--rois": _search_folder(".zip"),
          "folds file": _search_folds}  # fmt: skip


def test_every_look_alike_is_named_in_every_place(tmp_path: Path) -> None:
    n_named = n_silent = n_joined = 0
    for kind, pair in LOOK_ALIKES.items():
        for place, search in PLACES.items():
            for here, there in (pair, pair[::-1]):
                folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
                folder.mkdir()
                lines, is_joined = search(here, there, folder)
                is_named = any(quote(here) in line and quote(there)[:-1] in line for line in lines)
                # Blanks around an id of the table are left out and Unicode's two forms are one text, with a line each.
                may_join = (kind == "Unicode composition" and place != "folds file") or (
                    place == "clinical table" and there.strip() == here)  # fmt: skip
                assert is_named and is_joined <= may_join, (kind, place, here, there, lines)
                n_named, n_joined, n_silent = n_named + is_named, n_joined + is_joined, n_silent + (not is_named)
    print(f"ids: {len(LOOK_ALIKES)} kinds of look-alikes x {len(PLACES)} places x 2 directions: {n_named} named "
          f"({n_joined} of them joined with a warning), {n_silent} silent")  # fmt: skip
    assert n_named == len(LOOK_ALIKES) * len(PLACES) * 2 and n_silent == 0


@pytest.mark.parametrize(("names", "twice"), [
    (("p1.nii", "p1.nii.gz"), "<patient_id>.nii, <patient_id>.nii.gz"),
    (("p1/", "p1.nii.gz"), "<patient_id>/, <patient_id>.nii.gz"), (("p1.dcm", "p1.zip"), "<patient_id>.dcm"),
    (("p1.NII.gz", "p1.nii.gz"), "<patient_id>.NII.gz"), (("e\u0301.nii", "e\u0301.nii.gz"), "<patient_id>.nii"),
    (("p1.nii.gz", "p11.nii.gz", "p1.txt"), ""), (("p1/",), ""), (("\u00e9.nii", "e\u0301.nii.gz"), ""),
])  # fmt: skip
def test_several_entries_of_one_patient_are_named_and_none_is_chosen(
    tmp_path: Path, names: tuple[str, ...], twice: str
) -> None:
    for name in names:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    entry = EntryFolder(tmp_path, MASK_SUFFIXES).find("p1" if names[0].startswith("p1") else "\u00e9")
    assert (entry.path is None) == bool(twice) and entry.twice.startswith(twice)
    assert twice or not entry.twice


@pytest.mark.parametrize(("option", "names", "code"), [
    ("masks", ("p1.nii", "p1.nii.gz"), "mask-twice"), ("rois", ("p1.zip", "p1.roi"), "roi-twice"),
    ("rois", ("reader/p1.zip", "reader/p1.roi"), "roi-twice"),
])  # fmt: skip
def test_an_input_with_several_entries_is_refused(
    tmp_path: Path, option: str, names: tuple[str, ...], code: str
) -> None:
    for name in names:
        (tmp_path / "entries" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "entries" / name).touch()
    (failure,) = read_patients([tmp_path / "p1"], **{option: tmp_path / "entries"})
    assert isinstance(failure, Failure) and failure.error.code == code
    assert all(Path(name).name.replace("p1", "<patient_id>") in failure.error.fact for name in names)


def _lines(findings: list[Finding], code: str) -> list[str]:
    return [finding.ids for finding in findings if finding.code == code]


def _join(tmp_path: Path, inputs: list[str], ids: list[str]) -> list[Finding]:
    (tmp_path / "c.csv").write_text("patient_id,age_years\n" + "".join(f'"{one}",50\n' for one in ids))
    return join_table({one: n for n, one in enumerate(inputs, 1)}, load_clinical(tmp_path / "c.csv"),
                      tmp_path / "c.csv")[1]  # fmt: skip


def test_all_of_an_ambiguous_group_are_named_with_row_and_input(tmp_path: Path) -> None:
    (line,) = _lines(_join(tmp_path, ["007", "x"], ["7", "07", "x"]), "cohort-id-alike")
    assert line == "input 1 '007', row 3 '07', row 2 '7' differ by leading zeros"


def test_exact_matches_are_joined_whatever_looks_like_them(tmp_path: Path) -> None:
    found = _join(tmp_path, ["7", "007"], ["7", "007"])
    assert not {"cohort-no-row", "cohort-no-image", "cohort-no-match"} & {finding.code for finding in found}
    (line,) = _lines(found, "cohort-id-alike")
    assert line == "row 3 and input 2 '007', row 2 and input 1 '7' differ by leading zeros"


def test_two_unicode_forms_of_one_name_are_not_joined_to_one_row(tmp_path: Path) -> None:
    """Which of the two folders is meant is not to be guessed."""
    a, b = LOOK_ALIKES["Unicode composition"]
    found = _join(tmp_path, [a, b, "x"], ["x", "Jos\u00e9-01"])
    assert _lines(found, "cohort-id-composed") == []
    (line,) = _lines(found, "cohort-id-alike")
    assert all(quote(one) in line for one in (a, b, "Jos\u00e9-01"))


def test_nothing_matches_and_the_refusal_names_the_first_pairs(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="input 1 '007', row 2 '7' differ by leading zeros") as caught:
        _join(tmp_path, ["007", "008"], ["7", "8"])
    assert caught.value.code == "cohort-no-match" and "'008'" in str(caught.value)


def test_numbers_of_a_site_are_no_look_alikes(tmp_path: Path) -> None:
    ids = [f"{site}-{n}" for site in range(1, 12) for n in range(1, 12)]
    assert _join(tmp_path, ids, ids) == []


def test_row_with_an_invisible_character_is_refused_and_its_look_alike_named(tmp_path: Path) -> None:
    (line,) = _lines(_join(tmp_path, ["p1", "x"], ["p\u200b1", "x"]), "cohort-id-alike")
    assert line == r"input 1 'p1', row 2 'p\u200b1' differ by invisible characters"


def test_ids_of_a_cohort_directory_are_compared() -> None:
    import pandas as pd

    found = list(check_table(pd.DataFrame({"patient_id": ["007", "p2", "7"], "slice_id": ["a", "b", "c"]})))
    (alike,) = [finding for finding in found if finding.code == "csv-id-alike"]
    assert alike.row == 3 and alike.ids == "'7' and '007'"


def test_readers_whose_names_look_alike_are_named(tmp_path: Path) -> None:
    for name in ("anna", "Anna ", "ben"):
        (tmp_path / name).mkdir()
    (finding,) = compare_readers(tmp_path)
    assert finding.ids == "'Anna ' and 'anna' (differ by case and blanks)"


@pytest.mark.usefixtures("one_process")
def test_measure_and_verify_name_masks_that_look_alike(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Masks of '7' are not those of '007'. Those next to the image are used and named as such, never "without"."""
    hu = make_hu()
    save_dicom(make_dicom(hu[2], 2), tmp_path / "in" / "007" / "a.dcm")
    hu[:, 0, 0] = -990
    save_nifti(hu, tmp_path / "in" / "p2" / "ct.nii")
    fat = ((hu < -50) & (hu > -150)).astype("uint8")
    save_nifti(fat, tmp_path / "in" / "p2" / "masks" / "subcutaneous_fat.nii.gz")
    save_nifti(fat, tmp_path / "masks" / "7.nii.gz")
    argv = ["-i", str(tmp_path / "in" / "007"), str(tmp_path / "in" / "p2"), "--slice-z=-90",
            "--masks", str(tmp_path / "masks")]  # fmt: skip
    assert main(["measure", *argv, "-o", str(tmp_path / "out")]) == 0
    printed = capfd.readouterr()
    assert "input '007', entry '7.nii.gz' (differs by leading zeros)" in printed.err
    assert "input 1 of 2: no entry for this input in --masks: read without masks" in printed.err
    assert "input 2 of 2: no entry for this input in --masks: using masks/ found next to the image" in printed.err
    assert printed.err.count("read without") == 1 and "by mask" in printed.out
    stored = (tmp_path / "out" / "areas.json").read_text()
    assert "7.nii.gz" not in stored, "ids are named on the terminal, not stored with a slice"
    assert "cohort-masks-alike" in artifacts.load_json(tmp_path / "out" / "areas.json")["patients"][0]["flags"]
    main(["verify", *argv, "-o", str(tmp_path / "check")])
    found = artifacts.load_json(tmp_path / "check" / "findings.json")["findings"]
    assert {"cohort-masks-alike", "cohort-masks-found", "cohort-no-masks"} <= {one["code"] for one in found}
    assert any("'7.nii.gz'" in one["what"] for one in found)


@pytest.mark.usefixtures("one_process")
def test_refusal_of_a_single_input_comes_with_the_masks_that_look_alike(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_dicom(make_dicom(make_hu()[2], 2), tmp_path / "007" / "a.dcm")
    save_nifti(make_hu(), tmp_path / "masks" / "7.nii.gz")
    argv = ["measure", "-i", str(tmp_path / "007"), "--masks", str(tmp_path / "masks"), "-o", str(tmp_path / "out")]
    assert main(argv) == 8
    printed = capfd.readouterr().err
    assert "input '007', entry '7.nii.gz' (differs by leading zeros)" in printed and "masks not found" in printed


def test_of_many_look_alikes_ten_are_printed_and_the_rest_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ["x", *(f"{n:03d}" for n in range(1, 31))]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "c.csv").write_text("patient_id\nx\n" + "".join(f"{n}\n" for n in range(1, 31)))
    batch = Batch([tmp_path / name for name in names], load_clinical(tmp_path / "c.csv"), tmp_path / "c.csv")
    assert batch.finish([{}])["failed"] == []
    lines = [line for line in capfd.readouterr().err.splitlines() if "look alike" in line or "more of this" in line]
    assert len(lines) == 11 and lines[-1].startswith("warning: 20 more of this kind (cohort-id-alike)")
    assert all("c.csv: " in line and "input" in line and "row" in line for line in lines[:-1])
