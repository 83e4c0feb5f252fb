"""A user's CSV: read as text, every wanted column checked, so that a bad cell is named by row and column.

Which cells are missing, and which are one level: docs/decisions/0033-levels-and-missing-values.md.
"""

import csv
import difflib
import io
import itertools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bonemet_jax.errors import InputDataError
from bonemet_jax.patient_ids import compose, describe_pairs, drop_invisible, group_alike
from bonemet_jax.stats.estimable import find_varying
from bonemet_jax.stats.levels import Levels, find_levels, show
from bonemet_jax.table_cells import DOUBTFUL_WORDS, NUMBER_CODES, PROGRAM_WORDS, Codes, is_code, parse_number
from bonemet_jax.table_formats import find_other_format

Missing = Literal["refuse", "drop"]
_HEADER_ROWS = 1
#: What is read at most: a table this size takes under 2 GB of memory (measured).
_MAX_BYTES, _MAX_ROWS, _MAX_COLUMNS = 64 * 2**20, 1_000_000, 2_000
#: Columns that one message names, and words of each.
_MAX_NAMED = 8
#: Codes for "unknown" between these are common as measured values too: no note.
_CODES_UP_TO, _CODES_FROM = -9, 888
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
#: Numbers whose difference is this share of their size, or less, differ by rounding alone.
_ROUNDING = 8 * np.finfo(float).eps


@dataclass(frozen=True)
class CsvTable:
    """Cells as text, indexed by row as spreadsheets count (the header is row 1), and the file they came from.

    `missing`: column -> what stands in its missing cells ("" for an empty one) -> how many; `notes`: how cells were
    read, where that is open to doubt; `n_rows`: rows of the file (all three from `select`); `needed`: columns that are
    known in every row that was kept.
    """

    path: Path
    cells: pd.DataFrame
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    n_rows: int = 0
    needed: tuple[str, ...] = ()

    def select(self, names: Iterable[str], codes: Codes) -> "CsvTable":
        """The columns that a statistic uses, with NaN in every missing cell.

        A cell is missing where it is empty; where it is a declared code; and, in a column whose other cells are all
        numbers, where it is a word that programs write for a missing number (NA, NaN, null, n/a, a point).

        Args:
            names: columns.
            codes: column, or "" for every column, -> declared codes.

        Raises: InputDataError for a column that is not there.
        """
        names, codes = list(dict.fromkeys(names)), {read_name(name): declared for name, declared in codes.items()}
        for name in filter(None, codes):
            self.text(name)
        read = {name: _read_column(self.text(name).rename(name),
                                   codes.get("", frozenset()) | codes.get(read_name(name), frozenset()))
                for name in names}
        doubts = [doubt for column in read.values() for doubt in column.doubts]
        unused = [note for name, declared in codes.items() for code in sorted(declared) if (note := _find_unused(
            code, name, {one: read[one].missing for one in read if name in ("", read_name(one))}))]
        missing = {name: column.missing for name, column in read.items() if column.missing}
        cells = pd.DataFrame({name: column.cells for name, column in read.items()})
        return CsvTable(self.path, cells, missing, (*doubts, *unused), len(self.cells))

    def keep_known(self, missing: Missing) -> "CsvTable":
        """The rows in which no column is missing.

        Raises: InputDataError naming the first missing cell, unless such rows are to be dropped; or when none is left.
        """
        if missing == "refuse":
            self._refuse_missing("leave these rows out")
        return self._keep(list(self.cells.columns))

    def keep_grouped(self, by: str, missing: Missing) -> "CsvTable":
        """The rows with a group in column `by`; other columns may have missing cells, unless these are to be refused.

        Raises: as keep_known.
        """
        if missing == "refuse":
            self._refuse_missing("compare each column over its known values")
        return self._keep([by])

    def note_alike_ids(self, name: str | None) -> "CsvTable":
        """The same table with a note of ids in this column that look alike: they are not joined."""
        ids = [] if name is None else self.text(name).dropna().unique()
        pairs = [(a, b) for group in group_alike(ids) for a, b in itertools.pairwise(group)]
        return replace(self, notes=(*self.notes, f"ids of column {name} {describe_pairs(pairs)}")) if pairs else self

    def note_rounding(self, names: Iterable[str], cutoff: float | None = None) -> "CsvTable":
        """The same table with a note of numbers of these columns that differ by rounding alone, from each other or from
        a cut-off: they are compared exactly.
        """
        notes = []
        for name in names:
            known = self.numbers(name)
            values = np.unique(known[~np.isnan(known)])
            others = np.append(values[1:], np.nan) if cutoff is None else np.full(values.size, cutoff)
            is_near = (values != others) & (np.abs(others - values) <= _ROUNDING * np.abs(values))
            if is_near.any():
                a, b = float(values[is_near][0]), float(others[is_near][0])
                what = "are compared as two values" if cutoff is None else "it is compared with the cut-off exactly"
                notes.append(f"column {name}: {a!r} and {b!r} differ by rounding alone; {what}")
        return replace(self, notes=(*self.notes, *notes)) if notes else self

    def describe_reading(self) -> dict[str, Any]:
        """How the table was read, as JSON values (docs/contracts.md)."""
        by_column = {name: sum(self.missing[name].values()) for name in self.needed if name in self.missing}
        return {"n_rows": self.n_rows, "left_out": {"rows": self.n_left_out, "by_column": by_column},
                "missing": self.missing, "notes": list(self.notes)}

    def list_reading(self) -> list[str]:
        """How the table was read, in lines: rows left out and why, other missing cells, doubts."""
        others = [name for name in self.missing if name not in self.needed]
        lines = [f"left out: {self.n_left_out} of {self.n_rows} rows with a missing value: "
                 f"{self._describe_missing(self.needed)}"] if self.n_left_out else []
        lines += [f"missing, each column over its known values: {self._describe_missing(others)}"] if others else []
        return [*lines, *(f"note: {note}" for note in self.notes)]

    @property
    def n_left_out(self) -> int:
        """Rows of the file that were left out."""
        return self.n_rows - len(self.cells)

    def _refuse_missing(self, advice: str) -> None:
        rows, columns = np.nonzero(self.cells.isna().to_numpy())
        if rows.size:
            names = list(self.cells.columns)
            raise InputDataError(f"{rows.size} missing {'value' if rows.size == 1 else 'values'}: "
                                 f"{self._describe_missing(names)}", self._place(int(rows[0]), names[columns[0]]),
                                 f"fill them, or {advice} with --missing drop")

    def _keep(self, names: list[str]) -> "CsvTable":
        kept = self.cells[self.cells[names].notna().all(axis=1)]
        if kept.empty:
            raise InputDataError(f"no row has a value in every column used: {self._describe_missing(names)}", self.path,
                                 "fill the missing cells, or leave a column out")
        return replace(self, cells=kept, needed=tuple(names))

    def _describe_missing(self, names: Sequence[str]) -> str:
        """Missing cells of the file by column and what stands in them: `age 10 (7 empty, 3 'NA'), cea 3 (empty)`."""
        gaps = [f"{name} {sum(words.values())} ({_describe_words(words)})" for name, words in self.missing.items()
                if name in names]
        more = [f"{len(gaps) - _MAX_NAMED} more columns"] if len(gaps) > _MAX_NAMED else []
        return ", ".join([*gaps[:_MAX_NAMED], *more])

    def text(self, name: str) -> pd.Series:
        """A column as text, NaN where it is missing. Raises: InputDataError naming the nearest columns."""
        if name not in self.cells.columns and read_name(name) in self.cells.columns:
            name = read_name(name)
        if name not in self.cells.columns:
            near = difflib.get_close_matches(name, self.cells.columns, n=3, cutoff=0.5) or self.cells.columns[:6]
            raise InputDataError(f"no column '{name}'", self.path, f"use one of its columns, such as {', '.join(near)}")
        return self.cells[name]

    def levels(self, name: str) -> Levels:
        """A column's levels. Raises: InputDataError for levels that look alike, and for decimal commas."""
        text = self.text(name)
        words = text.dropna().unique()
        commas = [word for word in words if _DECIMAL_COMMA.fullmatch(word)]
        if commas and all(parse_number(word.replace(",", ".")) is not None for word in words):
            raise InputDataError(f"column '{name}' holds numbers with a comma, such as {show(commas[0])}", self.path,
                                 _explain_comma(commas[0]))
        return find_levels(text, self.path)

    def numbers(self, name: str) -> Float[np.ndarray, " row"]:
        """A column as numbers, NaN where it is missing. Raises: InputDataError naming the first cell that is none."""
        text = self.text(name)
        words = text.dropna().unique()
        bad = [word for word in words if parse_number(word) is None]
        if bad:
            worst = next((word for word in bad if word.lower() not in PROGRAM_WORDS), bad[0])
            remedy = "correct the cell, or leave it empty"
            if _THOUSANDS.fullmatch(worst) or _DECIMAL_COMMA.fullmatch(worst):
                remedy = _explain_comma(worst)
            elif worst.casefold() in DOUBTFUL_WORDS:
                remedy = f"correct the cell; if it means missing, add {_declare(name, worst)}"
            raise InputDataError(f"{show(worst)} is not a finite number",
                                 self._place(int(np.argmax(text == worst)), name), remedy)
        return text.astype(float).to_numpy()

    def binary(self, name: str) -> Int[np.ndarray, " row"]:
        """A column of 0 and 1, both there. Raises: InputDataError."""
        values = self.numbers(name)
        bad = np.flatnonzero(~np.isin(values, (0, 1)))
        if bad.size:
            raise InputDataError(f"{values[bad[0]]:g} is neither 0 nor 1", self._place(bad[0], name), "use 0 and 1")
        if np.ptp(values) == 0:
            raise InputDataError(f"column '{name}' has one class only, {values[0]:g}", self.where,
                                 "both 0 and 1 are needed")
        return values.astype(int)

    def varying(self, name: str, exactly: bool = False) -> Float[np.ndarray, " row"]:
        """A column of numbers, NaN where missing, that differ by more than rounding, or at all where their order alone
        counts (`exactly`). Raises: InputDataError.
        """
        values = self.numbers(name)
        known = values[~np.isnan(values)]
        if not known.size:
            raise InputDataError(f"column '{name}' has no known value", self.where, "leave it out")
        if known.min() == known.max() or not (exactly or find_varying(known[:, None])[0]):
            what = "in every row with a value" if known.size < values.size else "in every row"
            rounding = " but for rounding" if known.min() < known.max() else ""
            raise InputDataError(f"column '{name}' is constant{rounding}, {known[0]:g} {what}", self.where,
                                 "leave it out")
        return values

    def times(self, name: str) -> Float[np.ndarray, " row"]:
        """A column of times, none negative. Raises: InputDataError."""
        values = self.numbers(name)
        bad = np.flatnonzero(values < 0)
        if bad.size:
            raise InputDataError(f"time {values[bad[0]]:g} is negative", self._place(bad[0], name), "use times >= 0")
        return values

    def events(self, name: str) -> Int[np.ndarray, " row"]:
        """A column of 0 and 1 with at least one event. Raises: InputDataError."""
        values = self.numbers(name)
        if np.isin(values, 0).all():
            raise InputDataError(f"no events: column '{name}' is 0 in every row", self.where,
                                 "survival needs at least one event")
        return values.astype(int) if np.isin(values, 1).all() else self.binary(name)

    @property
    def where(self) -> str:
        """The file, and how many of its rows were left out, for messages about whole columns."""
        left = f", without the {self.n_left_out} of {self.n_rows} rows left out" if self.n_left_out > 0 else ""
        return f"{self.path}{left}"

    def _place(self, row: int, name: str) -> str:
        return f"{self.path}, row {self.cells.index[row]}, column {name}"


class _Column(NamedTuple):
    """A column as read."""

    cells: pd.Series
    """Text, NaN where missing."""
    missing: dict[str, int]
    """What stands in the missing cells, "" for an empty one -> how many."""
    doubts: list[str]
    """How the other cells were read, where that is open to doubt."""


def _read_column(cells: pd.Series, codes: frozenset[str]) -> _Column:
    composed = {text: compose(text) for text in cells.unique()}
    doubts = [f"column {cells.name}: {show(text)} is read as {show(form)}, the same text in Unicode's composed form"
              for text, form in composed.items() if text != form]
    cells = cells.map(composed)
    counts = {str(text): int(n) for text, n in cells.value_counts(sort=False).items()}
    declared = {text for text in counts if codes and is_code(text, codes)}
    others = [text for text in counts if text and text not in declared]
    words = {text for text in others if text.lower() in PROGRAM_WORDS}
    is_numeric = all(text in words or parse_number(text) is not None for text in others)
    missing = declared | (words if is_numeric else set()) | {""}
    doubtful = _find_number_codes([text for text in others if text not in words]) if is_numeric else [
        text for text in others if text.casefold() in DOUBTFUL_WORDS and not (text == "-" and "+" in counts)]
    doubts += [f"column {cells.name}: {show(text)} ({counts[text]} {'cell' if counts[text] == 1 else 'cells'}) is read "
               f"as a value, not as missing; to declare it missing, add {_declare(str(cells.name), text)}"
               for text in doubtful]
    return _Column(cells.mask(cells.isin(missing)), {t: n for t, n in counts.items() if t in missing}, doubts)


def _find_number_codes(numbers: list[str]) -> list[str]:
    """Numbers beyond all others of a column that are often written for "unknown": -9, 888, 999."""
    values = {text: float(text) for text in numbers}
    codes = {text: value for text, value in values.items()
             if value in NUMBER_CODES and (value <= _CODES_UP_TO or value >= _CODES_FROM)}
    others = [value for text, value in values.items() if text not in codes]
    low, high = min(others, default=0), max(others, default=0)
    return [text for text, value in codes.items() if not low <= value <= high]


def _explain_comma(number: str) -> str:
    """What to write in place of a number with a comma, which may stand before decimals or between thousands."""
    if not _THOUSANDS.fullmatch(number):
        return "write a decimal point"
    if number.count(",") > 1 or "." in number:
        return "leave out the separator of thousands"
    return f"write {number.replace(',', '.')} or {number.replace(',', '')}, whichever is meant"


def _declare(column: str, code: str) -> str:
    """The flag that declares a code, as a shell takes it."""
    return f"--missing-codes {shlex.quote(f'{column}={code}')}"


def _find_unused(code: str, column: str, missing: Mapping[str, Mapping[str, int]]) -> str:
    """What is to be said of a declared code without effect; empty: a missing cell of these columns holds it."""
    if not missing:
        return f"column {column} is not used: its missing code {show(code)} has no effect"
    if any(is_code(text, [code]) for texts in missing.values() for text in texts):
        return ""
    return f"no cell of {f'column {column}' if column else 'the columns used'} holds the missing code {show(code)}"


def _describe_words(words: Mapping[str, int]) -> str:
    """What stands in missing cells: `empty`, or `7 empty, 3 'NA'`."""
    counts = {show(word) if word else "empty": n for word, n in words.items()}
    if len(counts) == 1:
        return next(iter(counts))
    named = [f"{n} {word}" for word, n in sorted(counts.items(), key=lambda item: -item[1])]
    return ", ".join([*named[:_MAX_NAMED], *([f"{len(named) - _MAX_NAMED} more"] if len(named) > _MAX_NAMED else [])])


def load_csv(path: Path) -> CsvTable:
    """Read a CSV of UTF-8 (a byte order mark is fine), separated by comma, semicolon or tab.

    Raises: InputDataError for a file that is not there, empty, of another encoding, ragged, or with a name twice; for
        more than 64 MiB, a million rows or 2000 columns.
    """
    rows = _read_rows(path)
    if len(rows) <= _HEADER_ROWS:
        raise InputDataError("the table has no rows", path, "give a header and one row a patient")
    if len(rows) > _MAX_ROWS + _HEADER_ROWS:
        raise InputDataError(f"the table has more than {_MAX_ROWS} rows", path, "give one row a patient")
    numbers, cells = zip(*rows, strict=True)
    header = [read_name(name) for name in cells[0]]
    if len(header) > _MAX_COLUMNS:
        raise InputDataError(f"the table has {len(header)} columns, more than {_MAX_COLUMNS}", path,
                             "keep those that are used")
    doubled = next((name for name in header if header.count(name) > 1), None)
    if doubled is not None:
        raise InputDataError(f"column '{doubled}' comes twice", path, "give every column its own name")
    ragged = next(((number, len(row)) for number, row in rows if len(row) != len(header)), None)
    if ragged is not None:
        raise InputDataError(f"{ragged[1]} cells where the header has {len(header)}", f"{path}, row {ragged[0]}",
                             "correct the row, or quote cells that hold the separator")
    text = [[_clean(cell) for cell in row] for row in cells[1:]]
    return CsvTable(path, pd.DataFrame(text, columns=header, index=numbers[1:]))


def read_name(text: str) -> str:
    """A column's name as it is compared: in Unicode's composed form, without characters that nobody sees, every kind of
    blank an ordinary one, none around it.
    """
    return "".join(" " if sign.isspace() else sign for sign in drop_invisible(compose(text))).strip()


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of the rows that are not blank; of too many, one more than may be."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InputDataError(f"the table is larger than {_MAX_BYTES // 2**20} MiB", path, "keep the columns used")
        if kind := find_other_format(data):
            raise InputDataError(f"this is {kind}, not a CSV", path, "save it as CSV UTF-8 and give that file")
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
        first = next((line for line in text if line.strip()), "")
        if first.lower().startswith("sep="):
            raise InputDataError(f"the first line, {show(first.strip())}, is a spreadsheet's own", path, "delete it")
        text.seek(0)
        separator = max(",;\t", key=first.count)
        rows = ((i, row) for i, row in enumerate(csv.reader(text, delimiter=separator), start=1) if row)
        return list(itertools.islice(rows, _MAX_ROWS + _HEADER_ROWS + 1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        is_coded = not isinstance(error, UnicodeDecodeError)
        reason = error.strerror if isinstance(error, OSError) else error if is_coded else "not UTF-8"
        raise InputDataError(f"cannot read the table ({reason})", path, "give a CSV file, UTF-8") from error


def _clean(cell: str) -> str:
    """The cell without blanks around it; a cell of signs that nobody sees is empty."""
    text = cell.strip()
    return text if text.isprintable() or drop_invisible(text).strip() else ""
