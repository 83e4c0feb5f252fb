import math
from pathlib import Path

import pandas as pd
import pytest

from bonemet_jax import artifacts
from bonemet_jax.errors import InputDataError
from data_pipelines.bonemet_ct.rows import load_rows


def test_sorted_by_id_and_missing_is_missing(small_cohort: Path) -> None:
    rows = load_rows(small_cohort)
    assert [row["patient_id"] for row in rows] == [f"p{i:02}" for i in range(13)]
    assert [row["slice_id"] for row in rows] == [f"s{i:02}" for i in range(13)]
    assert math.isnan(rows[1]["cea_ng_ml"]) and rows[0]["cea_ng_ml"] == 0.0
    assert rows[2]["n_stage"] == "" and rows[3]["n_stage"] == "N1+"
    assert rows[4]["bone_metastasis"] == 1 and rows[4]["dmfs_months"] == 16.0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("patient_id", "p00", "patient_id comes twice: rows [0-9]+ and [0-9]+;"),
        ("slice_id", "s00", "slice_id comes twice: rows [0-9]+ and [0-9]+;"),
        ("slice_id", None, "slice_id is missing in 1 rows"),
        ("bone_metastasis", None, "bone_metastasis is missing in 1 rows"),
        ("bone_metastasis", 2, "neither 0 nor 1"),
    ],
)
def test_bad_rows_are_named(small_cohort: Path, tmp_path: Path, column: str, value: object, message: str) -> None:
    table = artifacts.load_table(small_cohort / "cohort.parquet").astype({column: object})
    table.loc[table["patient_id"] == "p05", column] = value
    artifacts.save_table(tmp_path / "cohort.parquet", table)
    with pytest.raises(InputDataError, match=message):
        load_rows(tmp_path)


def test_missing_column_and_no_slices(small_cohort: Path, tmp_path: Path) -> None:
    table: pd.DataFrame = artifacts.load_table(small_cohort / "cohort.parquet")
    artifacts.save_table(tmp_path / "cohort.parquet", table.drop(columns="lvi"))
    with pytest.raises(InputDataError, match="columns are missing: lvi"):
        load_rows(tmp_path)
    artifacts.save_table(tmp_path / "cohort.parquet", table.assign(slice_id=None))
    with pytest.raises(InputDataError, match="no slices"):
        load_rows(tmp_path)
