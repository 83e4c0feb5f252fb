"""`bonemet verify` as its user meets it: a table of at most 100 columns, one verdict line, the exit code."""

import json
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.config import PhantomConfig
from data_pipelines.phantom import make_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("verify") / "cohort"
    make_cohort(PhantomConfig(n=12, height=112, width=144, spacing_mm=3.0), directory)
    return directory


@pytest.fixture
def broken(cohort: Path, tmp_path: Path) -> Path:
    """Every slice's age is impossible, one slice is gone, a file is there that nobody listed."""
    directory = tmp_path / "broken"
    (directory / "slices").mkdir(parents=True)
    for file in artifacts.list_files(cohort):
        if file.parent.name in ("slices", "cohort"):
            (directory / file.relative_to(cohort)).write_bytes(file.read_bytes())
    table = artifacts.load_table(directory / "cohort.parquet").assign(age_years=3.0)
    artifacts.save_table(directory / "cohort.parquet", table)
    artifacts.write_manifest(directory, {"kind": "synthetic", "n": 12})
    (directory / "slices" / f"{table.slice_id[0]}.npz").unlink()
    (directory / "notes.txt").write_text("x")
    return directory


def test_sound_cohort_is_good(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "-i", str(cohort)]) == 0
    assert capsys.readouterr().out == "verdict: good: 0 errors, 0 warnings in 12 patients\n"


def test_broken_cohort_is_told_in_a_table_that_fits(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "-i", str(broken)]) == 8
    lines = capsys.readouterr().out.splitlines()
    print(*lines, sep="\n")
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "verdict: not usable as it is: 14 errors, 1 warning in 12 patients"
    assert lines[0] == "14 errors" and "1 warning" in lines
    text = " ".join("\n".join(lines).split())
    assert "row 1, age_years, " in text and "and 7 more" in text and "[cohort-no-slice]" in text


def test_files_and_report_hold_every_finding(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["verify", "-i", str(broken), "-o", str(tmp_path / "out"), "--report", str(tmp_path / "report.json")]
    assert main(argv) == 8
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert (told["n_errors"], told["n_warnings"]) == (14, 1)
    assert len((tmp_path / "out" / "findings.csv").read_text().splitlines()) == 16
    results = json.loads((tmp_path / "report.json").read_text())["results"]
    assert results["findings"] == told["findings"] and results["subject"] == "cohort"
    assert main(argv) == 8  # an earlier output of this verb is replaced


def test_strict_counts_warnings(cohort: Path, tmp_path: Path) -> None:
    table = tmp_path / "clinical.csv"
    table.write_text("patient_id,age_years,shoe_size\na,50,38\n")
    assert main(["verify", "--clinical", str(table)]) == 0
    assert main(["verify", "--clinical", str(table), "--strict"]) == 8


def test_clinical_table_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "clinical.csv"
    table.write_text("patient_id,age_years\nAnna,50\nBerta,500\nClara,x\n")
    assert main(["verify", "--clinical", str(table)]) == 8
    said = " ".join(capsys.readouterr().out.split())
    print(said)
    assert "2 errors" in said and "row 3, age_years," in said and "row 4, age_years" in said
    assert not any(name in said for name in ("Anna", "Berta", "Clara"))


@pytest.mark.parametrize(("argv", "said"), [
    (["verify"], "nothing to check"),
    (["verify", "-i", "{cohort}", "{cohort}"], "checked alone"),
    (["verify", "-i", "{cohort}", "-o", "{cohort}/out"], "in an input"),
    (["verify", "-i", "{cohort}", "-o", "{full}"], "not an earlier output"),
])
def test_flags_that_do_not_go_together(
    argv: list[str], said: str, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    assert main([part.format(cohort=cohort, full=tmp_path / "full") for part in argv]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("bonemet: ") and said in told
