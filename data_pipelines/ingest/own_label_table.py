"""--label-table: the name of a known numbering, or the user's own CSV of label,name."""

import csv
import io
from pathlib import Path

from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.findings import refusal
from data_pipelines.ingest.label_stats import MAX_LABEL, MAX_LABELS
from data_pipelines.ingest.label_tables import KNOWN, USABLE, LabelTable
from data_pipelines.ingest.structures import parse_structure

#: A thousand labels with long names need less, bytes.
MAX_BYTES, MAX_NAME = 1 << 18, 200
HEADER = ["label", "name"]


def load_label_table(given: str) -> LabelTable:
    """The table of a name in KNOWN, or of a CSV file.

    Raises: UsageError for a name that is neither; InputDataError (mask-table) for a file that is no table of labels.
    """
    if given in KNOWN:
        return KNOWN[given]
    path = Path(given)
    try:
        is_file, exists = path.is_file(), path.exists()
    except (OSError, ValueError):  # a name that no file can have
        is_file = exists = False
    if not exists:
        raise UsageError("no such numbering and no such file", "--label-table", f"use {', '.join(USABLE)}, or a CSV")
    if not is_file:
        raise _refuse(path, "no file")
    return parse_label_table(_read(path), path)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal("file-unreadable", path) from error
    if len(content) > MAX_BYTES:
        raise _refuse(path, f"more than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(path, "not UTF-8") from error


def parse_label_table(text: str, where: object) -> LabelTable:
    """The table of a CSV with the header label,name. Structures that are not known keep their label and are not used.

    Raises: InputDataError (mask-table).
    """
    names: dict[int, str] = {}
    try:
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise _refuse(where, "not a CSV") from error
    if not rows or [cell.strip().lower() for cell in rows[0]] != HEADER:
        raise _refuse(where, "the first row is not label,name")
    known: set[str] = set()
    for number, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        label, name = _parse_row(cells, number, where)
        structure = parse_structure(name)
        if label in names or structure in known:
            raise _refuse(where, f"row {number}: the {'label' if label in names else 'structure'} is given twice")
        known |= {structure} if structure else set()
        names[label] = structure or f"other_{label}"
    if not known:
        raise _refuse(where, f"{len(names)} labels, none with a name that is known")
    if len(names) > MAX_LABELS:
        raise _refuse(where, f"{len(names)} labels, at most {MAX_LABELS}")
    return LabelTable("own", "the table given", {label: name for label, name in names.items() if label})


def _parse_row(cells: list[str], number: int, where: object) -> tuple[int, str]:
    if len(cells) != len(HEADER):
        raise _refuse(where, f"row {number}: {len(cells)} cells, not 2")
    label, name = (cell.strip() for cell in cells)
    if not (label.isascii() and label.isdigit() and len(label) <= 5 and int(label) <= MAX_LABEL):
        raise _refuse(where, f"row {number}: the label is not a whole number from 0 to {MAX_LABEL}")
    if not name or len(name) > MAX_NAME:
        raise _refuse(where, f"row {number}: a name of {len(name)} characters")
    return int(label), name


def _refuse(where: object, fact: str) -> InputDataError:
    return refusal("mask-table", where, fact=fact)
