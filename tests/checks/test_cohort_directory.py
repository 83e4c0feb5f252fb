"""Every fault planted in a sound cohort is found, with its file and row; a sound one has none; nothing is changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from data_pipelines.canonical import CanonicalSlice, load_slice, save_slice
from data_pipelines.checks.cohort_directory import check_cohort_directory, is_cohort
from data_pipelines.findings import Finding


def slice_file(cohort: Path, row: int) -> Path:
    table = artifacts.load_table(cohort / "cohort.parquet")
    return cohort / "slices" / f"{table[schema.SLICE_ID].iloc[row - 1]}.npz"


def change(cohort: Path, row: int, column: str, value: object) -> None:
    """Set one cell; the manifest is written anew, so that only the cell is wrong."""
    table = artifacts.load_table(cohort / "cohort.parquet")
    table[column] = table[column].astype(object if isinstance(value, str) else float)
    table.loc[row - 1, column] = value
    artifacts.save_table(cohort / "cohort.parquet", table)
    seal(cohort)


def seal(cohort: Path) -> None:
    artifacts.write_manifest(cohort, artifacts.load_json(cohort / "manifest.json")["facts"])


def flip_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def double_image(cohort: Path) -> None:
    """Patient 2 gets patient 1's pixels, with areas and tissues of its own."""
    first, second = load_slice(slice_file(cohort, 1)), load_slice(slice_file(cohort, 2))
    save_slice(slice_file(cohort, 2), CanonicalSlice(first.hu, second.spacing_mm, second.tissue, second.body))
    seal(cohort)


def grow_fat(cohort: Path) -> None:
    """Two pixels of patient 3's subcutaneous fat lose their label."""
    image = load_slice(slice_file(cohort, 3))
    tissue = image.tissue.copy()
    low, high = schema.HU_RANGES["subcutaneous_fat"]
    counted = np.argwhere((tissue == schema.TISSUE_SAT) & (image.hu >= low) & (image.hu <= high))
    for row, column in counted[:2]:
        tissue[row, column] = schema.TISSUE_NONE
    save_slice(slice_file(cohort, 3), CanonicalSlice(image.hu, image.spacing_mm, tissue, image.body))
    seal(cohort)


def lose(cohort: Path) -> None:
    slice_file(cohort, 5).unlink()
    seal(cohort)


def damage_facts(cohort: Path) -> None:
    (cohort / "ingest.json").write_text("{}")
    seal(cohort)
    (cohort / "ingest.json").write_text("[1, 2")


def flatten(cohort: Path) -> None:
    arrays = artifacts.load_npz(slice_file(cohort, 12))
    artifacts.save_npz(slice_file(cohort, 12), arrays | {k: arrays[k].ravel() for k in ("hu", "tissue", "body")})


def respace(cohort: Path, row: int) -> None:
    file = slice_file(cohort, row)
    artifacts.save_npz(file, artifacts.load_npz(file) | {"spacing_mm": np.ones(3)})


def rename_column(cohort: Path) -> None:
    table = artifacts.load_table(cohort / "cohort.parquet")
    artifacts.save_table(cohort / "cohort.parquet", table.rename(columns={"age_years": "age"}))
    seal(cohort)


def all_healthy(cohort: Path) -> None:
    table = artifacts.load_table(cohort / "cohort.parquet").assign(bone_metastasis=0)
    artifacts.save_table(cohort / "cohort.parquet", table)
    seal(cohort)


FAULTS: dict[str, tuple[Callable[[Path], object], str, int | None, str]] = {
    # fault: (how it is planted, code, row, what the finding names)
    "bit flip in a slice": (lambda c: flip_bit(slice_file(c, 4)), "cohort-file-changed", None, "slices/"),
    "file gone": (lambda c: next((c / "overlays").iterdir()).unlink(), "cohort-file-missing", None, "overlays/"),
    "file added": (lambda c: (c / "notes.txt").write_text("x"), "cohort-file-unlisted", None, "notes.txt"),
    "no manifest": (lambda c: (c / "manifest.json").unlink(), "cohort-unreadable", None, "manifest.json"),
    "manifest of another kind": (lambda c: (c / "manifest.json").write_text("[]"), "cohort-unreadable", None,
                                 "manifest.json"),
    "table truncated": (lambda c: (c / "cohort.parquet").write_bytes(b"PAR1"), "cohort-unreadable", None,
                        "cohort.parquet"),
    "facts damaged": (damage_facts, "cohort-file-changed", None, "ingest.json"),
    "column renamed": (rename_column, "cohort-no-column", None, "age_years"),
    "age out of range": (lambda c: change(c, 6, "age_years", 210.0), "cohort-cell", 6, "age_years"),
    "level that does not exist": (lambda c: change(c, 7, "subtype", "luminal"), "cohort-cell", 7, "subtype"),
    "flag neither 0 nor 1": (lambda c: change(c, 8, "er", 2.0), "cohort-cell", 8, "er"),
    "id twice": (lambda c: change(c, 9, "patient_id", artifacts.load_table(c / "cohort.parquet").patient_id[0]),
                 "cohort-twice", 9, "patient_id"),
    "id empty": (lambda c: change(c, 9, "patient_id", " "), "cohort-cell", 9, "patient_id"),
    "event without time": (lambda c: change(c, 2, "dmfs_months", np.nan), "cohort-cell", 2, "dmfs_months"),
    "index not area / height^2": (lambda c: change(c, 10, "height_m", 1.2), "cohort-index", 10, "sfi_cm2_m2"),
    "outcome unknown": (lambda c: change(c, 3, "bone_metastasis", np.nan), "cohort-no-label", None, "bone_metastasis"),
    "one class": (all_healthy, "cohort-one-class", None, "bone_metastasis"),
    "slice gone": (lose, "cohort-no-slice", 5, "slices/"),
    "slice leads outside": (lambda c: change(c, 5, "slice_id", "../slices/x"), "cohort-no-slice", 5, "slices/"),
    "slice is no npz": (lambda c: slice_file(c, 11).write_bytes(b"x"), "cohort-slice-damaged", 11, "slices/"),
    "slice of one axis": (flatten, "cohort-slice-damaged", 12, "slices/"),
    "spacing of three numbers": (lambda c: respace(c, 1), "cohort-slice-damaged", 1, "slices/"),
    "area is not the slice's": (grow_fat, "cohort-area", 3, "sfa_cm2"),
    "one image, two ids": (double_image, "cohort-same-image", 2, "slices/"),
    "salt open": (lambda c: [(c / "salt").write_bytes(b"x"), (c / "salt").chmod(0o644)], "cohort-salt-open", None,
                  "salt"),
}


def test_sound_cohort_has_no_finding(sound_cohort: Path) -> None:
    check = check_cohort_directory(sound_cohort)
    assert check.findings == []
    assert check.table is not None and len(check.slices) == len(check.table) == 12


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_named_with_file_and_row(fault: str, cohort: Path) -> None:
    plant, code, row, named = FAULTS[fault]
    plant(cohort)
    before = {file: artifacts.sha256_file(file) for file in cohort.rglob("*") if file.is_file()}
    found = [finding for finding in check_cohort_directory(cohort).findings if finding.code == code]
    assert found, f"{code} not among the findings"
    told = [finding for finding in found if finding.row == row and named in (finding.column or finding.where)]
    assert told, [(f.row, f.column, f.where) for f in found]
    assert told[0].mend
    assert {file: artifacts.sha256_file(file) for file in cohort.rglob("*") if file.is_file()} == before


def test_private_salt_is_no_fault(cohort: Path) -> None:
    (cohort / "salt").write_bytes(b"x")
    (cohort / "salt").chmod(0o600)
    assert check_cohort_directory(cohort).findings == []


def test_flags_stored_at_ingest_are_listed_again(cohort: Path) -> None:
    table = artifacts.load_table(cohort / "cohort.parquet")
    slice_id = table[schema.SLICE_ID].iloc[3]
    artifacts.write_json(cohort / "ingest.json", {slice_id: {"flags": ["level-at-end"], "kind": "dicom"}})
    seal(cohort)
    assert check_cohort_directory(cohort).findings == [
        Finding("level-at-end", "the level touches the volume's end: its largest slice may be outside",
                where=f"slices/{slice_id}.npz", patient=table[schema.PATIENT_ID].iloc[3], row=4)
    ]


def test_readers_mean_stands_in_the_table_and_the_first_readers_slice_is_stored(cohort: Path) -> None:
    table = artifacts.load_table(cohort / "cohort.parquet")
    row, slice_id = table.iloc[0], table[schema.SLICE_ID].iloc[0]
    own = {"sfa_cm2_anna": row.sfa_cm2 - 4.0, "sfa_cm2_bert": row.sfa_cm2 + 4.0}
    artifacts.write_json(cohort / "ingest.json", {slice_id: own})
    seal(cohort)
    (finding,) = check_cohort_directory(cohort).findings
    assert (finding.code, finding.row, finding.column) == ("cohort-area", 1, "sfa_cm2"), "anna's slice has 4 cm2 more"
    own = {"sfa_cm2_anna": row.sfa_cm2, "sfa_cm2_bert": row.sfa_cm2}
    artifacts.write_json(cohort / "ingest.json", {slice_id: own})
    seal(cohort)
    assert check_cohort_directory(cohort).findings == []


def test_every_refusal_of_training_is_an_error_here(cohort: Path) -> None:
    """bonemet_jax.cohort refuses at the first bad cell; what it refuses, verify must have found."""
    from bonemet_jax.cohort.table import check_cohort
    from bonemet_jax.errors import InputDataError

    table = artifacts.load_table(cohort / "cohort.parquet")
    for column in [c.name for c in schema.CLINICAL] + [schema.HEIGHT, schema.TIME, schema.EVENT, schema.LABEL]:
        broken = table.copy()
        broken[column] = broken[column].astype(object)
        broken.loc[4, column] = -3.0
        with pytest.raises(InputDataError, match=f"column {column}, row 5"):
            check_cohort(broken, "")
        assert is_told(broken, column), column


def is_told(table: pd.DataFrame, column: str) -> bool:
    from data_pipelines.checks.cohort_table import check_table

    return any(f.column == column and f.row == 5 and f.severity == "error" for f in check_table(table))


def test_a_cohort_is_known_by_its_files(sound_cohort: Path, cohort: Path, tmp_path: Path) -> None:
    assert is_cohort(sound_cohort)
    (cohort / "manifest.json").unlink()
    assert is_cohort(cohort)
    shutil.rmtree(cohort)
    assert not is_cohort(cohort) and not is_cohort(tmp_path)
