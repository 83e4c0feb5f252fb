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


def test_files_do_not_repeat_row_and_column() -> None:
    told = Finding("csv-range", "row 4, column er: 7 is out of range", where="clinical.csv", row=4, column="er")
    (row,) = csv.DictReader(io.StringIO(make_csv([told])))
    assert (row["row"], row["column"], row["what"]) == ("4", "er", "7 is out of range")
    assert make_json([told])["findings"][0]["what"] == "7 is out of range"


def test_decimal_commas_of_many_columns_are_one_line() -> None:
    found = [Finding("csv-decimal-comma-read", f"column {name}: decimal comma read as a decimal point (30 cells, the "
                     "first in row 2)", where="/a/clinical.csv", row=2, column=name)
             for name in ("bmi_kg_m2", "sfa_cm2")]
    (line,) = make_lines(found, "warning", {})
    assert line.place == "clinical.csv"
    assert line.text == ("decimal commas were read as decimal points in 2 columns: bmi_kg_m2, sfa_cm2 "
                         "[csv-decimal-comma-read]")
    assert "(30 cells" in make_lines(found[:1], "warning", {})[0].text
