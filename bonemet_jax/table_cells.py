"""What a cell of a user's table holds: a number, a word that programs write for a missing number, or a declared code.

Read by `bonemet ingest` (docs/clinical-table.md) and `bonemet stats` (docs/contracts.md).
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal

#: Words that programs write for a missing number, in lower case: R, numpy, SQL, spreadsheets, SAS.
PROGRAM_WORDS: frozenset[str] = frozenset(("na", "n/a", "nan", "null", "."))
#: Words for "unknown", in lower case, in a column whose levels are known beforehand.
UNKNOWN_WORDS: frozenset[str] = PROGRAM_WORDS | {"-", "unknown", "missing", "未知", "不详"}
#: Words that may be a level or mean "missing": "none" may be no treatment.
DOUBTFUL_WORDS: frozenset[str] = UNKNOWN_WORDS | {"none", "nil", "?", "<na>", "#n/a", "not available", "not known"}

#: Numbers often written for "unknown": never taken for it unless declared.
NUMBER_CODES: frozenset[float] = frozenset((9, 88, 99, 888, 999, 8888, 9999, -1, -9, -99, -999, -9999))

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")

#: Column, or "" for every column -> its declared codes as the user wrote them.
Codes = Mapping[str, frozenset[str]]


def parse_number(text: str) -> Decimal | None:
    """The exact value of a cell that is a finite number with a decimal point; None for any other text."""
    return Decimal(text) if _NUMBER.fullmatch(text) and math.isfinite(float(text)) else None


def parse_codes(entries: Iterable[str]) -> dict[str, frozenset[str]]:
    """Declared codes by column, from `CODE` (every column: "") and `COLUMN=CODE`."""
    codes: dict[str, frozenset[str]] = {}
    for entry in entries:
        column, _, code = entry.rpartition("=")
        codes[column] = codes.get(column, frozenset()) | {code}
    return codes


def is_code(text: str, codes: Iterable[str]) -> bool:
    """Is the cell one of these codes? Case, blanks around and full-width forms do not count; 999 also means 999.0."""
    folded, number = _fold(text), parse_number(_fold(text))
    return any(_fold(code) == folded or (number is not None and parse_number(_fold(code)) == number) for code in codes)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()
