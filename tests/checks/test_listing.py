"""Findings as JSON, as a CSV that no spreadsheet runs, as lines that name inputs by number."""

import csv
import io

from data_pipelines.checks.listing import SHOWN, make_csv, make_json, make_lines
from data_pipelines.findings import Finding, find

CELL = Finding("cohort-cell", "7 is out of range", "0 or 1", "cohort.parquet", "Anna", 4, "er")


def test_json_holds_every_finding_with_its_remedy() -> None:
    told = make_json([CELL, find("slice-only")])
    assert (told["n_errors"], told["n_warnings"]) == (1, 1)
    assert told["findings"][0] == {
        "severity": "error", "code": "cohort-cell", "patient_id": "Anna", "where": "cohort.parquet", "row": 4,
        "column": "er", "what": "7 is out of range", "fact": "0 or 1", "mend": CELL.mend,
    }


def test_csv_cells_start_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(make_csv([Finding("input", "=cmd()", "+1", "@x", "-rf")]))))
    assert [rows[0][name] for name in ("what", "fact", "where", "patient_id")] == ["'=cmd()", "'+1", "'@x", "'-rf"]


def test_lines_name_the_input_by_number_and_say_what_the_words_do_not() -> None:
    (line,) = make_lines([CELL], "error", {"Anna": 3})
    assert (line.place, line.text) == ("input 3, row 4, er, cohort.parquet",
                                       "7 is out of range (0 or 1) [cohort-cell]")
    told = Finding("cohort-cell", "row 4, column er: other", where="/a/b/clinical.csv", row=4, column="er")
    (line,) = make_lines([told], "error", {})
    assert (line.place, line.text) == ("row 4, er, clinical.csv", "other [cohort-cell]")
    other = Finding("cohort-cell", "row 41: other columns", row=4, column="er")
    assert make_lines([other], "error", {})[0].text.startswith("row 41: other columns")


def test_many_of_a_kind_are_counted() -> None:
    lines = make_lines([find("slice-only")] * 400 + [CELL], "warning", {})
    assert len(lines) == SHOWN + 1
    assert lines[1].text == "the same" and lines[1].mend == ""
    assert lines[-1].place == f"and {400 - SHOWN} more"


def test_own_remedy_wins() -> None:
    assert make_lines([Finding("input", "x", remedy="do this")], "error", {})[0].mend == "do this"
