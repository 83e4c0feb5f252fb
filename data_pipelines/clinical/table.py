"""The clinical CSV: one row a patient. Every fault is found, with its row and column; nothing is guessed silently."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard, TypeVar

from bonemet_jax import schema
from bonemet_jax.errors import UsageError
from bonemet_jax.patient_ids import MAX_PAIRS, describe_difference, make_key, quote
from bonemet_jax.table_cells import parse_codes
from data_pipelines.check_codes import VERDICTS
from data_pipelines.clinical.cells import CellError, Value, are_shares, check_signs, is_spoiled, read_cell
from data_pipelines.clinical.columns import COLUMNS, FIELDS, MISSING, SLICE_INDEX, SLICE_Z
from data_pipelines.clinical.consistency import check_row
from data_pipelines.clinical.header import TableColumn, clean_name, count_known, find_columns, make_columns
from data_pipelines.clinical.journal import Journal
from data_pipelines.clinical.spreadsheet import Sheet, load_sheet
from data_pipelines.findings import Finding, refusal

__all__ = ["COLUMNS", "ClinicalTable", "Value", "load_clinical"]

#: The header's row, as a spreadsheet counts.
HEADER_ROW = 1
#: A folder name, which an id must equal, has no more.
MAX_ID = 255
#: What a spreadsheet makes of a long number: 1.23457E+11.
_MANGLED_ID = re.compile(r"[0-9]([.,][0-9]+)?[eE]\+[0-9]+")
_DECIMAL_ID = re.compile(r"[0-9]+\.0")
_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class ClinicalTable:
    """The rows that can be used, and everything found. A row with an error is not among the rows."""

    rows: dict[str, dict[str, Value]]
    """patient_id -> column -> value in the schema's unit; unknown is NaN, or None for a level."""
    findings: tuple[Finding, ...] = ()
    slice_z_mm: dict[str, float] = field(default_factory=dict)
    """patient_id -> position of the slice to take, mm, where the table gives it."""
    slice_index: dict[str, int] = field(default_factory=dict)
    """patient_id -> number of the slice to take, 0 the lowest, where the table gives it."""
    refused: frozenset[str] = frozenset()
    """patient_id of every row that an error refuses and whose id can be read. For comparing, not for showing."""
    row_of: dict[str, int] = field(default_factory=dict)
    """patient_id -> row, as a spreadsheet counts; of every row with an id, refused ones included."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that refuse a row, a column or the table."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that do not."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def rename(self, names: Mapping[str, str]) -> "ClinicalTable":
        """The same rows under other ids: `names` maps an id of the table to the new one."""
        if not names:
            return self

        def rekey(rows: Mapping[str, _Entry]) -> dict[str, _Entry]:
            return {names.get(patient, patient): value for patient, value in rows.items()}

        findings = tuple(replace(f, patient=names.get(f.patient, f.patient)) for f in self.findings)
        refused = frozenset(names.get(patient, patient) for patient in self.refused)
        return ClinicalTable(rekey(self.rows), findings, rekey(self.slice_z_mm), rekey(self.slice_index), refused,
                             rekey(self.row_of))

    def check(self, rows: bool = True) -> None:
        """Stop at the first error; with rows=False at the first that concerns more than one row.

        Raises: InputDataError that names it and counts the others.
        """
        errors = [error for error in self.errors if rows or error.row is None or error.row <= HEADER_ROW]
        if not errors:
            return
        first, n = errors[0], len(self.errors) - 1
        others = f"; {n} more {'error' if n == 1 else 'errors'}: bonemet verify lists them all" if n else ""
        raise refusal(first.code, first.where, f"{first.what}{others}", first.fact)


def load_clinical(path: Path, missing: tuple[str, ...] = ()) -> ClinicalTable:
    """Read a clinic's CSV; docs/clinical-table.md tells what is understood.

    Args:
        path: the file.
        missing: codes for "unknown" in every column ("999") or in one ("lvi=9").

    Returns: usable rows and all findings, errors among them; call check() to stop at the first.

    Raises: InputDataError when the file as a whole cannot be read, UsageError for a column in `missing` that is none.
    """
    sheet = load_sheet(Path(path), count_known)
    journal = Journal(str(path), list(sheet.findings))
    places = find_columns(sheet, journal)
    if not sheet.rows:
        raise refusal("csv-empty", path, "the clinical table has a header and no rows")
    columns = make_columns(sheet, places, _parse_missing(missing))
    for column in columns:
        if column.field.at_least is not None and are_shares([cells[column.place] for _, cells in sheet.rows
                                                             if column.place < len(cells)]):  # fmt: skip
            journal.add("csv-ambiguous", "no value above 1: percent, or shares of 1? write 35 for 35 %, or leave the "
                        "column out", HEADER_ROW, column.shown)
    return _read_rows(sheet, places[schema.PATIENT_ID], columns, journal)


def _parse_missing(missing: Iterable[str]) -> dict[str, frozenset[str]]:
    """Column ("": every one) -> its declared codes."""
    codes = parse_codes(missing)
    unknown = next((column for column in codes if column and column not in FIELDS), None)
    if unknown is not None:
        raise UsageError(f"--missing names {unknown!r}, which is no column", "--missing", "use CODE or COLUMN=CODE")
    return codes


def _read_rows(sheet: Sheet, id_place: int, columns: list[TableColumn], journal: Journal) -> ClinicalTable:
    values: dict[str, dict[str, Value]] = {}
    row_of: dict[str, int] = {}
    hidden: dict[str, int] = {}
    bad: set[str] = set()
    for row, cells in sheet.rows:
        patient, parsed = _read_row(row, cells, sheet, id_place, columns, journal)
        if patient is None:
            hidden |= {cells[id_place].strip(): row} if len(cells) == len(sheet.header) else {}
            continue
        if patient in row_of:
            journal.add("csv-id-twice", f"the same id as in row {row_of[patient]}", row, schema.PATIENT_ID)
            bad.add(patient)
            continue
        row_of[patient] = row
        if parsed is not None:
            values[patient] = parsed
    _report_trimmed(sheet, id_place, journal)
    _report_alike(row_of, journal)
    good = {patient: parsed for patient, parsed in values.items() if patient not in bad}
    slice_z_mm = {patient: z for patient, parsed in good.items() if _is_number(z := parsed.get(SLICE_Z))}
    slice_index = {patient: int(k) for patient, parsed in good.items() if _is_number(k := parsed.get(SLICE_INDEX))}
    rows = {patient: {n: value for n, value in parsed.items() if n in COLUMNS} for patient, parsed in good.items()}
    return ClinicalTable(rows, journal.finish(), slice_z_mm, slice_index, frozenset(row_of) - frozenset(rows),
                         hidden | row_of)


def _read_row(
    row: int, cells: tuple[str, ...], sheet: Sheet, id_place: int, columns: list[TableColumn], journal: Journal
) -> tuple[str | None, dict[str, Value] | None]:
    """Id and values; None where it has none to use."""
    if len(cells) != len(sheet.header):
        journal.add("csv-ragged", f"{len(cells)} cells, the header has {len(sheet.header)}", row)
        # Cells may have shifted, all but the first: whose row it is can be told, what it holds cannot.
        return (_read_id(cells[0], row, journal) if id_place == 0 and cells else None), None
    patient = _read_id(cells[id_place], row, journal)
    if patient is not None:
        journal.name(row, patient)
    if any("\0" in cell for cell in cells):
        places = [place for place, cell in enumerate(cells) if "\0" in cell]
        journal.add("csv-control", "holds NUL", row, clean_name(sheet.header[places[0]]))
        return patient, None
    parsed: dict[str, Value] = {}
    failed: set[str] = set()
    for column in columns:
        try:
            read = read_cell(cells[column.place], column.field, column.style)
        except CellError as error:
            journal.add(error.code, error.detail, row, column.shown)
            failed.add(column.field.target)
            continue
        for code, words in read.assumed:
            journal.tell(code, words, row, column.shown)
        parsed[column.field.target] = read.value
    is_good = _check_slice(parsed, row, journal) and not failed
    is_good &= _check_consistency(parsed, {c.field.target: c.shown for c in columns}, failed, row, journal)
    return patient, parsed if is_good else None


def _read_id(cell: str, row: int, journal: Journal) -> str | None:
    """The id as text, blanks around it gone; None where there is none or it cannot be trusted."""
    patient = cell.strip()
    try:
        check_signs(patient)
    except CellError as error:
        journal.add(error.code, error.detail, row, schema.PATIENT_ID)
        return None
    code = _find_id_fault(patient)
    if code:
        journal.add(code, row=row, column=schema.PATIENT_ID)
        return None
    if _DECIMAL_ID.fullmatch(patient):
        journal.tell("csv-id-decimal", "ends in .0 and is kept so", row, schema.PATIENT_ID)
    return patient


def _find_id_fault(patient: str) -> str:
    if patient.casefold() in MISSING:
        return "csv-id-empty"
    if is_spoiled(patient):
        return "csv-id-spoiled"
    if _MANGLED_ID.fullmatch(patient):
        return "csv-id-scientific"
    return "csv-id-long" if len(patient) > MAX_ID else ""


def _report_trimmed(sheet: Sheet, id_place: int, journal: Journal) -> None:
    """One warning names the ids around which blanks were left out."""
    trimmed = [(row, cells[id_place]) for row, cells in sheet.rows if id_place < len(cells)
               and cells[id_place].strip() not in ("", cells[id_place])]  # fmt: skip
    if not trimmed:
        return
    cells = "1 cell" if len(trimmed) == 1 else f"{len(trimmed)} cells, the first"
    named = [f"row {row} {quote(cell)} is read as {quote(cell.strip())}" for row, cell in trimmed[:MAX_PAIRS]]
    named += [f"{len(trimmed) - MAX_PAIRS} more"] if len(trimmed) > MAX_PAIRS else []
    words = f"blanks around the id left out ({cells} in row {trimmed[0][0]})"
    journal.add("csv-id-trimmed", words, column=schema.PATIENT_ID, ids=", ".join(named))


def _report_alike(row_of: dict[str, int], journal: Journal) -> None:
    """Ids that look alike are kept apart and named."""
    first: dict[str, str] = {}
    for patient, row in row_of.items():
        other = first.setdefault(make_key(patient), patient)
        if other != patient:
            words = f"looks like the id in row {row_of[other]}, from which it differs by " + describe_difference(
                other, patient)
            journal.add("csv-id-alike", words, row, schema.PATIENT_ID, f"{quote(patient)} and {quote(other)}")


def _check_slice(parsed: dict[str, Value], row: int, journal: Journal) -> bool:
    z_mm, index = parsed.get(SLICE_Z), parsed.get(SLICE_INDEX)
    if _is_number(index) and not index.is_integer():
        journal.add("csv-range", f"{index:g} is not a whole number", row, SLICE_INDEX)
        return False
    if _is_number(index) and _is_number(z_mm):
        journal.add("csv-slice-both", row=row, column=SLICE_INDEX)
        return False
    return True


def _check_consistency(
    parsed: dict[str, Value], shown: dict[str, str], failed: set[str], row: int, journal: Journal
) -> bool:
    """Is the row free of contradictions? A column that is no column of the file is told once."""
    is_good = True
    for code, column, detail in check_row(parsed):
        if column in failed:
            continue
        is_good &= VERDICTS[code].severity == "warning"
        if column in shown:
            journal.add(code, detail, row, shown[column])
        else:
            journal.add_once(code, f"{detail}; the table has no such column", row, column)
    return is_good


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, float) and not math.isnan(value)
