"""Comparison of patient ids: ids are joined only where they are equal; ids that a reader would take for one are named.

The one place that decides which ids look alike (docs/clinical-table.md, section Ids).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

#: Pairs of ids that one message names; further pairs are counted.
MAX_PAIRS = 10
#: Differences that are named one by one.
_MAX_NAMED = 4
#: Hyphens, dashes and the minus sign that are read as "-".
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d\u00ad"
#: Signs between the parts of an id that people leave out or exchange.
_SEPARATORS = r"\-_./\\:,;|'\"’"
#: Cyrillic and Greek letters, and the dotless i, with the shape of a Latin letter.
_SHAPES = str.maketrans(
    "АВЕКМНОРСТУХІЈЅаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧοı",
    "ABEKMHOPCTYXIJSaeopcyxijsABEZHIKMNOPTYXoi",
)


def compose(text: str) -> str:
    """The text in Unicode's composed form (NFC): texts that Unicode calls the same become equal."""
    return unicodedata.normalize("NFC", text)


def _make_compatible(text: str) -> str:
    """Full-width signs, ligatures, special blanks and digits of other scripts as ordinary ones."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in folded)


def drop_invisible(text: str) -> str:
    """The text without control and format characters, as a zero-width space; blanks stay."""
    return "".join(sign for sign in text if unicodedata.category(sign) not in ("Cc", "Cf") or sign.isspace())


#: What people overlook, in the order in which it is removed.
_STEPS: dict[str, Callable[[str], str]] = {
    "Unicode composition": compose,
    "compatibility characters (full-width, no-break)": _make_compatible,
    "the kind of dash": lambda text: text.translate(dict.fromkeys(map(ord, _DASHES), "-")),
    "invisible characters": drop_invisible,
    "letters of another script": lambda text: text.translate(_SHAPES),
    "case": lambda text: unicodedata.normalize("NFKC", text.casefold()),
    "a trailing .0": lambda text: re.sub(r"(?<=\d)\.0+(?=\s*$)", "", text),
    "blanks": lambda text: "".join(text.split()),
    "separators": lambda text: re.sub(f"[{_SEPARATORS}]", "", text),
    "leading zeros": lambda text: re.sub(r"\d+", lambda run: run[0].lstrip("0") or "0", text),
}
_UP_TO_SEPARATORS = tuple(name for name in _STEPS if name not in ("blanks", "separators", "leading zeros"))


def _apply(text: str, names: Iterable[str]) -> str:
    for name in names:
        text = _STEPS[name](text)
    return text


def make_key(patient_id: str) -> str:
    """Key that ids share which a reader may take for one: 007, 7, 7.0 and " 7"; P-01, p_1 and Ｐ１.

    Between two numbers a separator counts: 1-11 and 11-1 have two keys.
    """
    parts = re.split(rf"(?<=\d)[\s{_SEPARATORS}]+(?=\d)", _apply(patient_id, _UP_TO_SEPARATORS))
    return "-".join(_apply(part, ("blanks", "separators", "leading zeros")) for part in parts) or patient_id


def make_loose_keys(patient_id: str) -> set[str]:
    """Keys of which two ids share one where they differ by a separator or blank between numbers too: 00 7 and 007.

    For ids without a partner: there, 1-11 and 111 may be one patient.
    """
    text = _apply(patient_id, _UP_TO_SEPARATORS)
    bare = ("blanks", "separators")
    keys = {_apply(text, ("leading zeros", *bare)), _apply(text, (*bare, "leading zeros"))}
    return keys - {""} or {patient_id}


def make_level_key(level: str) -> str:
    """Key that levels of a column share which a reader may take for one: Yes and yes, 01 and 1, T1 and "T 1".

    Separators count, and zeros behind a decimal point: I-II is not III, <0.05 not <0.5.
    """
    names = [name for name in _STEPS if name not in ("separators", "leading zeros")]
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", _apply(level, names)) or level


def group_alike(ids: Iterable[str]) -> list[list[str]]:
    """Groups of two or more different ids that share a loose key, each sorted."""
    group_of: dict[str, set[str]] = {}
    for one in sorted(set(ids)):
        keys, members = make_loose_keys(one), {one}
        for group in [group_of[key] for key in keys if key in group_of]:
            members |= group
        keys = keys.union(*map(make_loose_keys, members))
        group_of |= dict.fromkeys(keys, members)
    groups = {id(group): group for group in group_of.values() if len(group) > 1}
    return [sorted(group) for group in groups.values()]


def describe_difference(a: str, b: str) -> str:
    """What two different ids with one key differ by: "leading zeros", "case and blanks"."""
    for n in range(1, _MAX_NAMED + 1):
        for names in combinations(_STEPS, n):
            if _apply(a, names) == _apply(b, names):
                return " and ".join(names)
    return f"more than {_MAX_NAMED} differences"


def quote(patient_id: str) -> str:
    """The id in quotes; a sign that is invisible or looks like another is spelled out: 'Jose\\u0301', '\\uff17'."""
    # A word of Cyrillic or Greek is shown as it is; one that could be read as Latin is not.
    is_latin = all(sign.isascii() or ord(sign) in _SHAPES for sign in patient_id if sign.isalpha())
    return f"'{''.join(_spell(sign, is_latin) for sign in patient_id)}'"


def _spell(sign: str, is_latin: bool) -> str:
    code = ord(sign)
    is_plain = (
        sign.isprintable() and unicodedata.category(sign)[0] not in "MC" and sign not in _DASHES
        and not (is_latin and code in _SHAPES) and _make_compatible(sign) == sign
    )  # fmt: skip
    if is_plain:
        return sign
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def find_alike(ids: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """(id, other) of every id without an equal among the others but with one that looks alike; sorted by id."""
    ids, others = set(ids), set(others)
    by_key: dict[str, list[str]] = {}
    for other in sorted(others):
        for key in make_loose_keys(other):
            by_key.setdefault(key, []).append(other)
    return [(one, other) for one in sorted(ids - others)
            for other in sorted({other for key in make_loose_keys(one) for other in by_key.get(key, ())})]


def describe_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """The first pairs in one phrase, empty for none: "look alike, not joined: '007' and '7' (leading zeros)"."""
    if not pairs:
        return ""
    named = [f"{quote(a)} and {quote(b)} ({describe_difference(a, b)})" for a, b in pairs[:MAX_PAIRS]]
    more = [f"{len(pairs) - MAX_PAIRS} more pairs"] if len(pairs) > MAX_PAIRS else []
    return f"look alike, not joined: {', '.join([*named, *more])}"
