"""The cohort table, checked cell by cell against the schema before anything is computed from it."""

from pathlib import Path

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import InputDataError

_BINARY = schema.Column("", "binary", "")
_TIME = schema.Column(schema.TIME, "continuous", "DMFS (months)", 0.0, 1200.0)
_HEIGHT = schema.Column(schema.HEIGHT, "continuous", "Height (m)", 0.5, 2.5)


def load_cohort(path: str | Path, need_label: bool = True) -> pd.DataFrame:
    """Read cohort.parquet (or a CSV of the same columns) and check every cell.

    Args:
        path: parquet or CSV file.
        need_label: refuse rows whose bone_metastasis is missing.

    Returns: one row a patient, sorted by patient_id: patient_id and categories as text, every other column float64,
        missing as NaN.

    Raises: CorruptFileError for an unreadable file, InputDataError naming row and column.
    """
    path = Path(path)
    if path.suffix == ".csv":
        frame, first_row = _read_csv(path), 2
    else:
        frame, first_row = artifacts.load_table(path), 1
    return check_cohort(frame, path, need_label, first_row)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={schema.PATIENT_ID: str, schema.SLICE_ID: str}, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors and bad encodings are ValueErrors
        raise InputDataError(f"cannot read the cohort table ({error})", path, "use UTF-8, comma-separated") from error


def check_cohort(frame: pd.DataFrame, where: object, need_label: bool = True, first_row: int = 1) -> pd.DataFrame:
    """Check a cohort table against the schema; `first_row` is the number a user gives to the first row.

    Raises: InputDataError naming row and column.
    """
    required = [schema.PATIENT_ID, *schema.clinical_names(), schema.LABEL, schema.TIME, schema.EVENT]
    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise InputDataError(f"cohort table lacks column {', '.join(missing)}", where, "add it, empty where unknown")
    if frame.empty:
        raise InputDataError("cohort table has no rows", where, "add one row a patient")
    check = _Checker(where, first_row)
    checked = frame.copy()
    checked[schema.PATIENT_ID] = check.ids(frame[schema.PATIENT_ID])
    for column in (*schema.CLINICAL, _TIME, _HEIGHT):
        if column.name in frame.columns:
            checked[column.name] = check.values(frame[column.name], column)
    for name in (schema.LABEL, schema.EVENT):
        checked[name] = check.values(frame[name], _BINARY)
    if need_label:
        check.refuse(checked[schema.LABEL].isna(), schema.LABEL, "missing", "0 or 1 for every patient")
    check.refuse(checked[schema.EVENT].notna() & checked[schema.TIME].isna(), schema.TIME,
                 f"missing although {schema.EVENT} is given", "the time, or leave both empty")
    return checked.sort_values(schema.PATIENT_ID, ignore_index=True)


class _Checker:
    """Turns a mask of bad cells into one error that names the first of them."""

    def __init__(self, where: object, first_row: int) -> None:
        self.where, self.first_row = where, first_row

    def refuse(self, bad: pd.Series, column: str, got: str, wanted: str) -> None:
        if bad.any():
            row = int(np.argmax(np.asarray(bad))) + self.first_row
            raise InputDataError(f"column {column}, row {row}: {got}", self.where, f"use {wanted}")

    def ids(self, ids: pd.Series) -> pd.Series:
        name = schema.PATIENT_ID
        is_text = ids.map(lambda value: isinstance(value, str))
        self.refuse(~is_text, name, "missing or not text", "text, one id a patient")
        self.refuse(ids.str.strip() == "", name, "empty", "text, one id a patient")
        self.refuse(ids.duplicated(), name, "given twice", "one row a patient")
        return ids.astype(str)

    def values(self, values: pd.Series, column: schema.Column) -> pd.Series:
        name = column.name or str(values.name)
        if column.kind == "category":
            self.refuse(values.notna() & ~values.isin(column.levels), name, "not a known level",
                        f"one of {', '.join(column.levels)}")
            return values.astype(object).mask(values.isna())
        numbers = pd.to_numeric(values, errors="coerce").astype(float)
        self.refuse(values.notna() & numbers.isna(), name, "not a number", "a number, empty where unknown")
        if column.kind == "binary":
            self.refuse(numbers.notna() & ~numbers.isin((0.0, 1.0)), name, "neither 0 nor 1", "0 or 1")
        else:
            self.refuse(numbers.notna() & ~numbers.between(column.low, column.high), name, "out of range",
                        f"{column.low:g} to {column.high:g}")
        return numbers
