"""A YAML file as text: every scalar keeps its characters (27.0 is not 27), and nothing in it is constructed.

The file is untrusted: its events are read one by one; aliases, tags, repeated keys, great depth and size are refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from bonemet_jax.audit.printed import Printed, parse_count, parse_number, parse_p
from bonemet_jax.errors import InputDataError

Tree = Mapping[str, "Tree"] | Sequence["Tree"] | str | None
_MAX_BYTES = 1_000_000
_MAX_EVENTS = 50_000
_MAX_DEPTH = 10
_NULLS = {"", "~", "null", "Null", "NULL"}
_EXAMPLE = "`bonemet audit --example` names a file to copy"
T = TypeVar("T")


def load_tree(path: Path | str) -> Tree:
    """Read a file of at most 1 MB: mappings, lists and text; null is None.

    Raises: InputDataError for a file that is missing, too large, no text or not plain YAML.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputDataError(f"the tables cannot be read ({error.strerror})", path, "check the path") from error
    if len(data) > _MAX_BYTES:
        raise InputDataError("a file larger than 1 MB", path, "give the tables alone")
    try:
        return _build(yaml.parse(data.decode("utf-8-sig"), Loader=yaml.SafeLoader), path)
    except UnicodeDecodeError as error:
        raise InputDataError("not a text file (UTF-8)", path, _EXAMPLE) from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputDataError(f"not valid YAML ({error.problem}{line})", path, _EXAMPLE) from error
    except yaml.YAMLError as error:
        raise InputDataError("not valid YAML (characters that no text has)", path, _EXAMPLE) from error


class _Open:
    """A mapping or list under construction."""

    def __init__(self, is_mapping: bool) -> None:
        self.mapping: dict[str, Tree] | None = {} if is_mapping else None
        self.items: list[Tree] = []
        self.key: str | None = None

    def add(self, value: Tree) -> str:
        """Take the next value. Returns: what is wrong with it, or nothing."""
        if self.mapping is None:
            self.items.append(value)
        elif self.key is not None:
            self.mapping[self.key], self.key = value, None
        elif not isinstance(value, str):
            return "a key that is no text"
        elif value in self.mapping:
            return f"the key '{value[:40]}' comes twice"
        else:
            self.key = value
        return ""

    def close(self) -> Tree:
        return self.items if self.mapping is None else self.mapping


def _build(events: Iterator[yaml.Event], path: Path | str) -> Tree:
    stack = [_Open(is_mapping=False)]
    for i, event in enumerate(events):
        value: Tree
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                stack.append(_Open(isinstance(event, yaml.MappingStartEvent)))
                problem = _find_problem(event, i, len(stack))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                value = stack.pop().close()
                problem = stack[-1].add(value)
            case yaml.ScalarEvent():
                is_null = event.style is None and event.value in _NULLS
                problem = _find_problem(event, i, len(stack)) or stack[-1].add(None if is_null else event.value)
            case yaml.AliasEvent():
                problem = f"an alias (*{event.anchor}): write the values out"
            case _:
                problem = ""
        if problem:
            place = "" if event.start_mark is None else f", line {event.start_mark.line + 1}"
            raise InputDataError(f"not plain YAML: {problem}{place}", path, _EXAMPLE)
    documents = stack[0].items
    if len(documents) != 1:
        raise InputDataError(f"{len(documents)} YAML documents in the file", path, "give one")
    return documents[0]


def _find_problem(event: yaml.Event, place: int, depth: int) -> str:
    if getattr(event, "tag", None) is not None:
        return "a tag (!): only plain values are read"
    if depth > _MAX_DEPTH:
        return f"deeper than {_MAX_DEPTH} levels"
    return f"more than {_MAX_EVENTS} values" if place > _MAX_EVENTS else ""


@dataclass(frozen=True)
class Node:
    """A value of the tree that knows its place, so that every refusal names it."""

    value: Tree
    place: str
    file: str

    def refuse(self, what: str, mend: str = _EXAMPLE) -> InputDataError:
        """The error of this place, to be raised."""
        return InputDataError(what, f"{self.file}: {self.place}" if self.place else self.file, mend)

    def items(self) -> dict[str, "Node"]:
        """The members of a mapping. Raises: InputDataError."""
        if not isinstance(self.value, Mapping):
            raise self.refuse("a mapping is wanted here")
        return {key: Node(v, f"{self.place}.{key}".lstrip("."), self.file) for key, v in self.value.items()}

    def members(self, n: int | None = None) -> "list[Node]":
        """The members of a list, n of them where stated. Raises: InputDataError."""
        if isinstance(self.value, str) or not isinstance(self.value, Sequence):
            raise self.refuse("a list is wanted here" if n is None else f"a list of {n} values is wanted here")
        if n is not None and len(self.value) != n:
            raise self.refuse(f"{len(self.value)} values, {n} are wanted here", "null stands for a missing value")
        return [Node(v, f"{self.place}[{i}]", self.file) for i, v in enumerate(self.value)]

    def text(self) -> str:
        """Raises: InputDataError for anything but text."""
        if not isinstance(self.value, str):
            raise self.refuse("a text is wanted here")
        return self.value

    def choose(self, *known: str) -> str:
        """One of the known words. Raises: InputDataError."""
        if self.text() not in known:
            raise self.refuse(f"'{self.text()[:40]}' is none of {', '.join(known)}", "use one of them")
        return self.text()

    def number(self) -> Printed | None:
        """A number as printed; null is None. Raises: InputDataError."""
        return self._parse(parse_number, "number")

    def p(self) -> Printed | None:
        """A p value as printed; null is None. Raises: InputDataError."""
        return self._parse(parse_p, "p value")

    def count(self) -> int | None:
        """A whole number of patients; null is None. Raises: InputDataError."""
        return self._parse(parse_count, "whole number of patients")

    def _parse(self, parse: Callable[[str], T], kind: str) -> T | None:
        if self.value is None:
            return None
        try:
            return parse(self.text())
        except ValueError:
            raise self.refuse(f"'{self.text()[:40]}' is no {kind}", "write it as printed; null where missing") from None
