"""A user's CSV: read as text, every wanted column checked, so that a bad cell is named by row and column."""

import csv
import difflib
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bonemet_jax.errors import InputDataError
from bonemet_jax.table_formats import find_other_format

Missing = Literal["refuse", "drop"]
_MISSING = {"", "na", "nan", "null", "none", "n/a", "."}
_HEADER_ROWS = 1
#: What is read at most: a table this size takes under 2 GB of memory (measured).
_MAX_BYTES, _MAX_ROWS, _MAX_COLUMNS = 64 * 2**20, 1_000_000, 2_000


@dataclass(frozen=True)
class CsvTable:
    """Cells as text, indexed by row as spreadsheets count (the header is row 1), and the file they came from."""

    path: Path
    cells: pd.DataFrame

    def text(self, name: str) -> pd.Series:
        """A column as text, NaN where a cell is empty. Raises: InputDataError naming the nearest columns."""
        if name not in self.cells.columns:
            near = difflib.get_close_matches(name, self.cells.columns, n=3, cutoff=0.5) or self.cells.columns[:6]
            raise InputDataError(f"no column '{name}'", self.path, f"use one of its columns, such as {', '.join(near)}")
        return self.cells[name]

    def numbers(self, name: str) -> Float[np.ndarray, " row"]:
        """A column as numbers, NaN where a cell is empty. Raises: InputDataError naming the first cell that is none."""
        text = self.text(name)
        values = pd.to_numeric(text, errors="coerce").to_numpy(float)
        bad = np.flatnonzero((np.isnan(values) & text.notna().to_numpy()) | np.isinf(values))
        if bad.size:
            raise InputDataError(f"'{text.iloc[bad[0]]}' is not a finite number", self._place(bad[0], name),
                                 "correct the cell, or leave it empty")
        return values

    def binary(self, name: str) -> Int[np.ndarray, " row"]:
        """A column of 0 and 1, both there. Raises: InputDataError."""
        values = self.numbers(name)
        bad = np.flatnonzero(~np.isin(values, (0, 1)))
        if bad.size:
            raise InputDataError(f"{values[bad[0]]:g} is neither 0 nor 1", self._place(bad[0], name), "use 0 and 1")
        if np.ptp(values) == 0:
            raise InputDataError(f"column '{name}' has one class only, {values[0]:g}", self.path,
                                 "both 0 and 1 are needed")
        return values.astype(int)

    def varying(self, name: str) -> Float[np.ndarray, " row"]:
        """A column of numbers that are not all the same. Raises: InputDataError."""
        values = self.numbers(name)
        if np.ptp(values) == 0:
            raise InputDataError(f"column '{name}' is constant, {values[0]:g} in every row", self.path, "leave it out")
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
            raise InputDataError(f"no events: column '{name}' is 0 in every row", self.path,
                                 "survival needs at least one event")
        return values.astype(int) if np.isin(values, 1).all() else self.binary(name)

    def keep_known(self, names: Sequence[str], missing: Missing) -> "CsvTable":
        """The rows in which none of these columns is empty.

        Raises: InputDataError naming the first empty cell, unless such rows are to be dropped; or when none is left.
        """
        empty = pd.concat([self.text(name) for name in names], axis=1).isna()
        rows, columns = np.nonzero(empty.to_numpy())
        if rows.size and missing == "refuse":
            raise InputDataError(f"{rows.size} empty cells", self._place(rows[0], names[columns[0]]),
                                 "fill them, or leave these rows out with --missing drop")
        kept = self.cells[~empty.any(axis=1)]
        if kept.empty:
            raise InputDataError("no row has all the columns asked for", self.path, "fill the empty cells")
        return CsvTable(self.path, kept)

    def _place(self, row: int, name: str) -> str:
        return f"{self.path}, row {self.cells.index[row]}, column {name}"


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
    header = [name.strip() for name in cells[0]]
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
        text.seek(0)
        separator = max(",;\t", key=first.count)
        rows = ((i, row) for i, row in enumerate(csv.reader(text, delimiter=separator), start=1) if row)
        return list(itertools.islice(rows, _MAX_ROWS + _HEADER_ROWS + 1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        is_coded = not isinstance(error, UnicodeDecodeError)
        reason = error.strerror if isinstance(error, OSError) else error if is_coded else "not UTF-8"
        raise InputDataError(f"cannot read the table ({reason})", path, "give a CSV file, UTF-8") from error


def _clean(cell: str) -> str | float:
    text = cell.strip()
    return math.nan if text.lower() in _MISSING else text
