"""Strict JSON: what Python's own parser accepts and no file of ours holds is refused; values are checked against types.

Refused: NaN, infinities and numbers that become infinite, integers beyond 64 bits, a name given twice in an object,
lone surrogates and NUL characters, more than 64 levels or 64 MiB.
"""

import dataclasses
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

#: Python objects take up to 24 times the bytes of their text.
MAX_BYTES = 64 << 20
MAX_DEPTH = 64
_SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])")
_MAYBE_LARGE = re.compile(r"[0-9]{19}|[eE]\+?[0-9]{3}")
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}

MakeObject = Callable[[list[tuple[str, Any]]], Any]


def parse_json(data: bytes, make_object: MakeObject | None = None, allow_nan: bool = False) -> Any:
    """The value of a JSON text in UTF-8, UTF-16 or UTF-32.

    Args:
        data: The text's bytes.
        make_object: Makes an object of its pairs; by default a dict, and a name given twice is refused.
        allow_nan: Accept the words NaN, Infinity and -Infinity, as Python writes them.

    Raises: ValueError in a few words.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
    text = data.decode(json.detect_encoding(data))
    # Calls for every number take minutes in a long list: only where a number may be too large.
    maybe_large = _MAYBE_LARGE.search(text)
    try:
        value = json.loads(
            text, object_pairs_hook=make_object or _make_object,
            parse_constant=float if allow_nan else _refuse_constant, parse_int=_parse_int if maybe_large else None,
            parse_float=_parse_float if maybe_large else None,
        )
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels") from None
    _check_depth(value)
    if _SUSPECT.search(text):
        _check_texts(value)
    return value


def find_mismatch(value: Any, kind: Any, place: str = "") -> str:
    """What in a JSON value is not of a type; empty when all of it is.

    Args:
        value: Of `parse_json`.
        kind: bool, int (no bool), float (also int), str, None, Any; Literal, unions, list, tuple, dict with str keys; a
            TypedDict (further names are allowed) or a dataclass (they are not; names with a default may be absent).
        place: Name of the value in the message.
    """
    origin = get_origin(kind)
    if kind in (Any, object):
        return ""
    if origin in (Required, NotRequired):
        return find_mismatch(value, get_args(kind)[0], place)
    if origin in (Union, types.UnionType):
        found = [find_mismatch(value, one, place) for one in get_args(kind)]
        return "" if "" in found else found[0]
    if origin is Literal:
        known = any(value == one and type(value) is type(one) for one in get_args(kind))
        return "" if known else _describe(value, f"one of {', '.join(map(str, get_args(kind)))}", place)
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return _find_in_fields(value, kind, place)
    if origin in (dict, Mapping) or kind is dict:
        return _find_in_mapping(value, get_args(kind), place)
    if origin in (list, tuple, Sequence) or kind is list:
        return _find_in_list(value, origin or kind, get_args(kind), place)
    return _find_in_scalar(value, type(None) if kind is None else kind, place)


def _find_in_scalar(value: Any, kind: Any, place: str) -> str:
    accepted = (int, float) if kind is float else kind
    is_of_kind = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    return "" if is_of_kind else _describe(value, _WORDS.get(kind, str(kind)), place)


def _find_in_list(value: Any, origin: Any, kinds: tuple[Any, ...], place: str) -> str:
    if not isinstance(value, (list, tuple)):
        return _describe(value, "a list", place)
    if origin is tuple and kinds and kinds[-1] is not Ellipsis:
        if len(value) != len(kinds):
            return f"{place or 'the value'} has {len(value)} values, not {len(kinds)}"
        wanted: Sequence[Any] = kinds
    else:
        wanted = [kinds[0] if kinds else Any] * len(value)
    found = (find_mismatch(one, kind, f"{place}[{i}]") for i, (one, kind) in enumerate(zip(value, wanted, strict=True)))
    return next(filter(None, found), "")


def _find_in_mapping(value: Any, kinds: tuple[Any, ...], place: str) -> str:
    if not isinstance(value, dict):
        return _describe(value, "an object", place)
    of_values = kinds[1] if kinds else Any
    found = (find_mismatch(one, of_values, f"{place}.*" if place else "*") for one in value.values())
    return next(filter(None, found), "")


def _find_in_fields(value: Any, kind: Any, place: str) -> str:
    if not isinstance(value, dict):
        return _describe(value, "an object", place)
    hints = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        required = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
        unknown = set(value) - set(hints)
    else:
        required, unknown = set(kind.__required_keys__), set()
    inside = f" in {place}" if place else ""
    if missing := sorted(required - set(value)):
        return f"{', '.join(missing)} missing{inside}"
    if unknown:
        return f"{', '.join(sorted(map(repr, unknown))[:4])[:120]} unknown{inside}"
    found = (find_mismatch(value[name], hint, f"{place}.{name}".lstrip("."))
             for name, hint in hints.items() if name in value)
    return next(filter(None, found), "")


def _describe(value: Any, wanted: str, place: str) -> str:
    """The type found, never the value: it may name a patient."""
    found = {dict: "an object", list: "a list", tuple: "a list"} | _WORDS
    return f"{place or 'the value'} is {found.get(type(value), type(value).__name__)}, not {wanted}"


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name given twice in an object")
    return made


def _parse_int(text: str) -> int:
    # "-0" and the like are short; the interpreter's own limit on digits has another message
    if len(text) > 21 or not -(1 << 63) <= int(text) < 1 << 64:
        raise ValueError("a whole number beyond 64 bits")
    return int(text)


def _parse_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number too large for float64")
    return number


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word}, which JSON does not have")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValueError(f"more than {MAX_DEPTH} levels")


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    yield from value if isinstance(value, dict) else ()
    for child in _children(value):
        yield from _texts(child)


def _check_texts(value: Any) -> None:
    for text in _texts(value):
        text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
        if "\0" in text:
            raise ValueError("a NUL character in a text")
