"""The table of a cohort directory against the schema, every cell of it, as findings. Pure."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from bonemet_jax import schema
from bonemet_jax.patient_ids import describe_difference, make_key, quote
from data_pipelines.clinical.columns import COLUMNS
from data_pipelines.clinical.consistency import INDEX_ROUNDING_CM2_M2, INDEX_TOLERANCE
from data_pipelines.findings import Finding


def check_table(table: pd.DataFrame) -> Iterator[Finding]:
    """Findings about missing columns, ids, cells out of range, indices, outcomes.

    Row 1 is the first patient: a parquet file has no header row.
    """
    needed = [schema.PATIENT_ID, schema.SLICE_ID, *COLUMNS]
    yield from (
        Finding("cohort-no-column", "the cohort table lacks a column", column=name)
        for name in needed if name not in table.columns
    )
    for name in (schema.PATIENT_ID, schema.SLICE_ID):
        if name in table.columns:
            yield from _check_ids(table, name)
    if schema.PATIENT_ID in table.columns:
        yield from _check_alike(patients_of(table))
    for name, column in COLUMNS.items():
        if name in table.columns:
            yield from _check_column(table, column)
    if set(needed) <= set(table.columns):
        yield from _check_indices(table)
        yield from check_outcomes(table)


def patients_of(table: pd.DataFrame) -> list[str]:
    """Id of every row, empty where it is no text."""
    ids = table.get(schema.PATIENT_ID, pd.Series([""] * len(table)))
    return [value if isinstance(value, str) else "" for value in ids]


def _check_ids(table: pd.DataFrame, name: str) -> Iterator[Finding]:
    values = table[name]
    is_text = values.map(lambda value: isinstance(value, str) and bool(value.strip())).to_numpy(bool)
    yield from _at(table, ~is_text, "cohort-cell", name, lambda i: "empty or not text")
    yield from _at(table, values.duplicated().to_numpy(bool) & is_text, "cohort-twice", name,
                   lambda i: f"an id is given twice (first in row {1 + list(values).index(values.iloc[i])})")


def _check_alike(patients: list[str]) -> Iterator[Finding]:
    """Ids of different rows that look alike: possibly one patient, who would be trained on and tested."""
    first: dict[str, int] = {}
    for row, patient in enumerate(patients, start=1):
        other = first.setdefault(make_key(patient), row)
        if patient and patients[other - 1] not in ("", patient):
            earlier = patients[other - 1]
            yield Finding("csv-id-alike", f"looks like the id in row {other}, from which it differs by "
                          f"{describe_difference(earlier, patient)}", patient=patient, row=row,
                          column=schema.PATIENT_ID, ids=f"{quote(patient)} and {quote(earlier)}")


def _check_column(table: pd.DataFrame, column: schema.Column) -> Iterator[Finding]:
    values, name = table[column.name], column.name
    known = values.notna().to_numpy(bool)
    if column.kind == "category":
        yield from _at(table, known & ~values.isin(column.levels).to_numpy(bool), "cohort-cell", name,
                       lambda i: "not a known level", f"one of {', '.join(column.levels)}")
        return
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    is_number = np.isfinite(numbers)
    yield from _at(table, known & ~is_number, "cohort-cell", name, lambda i: "not a finite number")
    if column.kind == "binary":
        inside, wanted = np.isin(numbers, (0.0, 1.0)), "0 or 1"
    else:
        inside, wanted = (numbers >= column.low) & (numbers <= column.high), f"{column.low:g} to {column.high:g}"
    yield from _at(table, is_number & ~inside, "cohort-cell", name, lambda i: f"{numbers[i]:g} is out of range", wanted)


def _check_indices(table: pd.DataFrame) -> Iterator[Finding]:
    height_m = _numbers(table, schema.HEIGHT)
    for index, area in schema.INDEX_OF_AREA.items():
        given = _numbers(table, index)
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = _numbers(table, area) / height_m**2
            apart = np.abs(given - wanted) > INDEX_TOLERANCE * wanted + INDEX_ROUNDING_CM2_M2

        def tell(i: int, given: np.ndarray = given, wanted: np.ndarray = wanted) -> str:
            return f"{given[i]:.2f} is not area / height^2 = {wanted[i]:.2f} cm2/m2"

        wanted_text = f"within {INDEX_TOLERANCE:.0%} + {INDEX_ROUNDING_CM2_M2:g}"
        yield from _at(table, apart, "cohort-index", index, tell, wanted_text)


def check_outcomes(table: pd.DataFrame) -> Iterator[Finding]:
    """An event without its time, patients without outcome, outcomes of one class only."""
    label, time, event = (_numbers(table, name) for name in (schema.LABEL, schema.TIME, schema.EVENT))
    yield from _at(table, np.isfinite(event) & ~np.isfinite(time), "cohort-cell", schema.TIME,
                   lambda i: f"missing although {schema.EVENT} is given")
    n_unknown, known = int(np.isnan(label).sum()), label[np.isfinite(label)]
    if n_unknown:
        yield Finding("cohort-no-label", "bone metastasis is unknown: training refuses these patients",
                      f"{n_unknown} of {len(label)}", column=schema.LABEL)
    if len(known) and (known == known[0]).all():
        yield Finding("cohort-one-class", "all patients with a known outcome are of one class: nothing to learn",
                      f"{len(known)} of class {known[0]:g}", column=schema.LABEL)


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    return pd.to_numeric(table[name], errors="coerce").to_numpy(float)


def _at(
    table: pd.DataFrame, bad: np.ndarray, code: str, column: str, tell: Callable[[int], str], fact: str = ""
) -> Iterator[Finding]:
    """A finding for every row where `bad`."""
    ids = patients_of(table)
    for i in np.flatnonzero(bad).tolist():
        yield Finding(code, tell(i), fact, patient=ids[i], row=i + 1, column=column)
