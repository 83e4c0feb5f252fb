"""The clinical table's header -> which columns to read, and how their cells are spelled."""

import difflib
from dataclasses import dataclass

from bonemet_jax import schema
from data_pipelines.clinical.cells import Style, has_decimal_comma, has_decimal_point, is_mostly_outside
from data_pipelines.clinical.columns import FIELDS, NAMES, OPEN_KEYS, Field, fold, make_key
from data_pipelines.clinical.journal import Journal
from data_pipelines.clinical.spreadsheet import Sheet
from data_pipelines.findings import refusal


@dataclass(frozen=True)
class TableColumn:
    """A column to read: where it stands, what its header says, how its cells are spelled."""

    place: int
    shown: str
    field: Field
    style: Style


def count_known(header: list[str]) -> int:
    """How many names are understood; without the ids' column it is no header of ours."""
    names = [NAMES.get(make_key(name)) for name in header]
    known = sum(name is not None or make_key(cell) in OPEN_KEYS for name, cell in zip(names, header, strict=True))
    return known if schema.PATIENT_ID in names else 0


def find_columns(sheet: Sheet, journal: Journal) -> dict[str, int]:
    """Column name -> place, of patient_id and every column to read.

    Raises: InputDataError without exactly one column of ids.
    """
    places: dict[str, list[int]] = {}
    unknown: list[str] = []
    for place, name in enumerate(sheet.header):
        known = NAMES.get(make_key(name))
        if known == schema.PATIENT_ID != name and schema.PATIENT_ID in sheet.header:
            unknown.append(clean_name(name))  # "id" beside "patient_id" is a running number
        elif known is not None:
            places.setdefault(known, []).append(place)
        else:
            _tell_unknown(place, name, sheet, journal, unknown)
    if schema.PATIENT_ID not in places:
        _refuse_without_ids(sheet, sorted(places), journal.where)
    _tell_aliases(places, sheet, journal)
    _drop_twice(places, sheet, journal)
    if unknown:
        more = f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""
        journal.add("csv-columns-unused", f"columns not used: {', '.join(unknown[:20])}{more}", sheet.header_row)
    return {name: own[0] for name, own in places.items()}


def _drop_twice(places: dict[str, list[int]], sheet: Sheet, journal: Journal) -> None:
    """Leave columns out that would give the same value twice, be it in other units."""
    groups: dict[str, list[str]] = {}
    for name in places:
        groups.setdefault(_target(name), []).append(name)
    for target, names in groups.items():
        twins = [clean_name(sheet.header[place]) for name in names for place in places[name]]
        if len(twins) == 1:
            continue
        fault = f"{' and '.join(twins)} both hold {target}"
        if target == schema.PATIENT_ID:
            raise refusal("csv-column-twice", journal.where, f"row {sheet.header_row}, column {target}: {fault}")
        journal.add("csv-column-twice", f"{fault}: none is used", sheet.header_row, target)
        for name in names:
            del places[name]


def _target(name: str) -> str:
    return FIELDS[name].target if name in FIELDS else name


def _tell_unknown(place: int, name: str, sheet: Sheet, journal: Journal, unknown: list[str]) -> None:
    """A name that is no column: left open, unnamed, nearly one, or simply another."""
    row, key = sheet.header_row, make_key(name)
    if key in OPEN_KEYS:
        journal.add("csv-column-open", f"rename it to {' or '.join(OPEN_KEYS[key])}", row, clean_name(name))
    elif not name:
        if any(cells[place].strip() for _, cells in sheet.rows if place < len(cells)):
            journal.add("csv-column-unnamed", f"column {place + 1} has no name and is not used", row)
    else:
        unknown.append(clean_name(name))
        near = difflib.get_close_matches(key, list(NAMES), n=1, cutoff=0.8) if len(key) > 3 else []
        if near:
            journal.add("csv-column-near", f"not used; did you mean {NAMES[near[0]]}?", row, clean_name(name))


def _tell_aliases(places: dict[str, list[int]], sheet: Sheet, journal: Journal) -> None:
    for name, own in places.items():
        for given in (sheet.header[place] for place in own):
            if given != name:
                journal.add("csv-alias", f"read as {name}", sheet.header_row, clean_name(given))
            if _target(name) != name:
                journal.add("csv-unit-read", f"{name} becomes {_target(name)}", sheet.header_row, clean_name(given))


def _refuse_without_ids(sheet: Sheet, known: list[str], where: str) -> None:
    # The names are not quoted: a file without a header begins with a patient.
    found = f"understood: {', '.join(known)}" if known else "no name is understood"
    raise refusal(
        "csv-no-id", where, f"row {sheet.header_row} has no column {schema.PATIENT_ID}",
        f"{len(sheet.header)} columns; {found}",
    )


def clean_name(name: str) -> str:
    """A header's name fit for a message: printable and short."""
    return "".join(sign if sign.isprintable() else "?" for sign in name)[:40]


def make_columns(sheet: Sheet, places: dict[str, int], missing: dict[str, frozenset[str]]) -> list[TableColumn]:
    """Every column to read with the style of its cells."""
    fields = [(FIELDS[name], place) for name, place in places.items() if name != schema.PATIENT_ID]
    cells = {place: [cells[place] for _, cells in sheet.rows if place < len(cells)] for _, place in fields}
    comma = {place for f, place in fields if f.column.kind == "continuous" and has_decimal_comma(cells[place])}
    return [
        TableColumn(
            place, clean_name(sheet.header[place]), known,
            Style(
                sheet.separator, bool(comma) and sheet.separator != ",", place in comma,
                has_decimal_point(cells[place]), any(fold(cell) == "+" for cell in cells[place]),
                is_mostly_outside(cells[place], known.column),
                missing.get("", frozenset()) | missing.get(known.name, frozenset())
                | missing.get(known.target, frozenset()),
            ),
        )
        for known, place in fields
    ]  # fmt: skip
