"""Hostile patient ids and folder names: no file outside the output, hashed names inside, nothing run, no crash."""

import csv
import io
import json
import os
from pathlib import Path

import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cli import main
from bonemet_jax.errors import BonemetError
from data_pipelines.clinical.table import ClinicalTable, load_clinical
from data_pipelines.ingest.cohort import make_cell, make_slice_id
from data_pipelines.ingest.match import join_table
from tests.ingest.conftest import make_dicom, make_hu, save_dicom

pytestmark = pytest.mark.usefixtures("one_process")

IDS = [
    "../../x", "/etc/x", "..", ".", "CON", "NUL", "x" * 4096, "-rf", "--out=/tmp/x", "a\nb", "a\rb", "a\tb", "\x1b[2Jx",
    "\x07", "p\u0430tient", "\u202egnp.exe", "\u200b", "\U0001f9b4\U0001fa7b", ".hidden", "trailing ", " leading",
    "; rm -rf x", "$(touch pwned)", "`touch pwned`", "%00", "%2e%2e%2fx", "a\"b'c", "=cmd|' /C calc'!A0", "C:\\x\\y",
    "a\\..\\b", "*?<>|", "<script>alert(1)</script>", "x.zip", "x.nii.gz", "caf\u00e9", "cafe\u0301", "\ufb01le",
    "+1", "@SUM(A1)", "0", "007", "null", "nan", "True", b"\xff\xfe".decode("utf-8", "surrogateescape"),
]  # fmt: skip


def _can_be_a_name(text: str) -> bool:
    return text not in ("..", ".") and "/" not in text and "\0" not in text and len(os.fsencode(text)) <= 255


NAMES = [text for text in IDS if _can_be_a_name(text)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One slice a name; the pictures differ by one pixel of air."""
    folder = tmp_path_factory.mktemp("inputs")
    hu = make_hu()[0]
    for i, name in enumerate(NAMES):
        hu[0, 0] = -1000 + i
        save_dicom(make_dicom(hu), folder / "all" / name / "a.dcm")
    return [folder / "all" / name for name in NAMES]


@pytest.mark.parametrize("verb", ["ingest", "measure"])
def test_folders_of_any_name(
    verb: str, inputs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(inputs) >= 30
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = _list(inputs[0].parents[1])
    out = tmp_path / "out"
    assert main([verb, "-i", *map(str, inputs), "-o", str(out)]) == 0
    assert _list(inputs[0].parents[1]) == before and not list(Path.cwd().iterdir())
    assert [f.name for f in tmp_path.iterdir() if f.name != "here"] == ["out"]
    artifacts.check_manifest(out)
    names = [f.stem for f in out.rglob("*.png")] + [f.stem for f in out.rglob("*.npz")]
    assert len(names) == (2 if verb == "ingest" else 1) * len(inputs)
    wanted = set("0123456789abcdef") if verb == "ingest" else set("0123456789")
    assert all(set(name) <= wanted for name in names), "hashes or numbers, no ids"
    told = capfd.readouterr()
    assert not [name for name in NAMES if len(name) > 6 and name in told.err]
    assert "\x1b" not in told.err + told.out and "\u202e" not in told.err
    if verb == "measure":
        _check_ids(out)


def _list(folder: Path) -> list[bytes]:
    return sorted(os.fsencode(f) for f in folder.rglob("*"))


def _check_ids(out: Path) -> None:
    """They come back as text: 007 stays 007, null is no missing value; a spreadsheet runs none of them."""
    wanted = sorted(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in NAMES)
    told = [row["patient_id"] for row in json.loads((out / "areas.json").read_text())["patients"]]
    assert told == wanted
    rows = list(csv.DictReader(io.StringIO((out / "areas.csv").read_bytes().decode(), newline="")))
    shown = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in name) for name in wanted]
    assert [row["patient_id"].removeprefix("'") for row in rows] == shown
    for cell in (cell for row in rows for cell in row.values()):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or _is_number(cell), cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_cells_of_a_spreadsheet() -> None:
    assert make_cell("=1+1") == "'=1+1" and make_cell("a\r\tb") == "a\\r\\tb" and make_cell(" @x") == "' @x"
    assert make_cell(-1.5) == -1.5 and make_cell("a-b") == "a-b" and make_cell(None) is None
    assert make_cell(float("nan")) is None


@pytest.mark.parametrize("number", range(len(IDS)))
def test_ids_of_the_clinical_table(number: int, dicom_folder: Path, tmp_path: Path) -> None:
    """Accepted as text or refused in one line; never a path."""
    text, table = IDS[number].encode("utf-8", "surrogateescape"), tmp_path / "clinical.csv"
    table.write_bytes(b"patient_id,age_years\n007,50\n\"" + text.replace(b'"', b'""') + b'",60\n')
    before = _list(tmp_path)
    try:
        rows = load_clinical(table)
    except BonemetError as error:
        assert "\n" not in str(error)
        rows = ClinicalTable({})
    for patient in rows.rows:
        assert set(make_slice_id(b"salt", patient)) <= set("0123456789abcdef")
    if rows.rows:
        found = join_table({dicom_folder.name: 1}, rows, table)[1]
        assert all(finding.code in ("cohort-no-image", "cohort-id-alike") for finding in found)
    assert _list(tmp_path) == before


def test_masks_and_regions_are_never_looked_for_outside_their_folders(tmp_path: Path) -> None:
    """A folder reached through .. is named by what it is; a link by its own name, as whoever made it wished."""
    save_dicom(make_dicom(make_hu()[0]), tmp_path / "real" / "a.dcm")
    (tmp_path / "real" / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    out = tmp_path / "out"
    assert main(["measure", "-i", str(tmp_path / "link" / ".." / "link"), "-o", str(out)]) == 0
    assert json.loads((out / "areas.json").read_text())["patients"][0][schema.PATIENT_ID] == "link"
    assert main(["measure", "-i", str(tmp_path / "real" / "x" / ".."), "-o", str(out)]) == 0
    assert json.loads((out / "areas.json").read_text())["patients"][0][schema.PATIENT_ID] == "real"
    assert main(["measure", "-i", "/", "-o", str(tmp_path / "other")]) == 2
