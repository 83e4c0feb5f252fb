"""A spreadsheet's CSV, from bytes to cells: encoding, separator, quotes, row numbers. Knows no column but the ids'."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bonemet_jax.table_formats import find_other_format
from data_pipelines.findings import Finding, find, refusal

#: A clinical table of ten thousand patients has a few MB.
MAX_BYTES = 16 * 2**20
MAX_ROWS = 100_000
MAX_COLUMNS = 2_000
MAX_CELL = 131_072
_LONG_CELL = f"a cell is longer than {MAX_CELL} characters: a quote is likely never closed"
#: Separator -> its name, in order of preference.
SEPARATORS: dict[str, str] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Sheet:
    """Cells as text. Rows are numbered as a spreadsheet shows them, so a cell with line breaks is in one row."""

    header: tuple[str, ...]
    header_row: int
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """(row number, cells) of every row that is not empty; trailing empty cells beyond the header are gone."""
    separator: str
    findings: tuple[Finding, ...]


def load_sheet(path: Path, count_known: Callable[[list[str]], int]) -> Sheet:
    """Read a CSV.

    Args:
        path: the file, at most 16 MiB.
        count_known: how many names of a header are understood; 0 when it is no header. Decides the separator.

    Raises: InputDataError when the file as a whole cannot be read: no text, no header, a quote never closed.
    """
    text, findings = decode(_load_bytes(path), path)
    given, text = _cut_hint(text)
    separator = given or _choose_separator(text, count_known, path)
    if separator != ",":
        findings.append(find("csv-separator", f"cells are separated by {SEPARATORS[separator]}s", where=path))
    records = _read_records(text, separator, path)
    header_row, header = next(records, (0, []))
    if not header:
        raise refusal("csv-empty", path)
    if len(header) > MAX_COLUMNS:
        raise refusal("csv-too-large", path, f"more than {MAX_COLUMNS} columns", f"{len(header)} columns")
    _check_header_text(header, header_row, path)
    width = len(header)
    return Sheet(
        tuple(name.strip() for name in header), header_row,
        tuple((row, tuple(_cut(cells, width))) for row, cells in records), separator, tuple(findings),
    )


def decode(data: bytes, where: object) -> tuple[str, list[Finding]]:
    """Bytes as text, and what had to be assumed.

    A byte-order mark decides; without one UTF-8 is tried and then gb18030, which is told.

    Raises: InputDataError for a workbook or an unknown encoding.
    """
    if kind := find_other_format(data):
        raise refusal("csv-workbook", where, f"this is {kind}, not a CSV")
    for encoding in ("utf-16",) if data.startswith(_UTF16_BOMS) else ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text, [find("csv-gb18030", where=where)] if encoding == "gb18030" else []
    raise refusal("csv-encoding", where)


def _load_bytes(path: Path) -> bytes:
    if not path.exists():
        raise refusal("file-missing", path, "cannot read the clinical CSV: no such file")
    if not path.is_file():
        raise refusal("csv-unreadable", path, "cannot read the clinical CSV: not a file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal("csv-unreadable", path) from error
    if len(data) > MAX_BYTES:
        raise refusal("csv-too-large", path, f"the file is larger than {MAX_BYTES // 2**20} MiB")
    return data


def _cut_hint(text: str) -> tuple[str, str]:
    """Excel's first line `sep=;`, which no spreadsheet shows or counts: the separator it names ("": none), the rest."""
    first, _, rest = text.partition("\n")
    hint = first.strip("\r").lower()
    if len(hint) == 5 and hint.startswith("sep=") and hint[4] in SEPARATORS:
        return hint[4], rest
    return "", text


def _read(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _first_record(text: str, separator: str) -> list[str]:
    return next((cells for cells in _read(text, separator) if any(cell.strip() for cell in cells)), [])


def _choose_separator(text: str, count_known: Callable[[list[str]], int], where: object) -> str:
    """The separator at which most names of the header are understood; ties: the more usual one."""
    known: dict[str, int] = {}
    fault = ""
    for separator in SEPARATORS:
        try:
            known[separator] = count_known(_first_record(text, separator)[: MAX_COLUMNS + 1])
        except csv.Error as error:
            fault = _explain(error)
    if fault and not any(known.values()):
        raise refusal("csv-quote", where, f"row 1 (line 1): {fault}")
    return max(known, key=lambda separator: known[separator])


def _read_records(text: str, separator: str, where: object) -> Iterator[tuple[int, list[str]]]:
    """(row number, cells) of every row that holds anything."""
    # csv's reader tells the line, not where an unclosed quote began: that is one line after the last whole row.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    row, line, kept = 0, 0, 0
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise refusal("csv-quote", where, f"row {row + 1} (line {line + 1}): {_explain(error)}") from error
        if any(len(cell) > MAX_CELL for cell in cells):  # csv's own limit is one of the process, which others raise
            raise refusal("csv-quote", where, f"row {row + 1} (line {line + 1}): {_LONG_CELL}")
        row, line = row + 1, lines.line_num
        if cells and any(cell.strip() for cell in cells):
            kept += 1
            if kept > MAX_ROWS + 1:
                raise refusal("csv-too-large", where, f"more than {MAX_ROWS} rows")
            yield row, cells


def _explain(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "a quoted cell begins here and is never closed"
    if "field larger" in text:
        return _LONG_CELL
    return "text follows a closing quote within a cell"


def _check_header_text(header: list[str], row: int, where: object) -> None:
    if any("\0" in name for name in header):
        raise refusal("csv-encoding", where, f"row {row} holds NUL: UTF-16 without a byte-order mark?")


def _cut(cells: list[str], width: int) -> list[str]:
    """Cells without empty ones beyond the header."""
    end = len(cells)
    while end > width and not cells[end - 1].strip():
        end -= 1
    return cells[:end]
