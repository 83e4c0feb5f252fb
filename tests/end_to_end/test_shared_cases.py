"""Inputs that were once measured wrongly, each with the right answer and how it was found (shared cases/README.md)."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main

pytestmark = pytest.mark.slow


class Expected(NamedTuple):
    """What a case must end with."""

    arguments: str
    code: str = ""
    """Finding that refuses the input; empty: it is measured."""
    areas: dict[str, float] = {}  # noqa: RUF012 - read only
    """Column -> cm2."""
    flags: tuple[str, ...] = ()
    """Codes of warnings that must be there."""
    words: tuple[str, ...] = ()
    """What the terminal must name."""


#: Areas of the clean slices z -768.5 and z -766.5: an undamaged copy of each was measured before the rules changed.
CLEAN, FIRST = {"sfa_cm2": 85.0}, {"sfa_cm2": 84.61, "trunk_fat_cm2": 160.7}
#: Half of the last printed digit.
ROUNDING_CM2 = 0.051
LABELS = "-i p1 --masks labels.nii.gz --memory-gib 3"
CASES: dict[str, list[Expected]] = {
    "version_1_map_ends_in_t12": [Expected(LABELS, "mask-version")],
    "vista3d_map": [Expected(LABELS, "level-missing", words=("VISTA3D",))],
    "identity_affine": [
        Expected("-i p1 --slice-index 18", "nifti-placeholder-affine"),
        Expected("-i p1 --slice-index 18 --trust-geometry", flags=("nifti-placeholder-trusted",)),
    ],
    "two_orientations": [Expected("-i p1 --slice-z -774.5", "nifti-two-orientations")],
    "equal_but_for_rounding": [Expected("-i p1 --slice-index 18", areas=CLEAN)],
    "two_acquisitions": [
        Expected("-i p1 --slice-index 18", "dicom-interleaved", words=("--acquisition",)),
        Expected("-i p1 --slice-index 18 --acquisition 1", areas=CLEAN),
    ],
    "oblique_stack": [
        Expected("-i p1 --slice-index 18", areas={"sfa_cm2": 85.0 * math.cos(math.radians(2))}, flags=("dicom-tilt",)),
    ],
    "end_marker_then_ff": [Expected("-i p1 --slice-index 0", areas=FIRST)],
    "nan_slope_of_labels": [Expected("-i p1 --masks labels.nii.gz", areas={"sfa_cm2": 84.59})],
    "names_composed_two_ways": [
        Expected("-i {patients} --clinical clinical.csv --slice-index 2", words=("row 2",)),
    ],
    "names_with_leading_zeros": [
        Expected("-i {patients} --clinical clinical.csv --slice-index 2", words=("row 2", "007")),
    ],
    "image_with_a_flipped_bit": [Expected("-i p1 --slice-index 20", "nifti-damaged")],
    "byte_inserted_in_jpeg": [Expected("-i p1 --slice-index 0", "dicom-undecodable")],
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, expected in CASES.items() for number in range(len(expected))]
)
def test_image_case(
    name: str, number: int, write_case: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    write_case(name)
    expected = CASES[name][number]
    patients = sorted(map(str, Path("patients").iterdir())) if Path("patients").is_dir() else []
    arguments = [part for word in expected.arguments.split()
                 for part in (patients if word == "{patients}" else [word])]
    exit_code = main(["measure", "-o", "m", *arguments, "--report", "report.json"])
    terminal = "".join(capfd.readouterr())
    report = artifacts.load_json("report.json")
    assert exit_code == report["exit_code"] == (8 if expected.code else 0), terminal
    assert "Traceback" not in terminal
    for words in expected.words:
        assert words in terminal
    if expected.code:
        assert report["error"]["code"] == expected.code, report["error"]
        assert not Path("m").exists()
        print(f"case {name}: exit 8, {report['error']['code']}: {report['error']['what']}")
        return
    patient = json.loads(Path("m/areas.json").read_text())["patients"][0]
    for column, cm2 in expected.areas.items():
        assert abs(patient[column] - cm2) <= ROUNDING_CM2, (column, patient[column])
    assert set(expected.flags) <= set(patient["flags"]), patient["flags"]
    print(f"case {name}: exit 0, SFA {patient['sfa_cm2']:.1f}, {', '.join(patient['flags'])}")
