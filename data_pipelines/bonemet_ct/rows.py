"""The cohort table as scalars of each record (shell)."""

from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import InputDataError


def load_rows(cohort_dir: Path) -> tuple[dict[str, Any], ...]:
    """Scalars of every patient: text for ids and categories ("" is missing), float for numbers (NaN is missing).

    Raises: InputDataError when a column, an id, a label or a slice is missing, or an id comes twice.
    """
    path = cohort_dir / "cohort.parquet"
    table = artifacts.load_table(path)
    texts = (schema.PATIENT_ID, schema.SLICE_ID, *(c.name for c in schema.CLINICAL if c.kind == "category"))
    numbers = (schema.HEIGHT, schema.TIME, schema.EVENT, *(c.name for c in schema.CLINICAL if c.kind != "category"))
    absent = [name for name in (*texts, *numbers, schema.LABEL) if name not in table.columns]
    if absent:
        raise InputDataError(f"columns are missing: {', '.join(absent)}", path, "run ingest or phantom again")
    _check_ids(table, path)
    table = table.sort_values(schema.PATIENT_ID)
    columns = {name: table[name].astype(object).where(table[name].notna(), "").map(str).tolist() for name in texts}
    columns |= {name: table[name].astype("float64").tolist() for name in numbers}
    columns[schema.LABEL] = table[schema.LABEL].astype(int).tolist()
    return tuple(dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def _check_ids(table: Any, path: Path) -> None:
    """Raises: InputDataError for an empty cohort, missing ids, slices or labels, or a patient who comes twice."""
    if not table[schema.SLICE_ID].notna().any():
        raise InputDataError("the cohort has no slices", path, "give ingest the images, or make a cohort with phantom")
    for name in (schema.PATIENT_ID, schema.SLICE_ID, schema.LABEL):
        if not table[name].notna().all():
            raise InputDataError(f"{name} is missing in {int(table[name].isna().sum())} rows", path, "mend these rows")
    for name in (schema.PATIENT_ID, schema.SLICE_ID):
        values = table[name].tolist()
        row = next((i for i, again in enumerate(table[name].duplicated()) if again), None)
        if row is not None:
            first = values.index(values[row])
            raise InputDataError(f"{name} comes twice: rows {first + 1} and {row + 1}", path, "keep one row a patient")
    if not table[schema.LABEL].isin([0, 1]).all():
        raise InputDataError(f"{schema.LABEL} is neither 0 nor 1 in some row", path, "mend these rows")
