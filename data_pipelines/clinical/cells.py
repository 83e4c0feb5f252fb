"""One cell of the clinical table -> a number or a level. What is not plainly one is refused with the reason.

A reason never quotes free text: a cell in the wrong column may hold a name or a date of birth.
"""

import difflib
import math
import re
import unicodedata
from dataclasses import dataclass

from bonemet_jax import schema
from bonemet_jax.table_cells import NUMBER_CODES, is_code
from data_pipelines.clinical.columns import BINARY, FIELDS, LEVEL_KEYS, MISSING, Field, fold, make_key

Value = float | str | None

_PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_SCIENTIFIC = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
#: One group of three digits behind a separator: 1234 or 1.234.
_THREE = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([.,'’\s][0-9]{3})+([.,][0-9]+)?")
_BOUND = re.compile(r"([<>≤≥~≈]=?|=<|=>)\s*[0-9].*")
_UNIT = re.compile(r"[+-]?[0-9][0-9.,]*\s*([^\W\d_]|[%‰°/]).*", re.DOTALL)
_MONTH = r"(jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zä]*\.?"
_DATE = re.compile(
    rf"([0-9]{{1,4}}[-/.年][0-9]{{1,2}}([-/.月][0-9]{{1,4}}日?)?|[0-9]{{1,2}}月[0-9]{{1,2}}日|"
    rf"[0-9]{{1,4}}[-/. ]{{1,2}}{_MONTH}([-/. ]+[0-9]{{2,4}})?|{_MONTH}[-/. ]+[0-9]{{1,4}}(,? [0-9]{{4}})?)"
    r"([ T][0-9]{1,2}:[0-9]{2}.*)?"
)
_IHC_SCORE = re.compile(r"[0-3]\s?\+{1,3}|\+{2,3}")
_EXCEL_ERROR = re.compile(r"#(null!|div/0!|value!|ref!|name\?|num!|n/a|spill!|calc!|getting_data|#+)")
#: A number short enough to tell no more than a measurement.
_QUOTABLE = re.compile(r"[<>≤≥+-]?\s?[0-9.,]{1,6}\s?%?")


class CellError(Exception):
    """A cell that cannot be used: code of the verdict, and what is wrong in words that may be shown."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Read:
    """A cell's value in the target's unit, and what was assumed to read it: (code, words), told once a column."""

    value: Value
    assumed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Style:
    """What the cells around a cell say about its spelling."""

    separator: str = ","
    file_has_decimal_comma: bool = False
    column_has_decimal_comma: bool = False
    column_has_decimal_point: bool = False
    column_has_plus: bool = False
    column_is_outside: bool = False
    """Half of its numbers or more are out of range."""
    missing: frozenset[str] = frozenset()
    """Declared codes for "unknown"."""


def has_decimal_comma(cells: list[str]) -> bool:
    """Is there a cell that can only be a decimal comma: 52,5 but not 1,234?"""
    return any(_COMMA.fullmatch(cell) and not _THREE.fullmatch(cell) for cell in map(fold, cells))


def has_decimal_point(cells: list[str]) -> bool:
    """Is there a number with a point among the cells?"""
    return any("." in cell and _PLAIN.fullmatch(cell) for cell in map(fold, cells))


def are_shares(cells: list[str]) -> bool:
    """Are all known numbers from 0 to 1, and one between? A percent column may have been saved as shares of 1."""
    texts = [text.replace(",", ".") for text in map(fold, cells) if _PLAIN.fullmatch(text) or _COMMA.fullmatch(text)]
    return all(0 <= value <= 1 for value in map(float, texts)) and any(0 < value < 1 for value in map(float, texts))


def is_mostly_outside(cells: list[str], column: schema.Column) -> bool:
    """Are half of the known numbers or more out of the column's range? Codes for unknown do not count."""
    texts = [text.replace(",", ".") for text in map(fold, cells) if _PLAIN.fullmatch(text) or _COMMA.fullmatch(text)]
    known = [value for value in map(float, texts) if value not in NUMBER_CODES or _is_inside(value, column)]
    return 2 * sum(not _is_inside(value, column) for value in known) >= len(known) > 0


def _is_inside(value: float, column: schema.Column) -> bool:
    return value in (0.0, 1.0) if column.kind == "binary" else column.low <= value <= column.high


def read_cell(cell: str, field: Field, style: Style) -> Read:
    """The cell's value; unknown is NaN, or None for a level.

    Raises: CellError.
    """
    check_signs(cell)
    text = fold(cell)
    unknown: Value = None if field.column.kind == "category" else math.nan
    if is_code(text, style.missing):
        return Read(unknown, (("csv-missing-declared", f"{_show(text)} read as unknown"),))
    if text == "-" and field.column.kind == "binary":
        return _read_dash(style)
    if text.lower() in MISSING:
        return Read(unknown)
    _refuse_spoiled(text)
    reader = {"binary": _read_binary, "category": _read_level, "continuous": _read_number}[field.column.kind]
    read = reader(text, field, style)
    if text != cell.strip():
        wide = (("csv-spelling", "full-width characters read as ordinary ones"),)
        return Read(read.value, read.assumed + wide)
    return read


def check_signs(cell: str) -> None:
    """Refuse signs nobody sees: control characters, line breaks, zero-width characters.

    Raises: CellError.
    """
    for sign in cell.strip():
        if unicodedata.category(sign) in ("Cc", "Cf", "Co", "Cs", "Cn"):
            name = {"\0": "NUL", "\n": "a line break", "\r": "a line break", "\t": "a tab"}.get(sign)
            raise CellError("csv-control", f"holds {name or f'the character U+{ord(sign):04X}, which nobody sees'}")


def is_spoiled(text: str) -> bool:
    """Is a text cell a formula or a spreadsheet's error value?"""
    return text.startswith("=") or bool(_EXCEL_ERROR.fullmatch(text.lower()))


def _read_dash(style: Style) -> Read:
    if style.column_has_plus:
        return Read(0.0, (("csv-spelling", "- read as 0, since the column also holds +"),))
    raise CellError("csv-ambiguous", "- could mean negative or unknown: write 0, or leave the cell empty")


def _refuse_spoiled(text: str) -> None:
    if text[:1] in "=@" or (text[:1] in "+-" and len(text) > 1 and text[1:2] not in ".0123456789+"):
        raise CellError("csv-formula", "a formula, not its value")
    if _EXCEL_ERROR.fullmatch(text.lower()):
        raise CellError("csv-excel-error", "a spreadsheet's error value")


def _read_binary(text: str, field: Field, style: Style) -> Read:
    if text.lower() in BINARY:
        value = BINARY[text.lower()]
        return Read(value, (("csv-spelling", f"{text.lower()} read as {value:g}"),))
    if _PLAIN.fullmatch(text):
        if float(text) in (0.0, 1.0):
            return Read(float(text))
        raise _out_of_range(text, float(text), field, style)
    if _IHC_SCORE.fullmatch(text):
        words = "an immunohistochemistry score, not 0 or 1: whether 2+ is positive needs in-situ hybridisation"
        raise CellError("csv-not-binary", words)
    raise CellError("csv-not-binary", f"{_show(text)} is not 0 or 1 and no known spelling of them")


def _read_level(text: str, field: Field, style: Style) -> Read:
    column = field.column
    if text in column.levels:
        return Read(text)
    keys = LEVEL_KEYS[column.name]
    level = keys.get(make_key(text))
    if level is not None:
        return Read(level, (("csv-spelling", f"other spellings of {level} read as {level}"),))
    near = difflib.get_close_matches(make_key(text), list(keys), n=1, cutoff=0.75)
    hint = f" (did you mean {keys[near[0]]}?)" if near else ""
    raise CellError("csv-level", f"{_show(text)} is none of {', '.join(column.levels)}{hint}")


def _read_number(text: str, field: Field, style: Style) -> Read:
    assumed: tuple[tuple[str, str], ...] = ()
    if _PLAIN.fullmatch(text):
        if style.file_has_decimal_comma and _THREE.fullmatch(text):
            raise _two_readings(text)
    elif _SCIENTIFIC.fullmatch(text):
        assumed = (("csv-scientific", "scientific notation read as a number; a spreadsheet may have rounded it"),)
    elif _COMMA.fullmatch(text):
        text = _read_decimal_comma(text, style)
        assumed = (("csv-decimal-comma-read", "decimal comma read as a decimal point"),)
    else:
        raise _not_a_number(text)
    value = float(text)
    if not _is_inside(value, field.column):
        raise _out_of_range(text, value, field, style)
    if value in NUMBER_CODES and value >= 888:
        assumed += (("csv-missing-doubtful", f"{value:g} is taken as measured; if it means unknown, declare it"),)
    return Read(field.convert(value), assumed)


def _read_decimal_comma(text: str, style: Style) -> str:
    """The number with a point.

    Raises: CellError where the comma could be something else.
    """
    if _THREE.fullmatch(text) and not style.column_has_decimal_comma:
        raise _two_readings(text)
    point = text.replace(",", ".")
    if style.separator == ",":
        words = f"{_show(text)} has a comma in a comma-separated file: write {_show(point)}"
        raise CellError("csv-decimal-comma", words)
    if style.column_has_decimal_point:
        raise CellError("csv-decimal-comma", f"{_show(text)}: the column holds both decimal commas and decimal points")
    return point


def _two_readings(text: str) -> CellError:
    sign = "," if "," in text else "."
    joined, point = text.replace(sign, ""), text.replace(sign, ".")
    return CellError("csv-ambiguous", f"{text} could be {joined} or {point}: write one of them, with a decimal point")


def _not_a_number(text: str) -> CellError:
    """What the cell is instead of a number."""
    lower = text.lower()
    for pattern, code, words in (
        (_THOUSANDS, "csv-thousands", "has separators of thousands"),
        (_BOUND, "csv-bound", "is a bound of the assay, not a value"),
        (_DATE, "csv-date", "is a date or a range"),
        (_UNIT, "csv-unit-in-cell", "holds a unit or text behind the number"),
    ):
        if pattern.fullmatch(lower):
            return CellError(code, f"{_show(text)} {words}")
    if lower in BINARY:
        return CellError("csv-not-number", f"{lower} is not a number")
    return CellError("csv-not-number", f"{_show(text)} is not a number")


def _out_of_range(text: str, value: float, field: Field, style: Style) -> CellError:
    column = field.column
    wanted = "0 or 1" if column.kind == "binary" else f"{column.low:g} to {column.high:g}"
    fault = f"{_show(text)} is out of range, {wanted}"
    if value in NUMBER_CODES:
        return CellError("csv-missing-undeclared", f"{fault}; it looks like a code for unknown")
    for twin in FIELDS.values():
        is_twin = twin.target == field.target and twin.name != field.name
        if is_twin and twin.column.kind == "continuous" and _is_inside(value, twin.column):
            return _other_unit(fault, value, field, twin, style)
    return CellError("csv-range", fault)


def _other_unit(fault: str, value: float, field: Field, twin: Field, style: Style) -> CellError:
    """The whole column is in another unit, or this cell is: the other cells tell which."""
    if style.column_is_outside:
        return CellError("csv-range-unit", f"{fault}, but in range for a column {twin.name}, as most of its cells are")
    own = twin.convert(value) * field.per
    return CellError("csv-cell-unit", f"{fault}; if it is {twin.column.label}, write {own:.4g} in this cell")


def _show(text: str) -> str:
    """The cell if it is a short number or a sign, else what it is in figures."""
    return text if _QUOTABLE.fullmatch(text) or len(text) == 1 else f"a cell of {len(text)} characters"
