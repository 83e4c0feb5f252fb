"""Every bad cell is refused with its row and column; every good one survives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.table import load_cohort
from bonemet_jax.errors import CorruptFileError, InputDataError

MakeTable = Callable[..., pd.DataFrame]


def test_parquet_and_csv_give_the_same_table(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table()
    table.loc[3, "cea_ng_ml"] = np.nan
    table.loc[4, "subtype"] = None
    table.loc[5, "lvi"] = np.nan
    artifacts.save_table(tmp_path / "cohort.parquet", table)
    table.to_csv(tmp_path / "cohort.csv", index=False, encoding="utf-8-sig")
    from_parquet, from_csv = load_cohort(tmp_path / "cohort.parquet"), load_cohort(tmp_path / "cohort.csv")
    assert from_csv[schema.PATIENT_ID].tolist()[:2] == ["000", "001"]  # leading zeros stay
    assert from_parquet["subtype"].isna().sum() == from_csv["subtype"].isna().sum() == 1
    pd.testing.assert_frame_equal(from_parquet, from_csv)


def test_rows_come_back_sorted_by_patient(make_table: MakeTable, tmp_path: Path) -> None:
    artifacts.save_table(tmp_path / "c.parquet", make_table().sample(frac=1, random_state=1))
    assert load_cohort(tmp_path / "c.parquet")[schema.PATIENT_ID].is_monotonic_increasing


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age_years", 300, "column age_years, row 8: out of range"),
        ("sfa_cm2", -1, "column sfa_cm2, row 8: out of range"),
        ("sfa_cm2", np.inf, "column sfa_cm2, row 8: out of range"),
        ("cea_ng_ml", "3,1", "column cea_ng_ml, row 8: not a number"),
        ("lvi", 2, "column lvi, row 8: neither 0 nor 1"),
        ("n_stage", "N3", "column n_stage, row 8: not a known level"),
        ("bone_metastasis", np.nan, "column bone_metastasis, row 8: missing"),
        ("bone_metastasis", 0.5, "column bone_metastasis, row 8: neither 0 nor 1"),
        ("dmfs_months", np.nan, "column dmfs_months, row 8: missing although dmfs_event"),
        ("dmfs_months", -2, "column dmfs_months, row 8: out of range"),
        ("patient_id", "003", "column patient_id, row 8: given twice"),
        ("patient_id", None, "column patient_id, row 8: missing or not text"),
        ("patient_id", " ", "column patient_id, row 8: empty"),
    ],
)
def test_bad_cell_is_named(make_table: MakeTable, tmp_path: Path, column: str, value: object, said: str) -> None:
    table = make_table()
    table[column] = table[column].astype(object)
    table.at[6, column] = value
    table.to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(InputDataError) as caught:
        load_cohort(tmp_path / "cohort.csv")
    assert caught.value.exit_code == 8
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_column_empty_table_and_unreadable_file(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table()
    table.drop(columns=["patient_id", "vfi_cm2_m2"]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputDataError, match="lacks column patient_id, vfi_cm2_m2"):
        load_cohort(tmp_path / "a.csv")
    table.head(0).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputDataError, match="no rows"):
        load_cohort(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_bytes(b"patient_id\n\xff\xfe\x00")
    with pytest.raises(InputDataError, match="cannot read"):
        load_cohort(tmp_path / "c.csv")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CorruptFileError):
        load_cohort(tmp_path / "d.parquet")


def test_unlabelled_patients_are_welcome_when_asked_for(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table()
    table.loc[:4, [schema.LABEL, schema.EVENT, schema.TIME]] = np.nan
    artifacts.save_table(tmp_path / "c.parquet", table)
    assert load_cohort(tmp_path / "c.parquet", need_label=False)[schema.LABEL].isna().sum() == 5
