"""The clinical CSV: every fault is named by row and column with a remedy, nothing is guessed silently."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bonemet_jax import schema
from bonemet_jax.cohort.table import check_cohort
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.check_codes import VERDICTS
from data_pipelines.clinical.columns import ALIASES, BINARY, COLUMNS, FIELDS, LEVELS, MISSING, NAMES, OPEN_NAMES
from data_pipelines.clinical.journal import MAX_FINDINGS
from data_pipelines.clinical.table import ClinicalTable, load_clinical
from data_pipelines.phantom.rows import draw_rows


def _load(tmp_path: Path, text: str | bytes, missing: tuple[str, ...] = ()) -> ClinicalTable:
    path = tmp_path / "clinical.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_clinical(path, missing)


def _codes(table: ClinicalTable) -> set[str]:
    return {finding.code for finding in table.findings}


# --- What is right ------------------------------------------------------------------------------


def test_ids_stay_text_and_unknown_stays_unknown(tmp_path: Path) -> None:
    header = "patient_id,age_years,menopause,lvi,bone_metastasis\r\n"
    table = _load(tmp_path, header + "007,52.5,post,1,0\r\n8,,NA,nan,\r\n")
    assert table.rows["007"] == {"age_years": 52.5, "menopause": "post", "lvi": 1.0, "bone_metastasis": 0.0}
    assert table.rows["8"]["menopause"] is None
    assert all(math.isnan(table.rows["8"][name]) for name in ("age_years", "lvi", "bone_metastasis"))
    assert table.findings == ()
    table.check()


@pytest.mark.parametrize("cell", [*sorted(MISSING - {"-"}), " ", "N/A", "Unknown"])
def test_missing_codes(tmp_path: Path, cell: str) -> None:
    table = _load(tmp_path, f"patient_id,age_years,n_stage,er\n1,{cell},{cell},{cell}\n")
    assert table.rows["1"]["n_stage"] is None
    assert math.isnan(table.rows["1"]["age_years"])
    assert math.isnan(table.rows["1"]["er"])


def test_a_german_export(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id;height_cm;cea_ng_ml;ER\r\n1;165;2,5;ja\r\n2;171;1,25;+\r\n3;160;1,234;-\r\n")
    assert table.rows["2"] == {"height_m": 1.71, "cea_ng_ml": 1.25, "er": 1.0}
    # 1,234 has one reading in a column that holds 2,5; "ja" is in no table of spellings.
    assert table.rows["3"] == {"height_m": 1.6, "cea_ng_ml": 1.234, "er": 0.0}
    assert "1" not in table.rows
    told = {(f.code, f.column): f.what for f in table.warnings}
    assert "semicolon" in told["csv-separator", ""]
    assert "3 cells, the first in row 2" in told["csv-decimal-comma-read", "cea_ng_ml"]
    assert "- read as 0, since the column also holds +" in told["csv-spelling", "ER"]
    assert "read as er" in told["csv-alias", "ER"]
    assert "becomes height_m" in told["csv-unit-read", "height_cm"]
    assert [(f.code, f.row, f.column) for f in table.errors] == [("csv-not-binary", 2, "ER")]


def test_a_chinese_export(tmp_path: Path) -> None:
    text = "编号,年龄,身高(cm),绝经状态,雌激素受体,骨转移\n张1,５２,160,绝经后,阳性,无\n"
    table = _load(tmp_path, text.encode("gb18030"))
    assert table.rows["张1"] == {
        "age_years": 52.0, "height_m": 1.6, "menopause": "post", "er": 1.0, "bone_metastasis": 0.0,
    }  # fmt: skip
    assert not table.errors
    assert {"csv-gb18030", "csv-alias"} <= _codes(table)
    told = {f.column: f.what for f in table.warnings if f.code == "csv-spelling"}
    assert set(told) == {"年龄", "绝经状态", "雌激素受体", "骨转移"}
    assert "full-width" in told["年龄"]


def test_a_number_that_may_mean_unknown_is_told(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id,cea_ng_ml\n1,999\n2,99\n")
    assert table.rows["1"] == {"cea_ng_ml": 999.0}
    assert [(f.code, f.row, f.column) for f in table.findings] == [("csv-missing-doubtful", 2, "cea_ng_ml")]


def test_of_an_id_given_twice_no_row_is_used(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id,lvi\n1,0\n2,0\n1,1\n1,0\n")
    assert list(table.rows) == ["2"]
    assert [(f.code, f.row) for f in table.errors] == [("csv-id-twice", 4), ("csv-id-twice", 5)]


def test_the_released_codes_table(tmp_path: Path) -> None:
    """Its code names two columns, in gb18030: 序号 and 骨转移; the bare 转移 could be any distant metastasis."""
    table = _load(tmp_path, "序号,年龄,骨转移\n1,52,1\n".encode("gb18030"))
    assert table.rows == {"1": {"age_years": 52.0, "bone_metastasis": 1.0}}
    table = _load(tmp_path, "序号,转移\n1,1\n".encode("gb18030"))
    assert [(f.code, f.row, f.column) for f in table.errors] == [("csv-column-open", 1, "转移")]
    assert "bone_metastasis or dmfs_event" in table.errors[0].what


def test_signs_of_comparison_count_in_names(tmp_path: Path) -> None:
    assert _load(tmp_path, "patient_id,Ki-67 (≥ 20 %)\n1,1\n").rows == {"1": {"ki67_high": 1.0}}
    assert _load(tmp_path, "patient_id,Ki-67 (< 20 %)\n1,1\n").rows == {"1": {}}


def test_a_running_number_beside_the_ids(tmp_path: Path) -> None:
    table = _load(tmp_path, "id,patient_id\n1,x7\n")
    assert list(table.rows) == ["x7"]
    assert [f.what for f in table.findings] == ["row 1: columns not used: id"]


def test_a_synthetic_cohort_passes_unharmed(tmp_path: Path) -> None:
    """Rows drawn by the phantom, 24 columns: the same numbers come back. The paper's own Table 1 fails the audit."""
    frame, _ = draw_rows(np.random.default_rng(3), 60)
    frame.insert(0, ID, [f"{i:03}" for i in range(60)])
    table = _load(tmp_path, frame.to_csv(index=False))
    assert table.errors == ()
    read = pd.DataFrame.from_dict(table.rows, orient="index").reset_index(names=ID)
    pd.testing.assert_frame_equal(read[list(frame)], frame, check_dtype=False, rtol=1e-12)
    frame, _ = draw_rows(np.random.default_rng(3), 40, np.ones(40, bool))
    frame.insert(0, ID, [f"{i:03}" for i in range(40)])
    table = _load(tmp_path, frame.to_csv(index=False))
    assert {"csv-index"} <= _codes(table)
    assert len([f for f in table.errors if f.column == "sfi_cm2_m2"]) > 30


@pytest.mark.parametrize(
    ("name", "cell", "target", "wanted"),
    [
        ("height_cm", "165", "height_m", 1.65),
        ("tumour_size_mm", "24", "tumour_size_cm", 2.4),
        ("dmfs_days", "365.25", "dmfs_months", 12.0),
        ("dmfs_years", "2.5", "dmfs_months", 30.0),
        ("ki67_percent", "20", "ki67_high", 1.0),
        ("ki67_percent", "19.9", "ki67_high", 0.0),
    ],
)
def test_the_name_decides_the_unit(tmp_path: Path, name: str, cell: str, target: str, wanted: float) -> None:
    table = _load(tmp_path, f"patient_id,{name}\n1,{cell}\n")
    assert table.rows["1"] == {target: pytest.approx(wanted, rel=1e-12)}
    assert "csv-unit-read" in _codes(table)


def test_declared_codes(tmp_path: Path) -> None:
    text = "patient_id,age_years,lvi,tumour_size_cm\n1,999,9,9\n2,999.0,1,2\n"
    table = _load(tmp_path, text, missing=("999", "lvi=9"))
    assert math.isnan(table.rows["1"]["age_years"])
    assert math.isnan(table.rows["2"]["age_years"])
    assert math.isnan(table.rows["1"]["lvi"])
    assert table.rows["1"]["tumour_size_cm"] == 9.0
    told = {f.column: f.what for f in table.warnings if f.code == "csv-missing-declared"}
    assert "2 cells, the first in row 2" in told["age_years"]
    with pytest.raises(UsageError, match="no column"):
        _load(tmp_path, text, missing=("stage=9",))


def test_where_the_slice_is(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id,slice_z_mm,slice_index\na,-768.5,\nb,,19\nc,,\nd,1,2\ne,,1.5\n")
    assert table.slice_z_mm == {"a": -768.5}
    assert table.slice_index == {"b": 19}
    assert table.rows == {"a": {}, "b": {}, "c": {}}
    assert [(f.code, f.row) for f in table.errors] == [("csv-slice-both", 5), ("csv-range", 6)]


def test_names_that_are_no_columns(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id,remark,age_yeras,,\x1b[31mred\n1,x,50,y,z\n")
    told = {f.code: f.what for f in table.warnings}
    assert told["csv-columns-unused"] == "row 1: columns not used: remark, age_yeras, ?[31mred"
    assert "did you mean age_years?" in told["csv-column-near"]
    assert "column 4 has no name" in told["csv-column-unnamed"]
    assert table.rows == {"1": {}}


def test_ids_that_look_alike_are_kept_and_told(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id\n007\n7\nab\nAB\n 9 \n10.0\n")
    assert list(table.rows) == ["007", "7", "ab", "AB", "9", "10.0"]
    alike = [(f.row, f.what) for f in table.warnings if f.code == "csv-id-alike"]
    assert [row for row, _ in alike] == [3, 5]
    assert "in row 2" in alike[0][1]
    assert {"csv-id-trimmed", "csv-id-decimal"} <= _codes(table)


def test_blank_rows_count_as_a_spreadsheet_counts(tmp_path: Path) -> None:
    table = _load(tmp_path, 'patient_id,remark,age_years\n\n1,"two\nlines",50\n,,\n2,,500\n')
    assert [(f.row, f.column) for f in table.errors] == [(5, "age_years")]


# --- What is wrong ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A faulty file and what must be said of it."""

    text: str
    code: str
    row: int
    column: str
    words: str
    """Part of the message."""
    mend: str
    """Part of the remedy."""


ID = schema.PATIENT_ID
#: One fault each: file, code, row, column, part of the message, part of the remedy.
FAULTS: dict[str, Fault] = {
    "id twice": Fault("patient_id,lvi\n1,0\n2,0\n1,1\n", "csv-id-twice", 4, ID, "row 2", "one row a patient"),
    "id empty": Fault("patient_id,lvi\n1,0\n,0\n", "csv-id-empty", 3, ID, "no id", "one id"),
    "id unknown": Fault("patient_id,lvi\nNA,0\n", "csv-id-empty", 2, ID, "no id", "one id"),
    "id scientific": Fault("patient_id,lvi\n1.23E+11,0\n", "csv-id-scientific", 2, ID, "scientific", "as text"),
    "id formula": Fault('patient_id,lvi\n"=""007""",0\n', "csv-id-spoiled", 2, ID, "formula", "as text"),
    "id too long": Fault(f"patient_id,lvi\n{'x' * 4096},0\n", "csv-id-long", 2, ID, "255", "shorter"),
    "id with a zero-width space": Fault("patient_id,lvi\n1\u200b2,0\n", "csv-control", 2, ID, "U+200B", "anew"),
    "too few cells": Fault("patient_id,lvi\n1,0\n2\n", "csv-ragged", 3, "", "1 cells, the header has 2", "one cell"),
    "too many cells": Fault("patient_id,age_years\n1,52,5\n", "csv-ragged", 2, "", "3 cells", "quote cells"),
    "no number": Fault("patient_id,age_years\n1,50\n2,old\n", "csv-not-number", 3, "age_years", "number", "empty"),
    "out of range": Fault("patient_id,age_years\n1,250\n", "csv-range", 2, "age_years", "18 to 110", "correct"),
    "too young": Fault("patient_id,age_years\n1,5\n", "csv-range", 2, "age_years", "5 is out", "correct"),
    "not binary": Fault("patient_id,lvi\n1,2\n", "csv-range", 2, "lvi", "0 or 1", "correct"),
    "event not 0/1": Fault("patient_id,dmfs_event\n1,3\n", "csv-range", 2, "dmfs_event", "0 or 1", "correct"),
    "binary word": Fault("patient_id,lvi\n1,maybe\n", "csv-not-binary", 2, "lvi", "not 0 or 1", "write 0 or 1"),
    "HER2 score": Fault("patient_id,her2\n1,2+\n", "csv-not-binary", 2, "her2", "in-situ", "write 0 or 1"),
    "lonely dash": Fault("patient_id,er\n1,-\n", "csv-ambiguous", 2, "er", "negative or unknown", "meant"),
    "unknown level": Fault("patient_id,n_stage\n1,N7\n", "csv-level", 2, "n_stage", "N0, N1+", "one of the levels"),
    "level with a typing error": Fault("patient_id,subtype\n1,luminl A\n", "csv-level", 2, "subtype",
                                       "did you mean luminal_A?", "one of the levels"),
    "height in cm": Fault("patient_id,height_m\n1,165\n", "csv-range-unit", 2, "height_m", "height_cm", "rename"),
    "height in m": Fault("patient_id,height_cm\n1,1.65\n", "csv-range-unit", 2, "height_cm", "height_m", "rename"),
    "days for months": Fault("patient_id,dmfs_months\n1,1825\n", "csv-range-unit", 2, "dmfs_months", "dmfs_days",
                             "rename"),
    "Ki-67 in per cent": Fault("patient_id,ki67_high\n1,35\n", "csv-range-unit", 2, "ki67_high", "ki67_percent",
                               "rename"),
    "negative time": Fault("patient_id,dmfs_months\n1,-3\n", "csv-range", 2, "dmfs_months", "-3", "correct"),
    "infinite": Fault("patient_id,cea_ng_ml\n1,inf\n", "csv-not-number", 2, "cea_ng_ml", "not a number", "number"),
    "beyond all numbers": Fault("patient_id,cea_ng_ml\n1,1e400\n", "csv-range", 2, "cea_ng_ml", "range", "correct"),
    "undeclared code": Fault("patient_id,age_years\n1,999\n", "csv-missing-undeclared", 2, "age_years", "unknown",
                             "--missing"),
    "undeclared 9": Fault("patient_id,lvi\n1,9\n", "csv-missing-undeclared", 2, "lvi", "unknown", "--missing"),
    "formula": Fault("patient_id,cea_ng_ml\n1,=1+1\n", "csv-formula", 2, "cea_ng_ml", "formula", "values only"),
    "formula with a plus": Fault("patient_id,cea_ng_ml\n1,+A1\n", "csv-formula", 2, "cea_ng_ml", "formula", "values"),
    "formula with an at": Fault("patient_id,cea_ng_ml\n1,@SUM(A1)\n", "csv-formula", 2, "cea_ng_ml", "formula",
                                "values"),
    "division by zero": Fault("patient_id,bmi_kg_m2\n1,#DIV/0!\n", "csv-excel-error", 2, "bmi_kg_m2", "error value",
                              "correct the formula"),
    "#N/A": Fault("patient_id,lvi\n1,#N/A\n", "csv-excel-error", 2, "lvi", "error value", "empty"),
    "column too narrow": Fault("patient_id,age_years\n1,####\n", "csv-excel-error", 2, "age_years", "error value",
                               "empty"),
    "month": Fault("patient_id,tumour_size_cm\n1,1-Feb\n", "csv-date", 2, "tumour_size_cm", "date", "write the number"),
    "birth date": Fault("patient_id,age_years\n1,1960-02-03\n", "csv-date", 2, "age_years", "a cell of 10", "number"),
    "Chinese date": Fault("patient_id,tumour_size_cm\n1,2月1日\n", "csv-date", 2, "tumour_size_cm", "date", "number"),
    "range": Fault("patient_id,tumour_size_cm\n1,2-3\n", "csv-date", 2, "tumour_size_cm", "range", "number"),
    "below the assay": Fault("patient_id,cea_ng_ml\n1,<0.5\n", "csv-bound", 2, "cea_ng_ml", "<0.5", "methods"),
    "below, full width": Fault("patient_id,cea_ng_ml\n1,＜5\n", "csv-bound", 2, "cea_ng_ml", "bound", "methods"),
    "above the assay": Fault("patient_id,ca153_u_ml\n1,> 200\n", "csv-bound", 2, "ca153_u_ml", "bound", "methods"),
    "unit": Fault("patient_id,tumour_size_cm\n1,3 cm\n", "csv-unit-in-cell", 2, "tumour_size_cm", "unit", "alone"),
    "per cent": Fault("patient_id,ki67_percent\n1,20%\n", "csv-unit-in-cell", 2, "ki67_percent", "20%", "alone"),
    "power": Fault("patient_id,cea_ng_ml\n1,10²\n", "csv-unit-in-cell", 2, "cea_ng_ml", "text behind", "alone"),
    "decimal comma, quoted": Fault('patient_id,age_years\n1,"52,5"\n', "csv-decimal-comma", 2, "age_years",
                                   "write 52.5", "decimal points"),
    "comma and point": Fault("patient_id;age_years\n1;52,5\n2;51.5\n", "csv-decimal-comma", 2, "age_years",
                             "both decimal commas and decimal points", "decimal points"),
    "two readings, comma": Fault("patient_id;cea_ng_ml\n1;1,234\n", "csv-ambiguous", 2, "cea_ng_ml",
                                 "1234 or 1.234", "meant"),
    "two readings, point": Fault("patient_id;sfa_cm2;age_years\n1;1.234;52,5\n", "csv-ambiguous", 2, "sfa_cm2",
                                 "1234 or 1.234", "meant"),
    "thousands": Fault('patient_id,cea_ng_ml\n1,"1,234.5"\n', "csv-thousands", 2, "cea_ng_ml", "thousands", "without"),
    "thousands, blanks": Fault("patient_id,cea_ng_ml\n1,1 234\n", "csv-thousands", 2, "cea_ng_ml", "thousands",
                               "without"),
    "thousands, narrow blank": Fault("patient_id,cea_ng_ml\n1,1\u202f234\n", "csv-thousands", 2, "cea_ng_ml",
                                     "thousands", "without"),
    "word for a number": Fault("patient_id,age_years\n1,yes\n", "csv-not-number", 2, "age_years", "yes", "number"),
    "underscore": Fault("patient_id,cea_ng_ml\n1,1_0\n", "csv-not-number", 2, "cea_ng_ml", "not a number", "number"),
    "line break": Fault('patient_id,age_years\n1,"5\n0"\n', "csv-control", 2, "age_years", "line break", "anew"),
    "NUL": Fault("patient_id,lvi\n1,\0\n", "csv-control", 2, "lvi", "NUL", "anew"),
    "NUL in a column not used": Fault("patient_id,remark\n1,\0\n", "csv-control", 2, "remark", "NUL", "anew"),
    "column twice": Fault("patient_id,lvi,lvi\n1,0,0\n", "csv-column-twice", 1, "lvi", "both hold lvi", "keep one"),
    "height twice": Fault("patient_id,height_m,height_cm\n1,1.6,160\n", "csv-column-twice", 1, "height_m",
                          "height_m and height_cm", "keep one"),
    "no unit": Fault("patient_id,Height\n1,165\n", "csv-column-open", 1, "Height", "height_m or height_cm", "rename"),
    "no coding": Fault("patient_id,Ki-67\n1,20\n", "csv-column-open", 1, "Ki-67", "ki67_high or ki67_percent",
                       "rename"),
    "event without time": Fault("patient_id,dmfs_months,dmfs_event\n1,,1\n", "csv-event-time", 2, "dmfs_months",
                                "dmfs_event is given", "time"),
    "event with a faulty time": Fault("patient_id,dmfs_months,dmfs_event\n1,x,1\n", "csv-not-number", 2,
                                      "dmfs_months", "not a number", "write a number"),
    "event at time 0": Fault("patient_id,dmfs_months,dmfs_event\n1,0,1\n", "csv-event-at-zero", 2, "dmfs_months",
                             "dmfs_event is 1", "surgery"),
    "index": Fault("patient_id,SFA,SFI,height_m\n1,140.4,20.9,1.6\n", "csv-index", 2, "SFI", "= 54.8", "correct"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_by_row_and_column(tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    table = _load(tmp_path, fault.text)
    assert [(f.code, f.row, f.column) for f in table.errors] == [(fault.code, fault.row, fault.column)]
    message = str(table.errors[0])
    assert f"row {fault.row}" in message
    assert not fault.column or f"column {fault.column}" in message
    assert fault.words in message
    assert fault.mend in table.errors[0].mend
    assert "\n" not in message
    with pytest.raises(InputDataError) as refusal:
        table.check()
    assert refusal.value.code == fault.code
    assert "clinical.csv" in str(refusal.value)
    if fault.row > 1:  # the row is not used: of n lines one is the header, one faulty
        assert len(table.rows) <= fault.text.count("\n") - 2


def test_a_cell_in_another_unit_among_others_is_not_the_columns_fault(tmp_path: Path) -> None:
    """One of three heights in centimetres: the cell is wrong; two of three: the column."""
    one = _load(tmp_path, "patient_id,height_m\n1,1.7\n2,165\n3,1.6\n4,\n")
    (error,) = one.errors
    assert (error.code, error.row) == ("csv-cell-unit", 3)
    assert "if it is Height (cm), write 1.65 in this cell" in error.what and "rename" not in error.mend
    two = _load(tmp_path, "patient_id,height_m\n1,170\n2,165\n3,1.6\n")
    assert [error.code for error in two.errors] == ["csv-range-unit"] * 2
    metres = _load(tmp_path, "patient_id,height_cm\n1,1.7\n2,165\n3,160\n")
    assert "write 170 in this cell" in metres.errors[0].what
    percent = _load(tmp_path, "patient_id,ki67_high\n1,1\n2,35\n3,0\n")
    assert "if it is Ki-67 (%), write 1 in this cell" in percent.errors[0].what


def test_refused_rows_are_known_by_their_ids(tmp_path: Path) -> None:
    """Out of range, given twice, of another length: refused; without an id: nobody's."""
    text = "patient_id,age_years,lvi\na,50,0\nb,500,0\nc,50,1\nc,51,1\nd,50\n,50,1\n"
    table = _load(tmp_path, text)
    assert set(table.rows) == {"a"} and table.refused == {"b", "c", "d"}
    assert {f.row: f.patient for f in table.errors} == {3: "b", 5: "c", 6: "", 7: ""}


def test_a_finding_about_a_column_is_nobodys(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id;age_years;weight_kg\na;50,5;20\nb;51,5;21\n")
    assert table.findings and not any(finding.patient for finding in table.findings)


def test_the_table_of_faults_is_large_enough() -> None:
    assert len(FAULTS) >= 30
    assert len({fault.code for fault in FAULTS.values()}) >= 25


def test_all_faults_of_a_file_are_found(tmp_path: Path) -> None:
    text = "patient_id,age_years,lvi,n_stage\n1,old,2,N9\n2,50,1,N0\n3,51,x,N0\n"
    table = _load(tmp_path, text)
    assert [(f.row, f.column) for f in table.errors] == [
        (2, "age_years"), (2, "lvi"), (2, "n_stage"), (4, "lvi"),
    ]  # fmt: skip
    assert list(table.rows) == ["2"]
    with pytest.raises(InputDataError, match=r"row 2, column age_years: .*; 3 more errors: bonemet verify lists them"):
        table.check()


def test_more_faults_than_are_listed_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"{i},old\n" for i in range(MAX_FINDINGS + 7)) + "good,50\n"
    table = _load(tmp_path, "patient_id,age_years\n" + rows)
    assert len(table.errors) == MAX_FINDINGS + 1
    assert table.errors[-1].code == "csv-more-errors"
    assert "7 more errors" in table.errors[-1].what
    assert list(table.rows) == ["good"]


def test_an_absent_column_is_told_once(tmp_path: Path) -> None:
    table = _load(tmp_path, "patient_id,dmfs_event\n1,1\n2,0\n3,\n")
    assert [(f.code, f.row) for f in table.errors] == [("csv-event-time", 2)]
    assert "no such column" in table.errors[0].what
    assert list(table.rows) == ["3"]


def test_no_message_tells_who_it_is(tmp_path: Path) -> None:
    """A shifted row puts names and dates of birth into every column; none is quoted."""
    secret = ("CANARY^NAME", "1961-07-09", "CN4711 0815", "Canary Street 5")
    for cell in secret:
        row = ",".join([cell] * 5)
        table = _load(tmp_path, f"patient_id,age_years,lvi,n_stage,height_cm\n{row}\n{row}\n")
        assert len(table.errors) == 9
        assert not any(cell in f"{f}{f.fact}{f.mend}{f.where}{f.column}" for f in table.findings)
        with pytest.raises(InputDataError) as refusal:
            _load(tmp_path, f"{row}\n{row}\n")  # no header: the first row is a patient
        assert cell not in str(refusal.value)


# --- Agreement with the cohort table and the page for users ---------------------------------------


def _full_row(**cells: str) -> tuple[str, str]:
    known = {c.name: c.levels[0] if c.levels else "1" for c in schema.CLINICAL}
    known |= {"age_years": "50", "bmi_kg_m2": "24", "subtype": "luminal_B", "height_m": "1.6", "dmfs_months": "12",
              "dmfs_event": "1", "bone_metastasis": "1"}  # fmt: skip
    known |= dict.fromkeys(("esma_cm2", "sfa_cm2", "vfa_cm2"), "100")
    known |= dict.fromkeys(("esmi_cm2_m2", "sfi_cm2_m2", "vfi_cm2_m2"), "39.1")
    known |= cells
    return ",".join(known), ",".join(known.values())


def _cells(column: schema.Column) -> list[str]:
    if column.levels:
        return [*column.levels, "", "NA"]
    if column.kind == "binary":
        return ["0", "1", "yes", "", "2"]
    middle = (column.low + column.high) / 2
    return [f"{v:g}" for v in (column.low, middle, column.high, column.low - 1, column.high + 1)] + [""]


@pytest.mark.parametrize("name", COLUMNS)
def test_every_accepted_row_passes_the_cohort_table(tmp_path: Path, name: str) -> None:
    accepted = 0
    for cell in _cells(COLUMNS[name]):
        header, row = _full_row(**{name: cell})
        rows = _load(tmp_path, f"patient_id,{header}\np,{row}\n").rows
        if "p" in rows:
            accepted += 1
            check_cohort(pd.DataFrame([{"patient_id": "p", **rows["p"]}]), "table", need_label=False)
    assert accepted


def test_every_name_has_one_meaning() -> None:
    assert set(ALIASES) <= {ID, *FIELDS}
    keys = [key for names in OPEN_NAMES.values() for key in names]
    assert set(keys) <= set(FIELDS)
    assert all(NAMES[name.replace("_", "")] == name for name in (ID, *FIELDS))


def _page_lines() -> list[str]:
    """The lines the users' page must hold, from the tables that are obeyed."""
    lines = []
    for name in (ID, *FIELDS):
        spelled = ", ".join(ALIASES.get(name, ()))
        if name == ID:
            holds = "text, 255 characters at most"
        else:
            column = FIELDS[name].column
            holds = {"binary": "0 or 1", "category": ", ".join(column.levels)}.get(
                column.kind, f"{column.low:g} to {column.high:g}"
            )
        lines.append(f"| `{name}` | {holds} | {spelled} |")
    lines += [f"| `{name}` | {', '.join(columns)} |" for name, columns in OPEN_NAMES.items()]
    for column, levels in LEVELS.items():
        lines += [f"| `{column}` | {level} | {', '.join(words)} |" for level, words in levels.items()]
    for value in (1.0, 0.0):
        lines.append(f"- {value:g}: " + ", ".join(f"`{word}`" for word, known in BINARY.items() if known == value))
    return lines


def test_the_page_for_users_tells_every_name_and_spelling() -> None:
    page = (Path(__file__).parents[2] / "docs" / "clinical-table.md").read_text()
    assert [line for line in _page_lines() if line not in page] == []
    assert all(f"`{code}`" in page for code in MISSING if code)


# --- Fuzz ------------------------------------------------------------------------------------------

_FUZZ = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_CELLS = st.one_of(
    st.text(max_size=12), st.text("0123456789,.-+eE<>% /'\"=", max_size=8), st.sampled_from([*BINARY, *MISSING]),
    st.floats().map(str), st.integers().map(str), st.sampled_from(["luminal A", "N1", "1-Feb", "#N/A", "1,234"]),
)  # fmt: skip
_NAMES = st.one_of(st.sampled_from(sorted(FIELDS)), st.sampled_from(sorted(OPEN_NAMES)), st.text(max_size=9))


def _survives(tmp_path: Path, data: bytes) -> None:
    try:
        table = _load(tmp_path, data)
    except InputDataError as error:
        assert error.code in VERDICTS
        assert "\n" not in str(error)
        return
    assert all("\n" not in str(finding) and finding.mend for finding in table.findings)
    if table.rows:
        frame = pd.DataFrame([{"patient_id": i, **row} for i, row in table.rows.items()])
        required = [*schema.clinical_names(), schema.LABEL, schema.TIME, schema.EVENT]
        check_cohort(frame.reindex(columns=list(dict.fromkeys([*frame, *required]))), "fuzz", need_label=False)


@_FUZZ
@given(st.binary(max_size=200))
def test_random_bytes(tmp_path: Path, data: bytes) -> None:
    _survives(tmp_path, data)
    _survives(tmp_path, b"patient_id,age_years\n" + data)


@_FUZZ
@given(
    st.lists(_NAMES, max_size=6),
    st.lists(st.lists(_CELLS, min_size=1, max_size=7), max_size=5),
    st.sampled_from(",;\t|"),
    st.booleans(),
)
@pytest.mark.every_change
def test_random_cells(tmp_path: Path, header: list[str], rows: list[list[str]], separator: str, quoted: bool) -> None:
    def line(cells: list[str]) -> str:
        return separator.join('"' + cell.replace('"', '""') + '"' if quoted else cell for cell in cells)

    width = len(header) + 1
    lines = [line(["patient_id", *header])] + [line((row * width)[:width]) for row in rows]
    _survives(tmp_path, "\n".join(lines).encode(errors="replace"))


@pytest.mark.parametrize(("cells", "is_told"), [("0.35 0.1 1", True), ("35 10 1", False), ("0 1 1", False)])
def test_percent_saved_as_shares_is_refused(tmp_path: Path, cells: str, is_told: bool) -> None:
    """A spreadsheet's percent format writes 35 % as 0.35: everybody would be low."""
    rows = "".join(f"p{i},{cell}\n" for i, cell in enumerate(cells.split()))
    file = tmp_path / "c.csv"
    file.write_text("patient_id,ki67_percent\n" + rows)
    errors = load_clinical(file).errors
    assert [(error.code, error.row, error.column) for error in errors] == (
        [("csv-ambiguous", 1, "ki67_percent")] if is_told else []
    )
