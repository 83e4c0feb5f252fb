"""Levels of a column used as groups or categories (docs/decisions/0033-levels-and-missing-values.md)."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from bonemet_jax.errors import InputDataError
from bonemet_jax.patient_ids import describe_difference, make_level_key, quote
from bonemet_jax.table_cells import parse_number

#: Numbers of more digits before or behind the point than this are shown with an exponent.
_MAX_DIGITS = 20
#: Pairs of levels that one message names.
_MAX_PAIRS = 5
#: Signs of a cell that a message quotes.
_MAX_SHOWN = 40


@dataclass(frozen=True)
class Levels:
    """Names of a column's levels, numbers by size before words, and each row's place among them; -1 is missing."""

    names: list[str]
    index: Int[np.ndarray, " row"]


def show(text: str) -> str:
    """A cell in quotes on one line, cut where it is long; signs that nobody sees are spelled out."""
    return quote(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")


def find_levels(cells: pd.Series, path: Path) -> Levels:
    """The levels of a column. Cells are one level where they are the same number (1, 1.0, +1, 1e0) or the same text.

    A number with a leading zero (01) is text: it may be a code.

    Args:
        cells: text without blanks around, in Unicode's composed form; NaN where missing.
        path: the table, for the message.

    Raises: InputDataError naming levels that differ but look alike (Yes and yes, 01 and 1).
    """
    place, spellings = pd.factorize(cells)
    keys = [_make_key(str(text)) for text in spellings]
    order = sorted(set(keys), key=_sort_key)
    alike = _find_alike(order)
    if alike:
        named = [f"{show(a)} and {show(b)} ({why})" for a, b, why in alike[:_MAX_PAIRS]]
        more = [f"{len(alike) - _MAX_PAIRS} more pairs"] if len(alike) > _MAX_PAIRS else []
        raise InputDataError(f"levels of column '{cells.name}' look alike: {', '.join([*named, *more])}", path,
                             "write each level in one way")
    rank = {key: i for i, key in enumerate(order)}
    places = np.array([*(rank[key] for key in keys), -1])  # pandas counts a missing cell as -1: the last
    return Levels([_name(key) for key in order], places[place])


def _make_key(text: str) -> Decimal | str:
    digits = text.lstrip("+-")
    is_code = digits[:1] == "0" and digits[1:2].isdigit()
    number = None if is_code else parse_number(text)
    return text if number is None else number


def _sort_key(level: Decimal | str) -> tuple[bool, Decimal, str]:
    """Numbers by size, before words."""
    return (True, Decimal(0), level) if isinstance(level, str) else (False, level, "")


def _name(level: Decimal | str) -> str:
    """A number in its shortest form: 1 for 1.0, 1000 for 1e3."""
    if isinstance(level, str):
        return level
    if not level:
        return "0"
    if abs(level.adjusted()) > _MAX_DIGITS:
        return repr(float(level))
    text = f"{level:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _find_alike(levels: Iterable[Decimal | str]) -> list[tuple[str, str, str]]:
    """Levels that differ but look alike, each with the first of its kind and what they differ by."""
    first: dict[str, Decimal | str] = {}
    rounded: dict[float, Decimal] = {}
    pairs: list[tuple[str, str, str]] = []
    for level in levels:
        if isinstance(level, Decimal):
            twin = rounded.setdefault(float(f"{level:.15g}"), level)
            if twin != level:
                pairs.append((_name(twin), _name(level), "rounding"))
        name = _name(level)
        other = first.setdefault(make_level_key(name), level)
        if isinstance(level, str) and other != level:
            pairs.append((_name(other), name, describe_difference(_name(other), name)))
    return pairs
