"""A cohort made under earlier intake rules: judged by what its slices show, and told what only the files could show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cli import main
from data_pipelines.canonical import CanonicalSlice, load_slice, save_slice
from data_pipelines.checks.cohort_directory import check_cohort_directory
from data_pipelines.ingest.cohort import INTAKE_RULES

NIFTI = {"kind": "nifti", "level_source": "labels", "n_slices": 40, "sfa_source": "hu"}
DICOM = {"kind": "dicom", "level_source": "given", "n_slices": 20, "sfa_source": "mask"}
ONE_FRAME = DICOM | {"n_slices": 1, "sfa_source": "hu"}


@pytest.fixture
def earlier(cohort: Path) -> Path:
    """A cohort as version 0.1.0 wrote it: six slices from NIfTI, six from DICOM (one of them a single frame)."""
    table = artifacts.load_table(cohort / "cohort.parquet")
    facts = {name: [NIFTI, DICOM][i % 2] for i, name in enumerate(table[schema.SLICE_ID])}
    facts[table[schema.SLICE_ID].iloc[1]] = ONE_FRAME
    artifacts.write_json(cohort / "ingest.json", facts)
    seal(cohort)
    return cohort


def seal(cohort: Path, **facts: Any) -> None:
    artifacts.write_manifest(cohort, {"kind": "real", "n": 12, **facts})


def change_slice(cohort: Path, row: int, **changes: Any) -> None:
    table = artifacts.load_table(cohort / "cohort.parquet")
    file = cohort / "slices" / f"{table[schema.SLICE_ID].iloc[row - 1]}.npz"
    save_slice(file, replace(load_slice(file), **changes))
    seal(cohort)


def load_row(cohort: Path, row: int) -> CanonicalSlice:
    table = artifacts.load_table(cohort / "cohort.parquet")
    return load_slice(cohort / "slices" / f"{table[schema.SLICE_ID].iloc[row - 1]}.npz")


def test_what_cannot_be_known_is_listed_with_the_slices_concerned(earlier: Path) -> None:
    found = check_cohort_directory(earlier).findings
    assert {finding.code for finding in found} == {"cohort-unknown"}
    facts = {finding.what.partition(": ")[2]: finding.fact for finding in found}
    assert {question: int(fact.split(" of ")[0]) for question, fact in facts.items()} == {
        "whether the NIfTI files were complete and their checksums correct": 6,
        "whether sform and qform of the NIfTI headers agree": 6,
        "whether a decoder reported damaged pixel data": 6,
        "whether acquisitions were interleaved in the series": 5,
        "how the label map was numbered": 11,
    }
    made = f"of 12 slices; made under intake rules 1, current rules {INTAKE_RULES}"
    assert all(made in fact for fact in facts.values())


def test_a_cohort_of_the_current_rules_and_a_synthetic_one_have_nothing_unknown(earlier: Path) -> None:
    seal(earlier, intake_rules=INTAKE_RULES)
    assert check_cohort_directory(earlier).findings == []
    artifacts.write_manifest(earlier, {"kind": "synthetic", "n": 12})
    assert check_cohort_directory(earlier).findings == []


def test_rules_are_part_of_a_readable_manifest(earlier: Path) -> None:
    seal(earlier, intake_rules="two")
    assert "cohort-unreadable" in {finding.code for finding in check_cohort_directory(earlier).findings}


def test_a_slice_stored_upside_down_is_refused(earlier: Path) -> None:
    image = load_row(earlier, 3)
    flipped = {name: np.ascontiguousarray(getattr(image, name)[::-1]) for name in ("hu", "tissue", "body")}
    change_slice(earlier, 3, **flipped)
    found = [finding for finding in check_cohort_directory(earlier).findings if finding.code == "slice-orientation"]
    assert [finding.row for finding in found] == [3]
    assert found[0].severity == "error" and "spine anterior" in found[0].fact


def test_pixels_of_one_millimetre_may_be_a_placeholder(earlier: Path) -> None:
    for row in (1, 2):
        change_slice(earlier, row, spacing_mm=(1.0, 1.0))
    found = check_cohort_directory(earlier).findings
    assert {(finding.code, finding.row) for finding in found} >= {("nifti-unit-voxels", 1), ("dicom-unit-pixels", 2)}
    asked = next(finding for finding in found if "placeholder" in finding.what and finding.code == "cohort-unknown")
    assert asked.fact.startswith("1 of 12 slices")


def test_padding_inside_the_trunk_is_named(earlier: Path) -> None:
    image = load_row(earlier, 4)
    hu = image.hu.copy()
    row, column = (int(np.median(places)) for places in np.nonzero(image.hu > 0))
    hu[row - 4:row + 4, column - 4:column + 4] = schema.HU_PADDING
    change_slice(earlier, 4, hu=hu)
    found = [finding for finding in check_cohort_directory(earlier).findings if finding.code == "slice-padding"]
    assert [(finding.row, finding.fact) for finding in found] == [(4, "64 pixels")]


def test_verify_takes_the_cohort_without_a_flag(earlier: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(earlier)]) == 0
    printed = capfd.readouterr().out
    assert "cohort-unknown" in printed and "how the label map was numbered" in " ".join(printed.split())
