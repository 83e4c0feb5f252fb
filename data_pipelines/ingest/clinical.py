"""The clinical CSV: one row a patient, checked cell by cell; what is wrong is named by row and column."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError

#: Cells that say "unknown", compared in lower case.
MISSING = ("", "na", "nan")
_OUTCOMES = (
    schema.Column(schema.HEIGHT, "continuous", "Height (m)", 0.5, 2.5),
    schema.Column(schema.LABEL, "binary", "Bone metastasis"),
    schema.Column(schema.TIME, "continuous", "DMFS (months)", 0.0, 1200.0),
    schema.Column(schema.EVENT, "binary", "DMFS event"),
)
COLUMNS: dict[str, schema.Column] = {column.name: column for column in (*schema.CLINICAL, *_OUTCOMES)}

Value = float | str | None


@dataclass(frozen=True)
class ClinicalTable:
    """Rows by patient_id; unknown is NaN, or None for text."""

    rows: dict[str, dict[str, Value]]
    warnings: tuple[str, ...]


def load_clinical(path: Path) -> ClinicalTable:
    """Read a UTF-8, comma-separated CSV with a patient_id column; columns the schema lacks are left out and listed.

    Raises: InputDataError naming row (1 is the header) and column.
    """
    lines = _load_lines(path)
    header = [name.strip() for name in lines[0]] if lines else []
    _check_header(header, path)
    rows: dict[str, dict[str, Value]] = {}
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        patient, row = _parse_row(header, cells, number, path)
        if patient in rows:
            raise InputDataError(f"column {schema.PATIENT_ID}, row {number}: given twice", path, "one row a patient")
        rows[patient] = row
    unknown = [name for name in header if name not in COLUMNS and name != schema.PATIENT_ID]
    return ClinicalTable(rows, (f"columns not used: {', '.join(unknown)}",) if unknown else ())


def _load_lines(path: Path) -> list[list[str]]:
    reader = csv.reader(io.StringIO(_load_text(path), newline=""), strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        raise InputDataError(f"clinical CSV, line {reader.line_num}: {error}", path, "check its quotes") from error


def _load_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputDataError("cannot read the clinical CSV", path, "check the path") from error
    except UnicodeDecodeError as error:
        raise InputDataError("clinical CSV is not UTF-8", path, "save it as CSV UTF-8") from error
    if "\0" in text:
        raise InputDataError("clinical CSV holds NUL characters", path, "save it as CSV UTF-8")
    return text


def _check_header(header: list[str], path: Path) -> None:
    if schema.PATIENT_ID not in header:
        raise InputDataError(
            f"no column {schema.PATIENT_ID}; found: {', '.join(header) or 'nothing'}", path,
            f"name the column of ids {schema.PATIENT_ID}; cells are separated by commas",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputDataError(f"column {', '.join(twice)} is given twice", path, "keep one")


def _parse_row(header: list[str], cells: list[str], number: int, path: Path) -> tuple[str, dict[str, Value]]:
    if len(cells) != len(header):
        raise InputDataError(
            f"row {number} has {len(cells)} cells, the header {len(header)}", path, "quote cells that hold a comma"
        )
    named = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    patient = named[schema.PATIENT_ID]
    if not patient:
        raise InputDataError(f"column {schema.PATIENT_ID}, row {number}: empty", path, "one id a patient")
    try:
        return patient, {name: _parse_cell(named[name], COLUMNS[name]) for name in header if name in COLUMNS}
    except _CellError as error:
        raise InputDataError(
            f"column {error.column.name}, row {number}: {error.got}", path, f"use {error.wanted}, empty where unknown"
        ) from error


class _CellError(Exception):
    def __init__(self, column: schema.Column, got: str, wanted: str) -> None:
        super().__init__(got)
        self.column, self.got, self.wanted = column, got, wanted


def _parse_cell(cell: str, column: schema.Column) -> Value:
    is_missing = cell.lower() in MISSING
    if column.kind == "category":
        if not is_missing and cell not in column.levels:
            raise _CellError(column, f"{cell[:40]!r} is not a known level", " or ".join(column.levels))
        return None if is_missing else cell
    if is_missing:
        return math.nan
    wanted = "0 or 1" if column.kind == "binary" else f"a number from {column.low:g} to {column.high:g}"
    try:
        value = float(cell)
    except ValueError as error:
        raise _CellError(column, f"{cell[:40]!r} is not a number", wanted) from error
    if not (value in (0.0, 1.0) if column.kind == "binary" else column.low <= value <= column.high):
        raise _CellError(column, f"{cell[:40]} is out of range", wanted)
    return value
