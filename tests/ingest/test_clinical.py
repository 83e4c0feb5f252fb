"""The clinical CSV: what is wrong is named by row and column, nothing is guessed."""

import math
from pathlib import Path

import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.clinical import load_clinical


def _csv(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "clinical.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_ids_stay_text_and_unknown_stays_unknown(tmp_path: Path) -> None:
    header = "patient_id,age_years,menopause,lvi,bone_metastasis\r\n"
    table = load_clinical(_csv(tmp_path, header + "007,52.5,post,1,0\r\n7,,NA,nan,\r\n"))
    assert table.rows["007"] == {"age_years": 52.5, "menopause": "post", "lvi": 1.0, "bone_metastasis": 0.0}
    assert table.rows["7"]["menopause"] is None
    assert all(math.isnan(table.rows["7"][name]) for name in ("age_years", "lvi", "bone_metastasis"))


def test_byte_order_mark_blank_rows_and_quotes(tmp_path: Path) -> None:
    table = load_clinical(_csv(tmp_path, b'\xef\xbb\xbfpatient_id,remark\n"a, b","two\nlines"\n,\n\n'))
    assert list(table.rows) == ["a, b"]
    assert table.warnings == ("columns not used: remark",)


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "no patient_id": ("id,age_years\n1,50\n", "no column patient_id; found: id, age_years"),
    "semicolons": ("patient_id;age_years\n1;50\n", "separated by commas"),
    "empty file": ("", "found: nothing"),
    "column twice": ("patient_id,lvi,lvi\n1,0,0\n", "lvi is given twice"),
    "id twice": ("patient_id,lvi\n1,0\n2,0\n1,1\n", "patient_id, row 4"),
    "id empty": ("patient_id,lvi\n1,0\n,0\n", "patient_id, row 3"),
    "too few cells": ("patient_id,lvi\n1,0\n2\n", "row 3 has 1 cells"),
    "no number": ("patient_id,age_years\n1,50\n2,old\n", "age_years, row 3: 'old' is not a number"),
    "decimal comma": ('patient_id,age_years\n1,"52,5"\n', "age_years, row 2"),
    "out of range": ("patient_id,age_years\n1,250\n", "age_years, row 2: 250 is out of range; .*18 to 110"),
    "not binary": ("patient_id,lvi\n1,2\n", "lvi, row 2.*0 or 1"),
    "unknown level": ("patient_id,n_stage\n1,N7\n", "n_stage, row 2: 'N7'.*N0 or N1"),
    "height in cm": ("patient_id,height_m\n1,165\n", "height_m, row 2"),
    "negative time": ("patient_id,dmfs_months\n1,-3\n", "dmfs_months, row 2"),
    "infinite": ("patient_id,cea_ng_ml\n1,inf\n", "cea_ng_ml, row 2"),
    "formula": ("patient_id,cea_ng_ml\n1,=1+1\n", "cea_ng_ml, row 2"),
    "not UTF-8": ("patient_id,menopause\n1,绝经\n".encode("gb18030"), "not UTF-8"),
    "NUL": ("patient_id,lvi\n1,\0\n", "NUL"),
    "open quote": ('patient_id,lvi\n"1,0\n', "line 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    text, wanted = FAULTS[fault]
    with pytest.raises(InputDataError, match=wanted) as refusal:
        load_clinical(_csv(tmp_path, text))
    assert "\n" not in str(refusal.value)
    assert "clinical.csv" in str(refusal.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="cannot read"):
        load_clinical(tmp_path / "absent.csv")
