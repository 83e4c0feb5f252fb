"""Reads the text of an optimised HLO module: computations, instructions, shapes."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\](\{[^}]*\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_ASSIGNED = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"([a-z][\w\-]*)\(")
_NAME = re.compile(r"%([\w.\-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(r"\b(calls|body|to_apply|called_computations|branch_computations)=\{?(%[\w.\-]+(?:, ?%[\w.\-]+)*)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_MEMORY = re.compile(r"S\(([1-9]\d*)\)")
_ALIASES = re.compile(r"input_output_alias=\{(.*?\)) \}")
_ALIAS = re.compile(r"\{[\d, ]*\}: \((\d+),")
_BITS = re.compile(r"\d+")
#: These call computations whose instructions are executed one by one, unlike a fusion's.
_CALLERS = ("while", "call", "conditional")


class Shape(NamedTuple):
    """One array."""

    dtype: str
    dims: tuple[int, ...]
    elsewhere: bool = False
    """In a memory of its own, such as a TPU's VMEM: touching it moves nothing to or from the device's main memory."""

    @property
    def size(self) -> int:
        """Values."""
        return math.prod(self.dims)

    @property
    def n_bytes(self) -> int:
        """In the device's main memory, without padding of its tiles."""
        return 0 if self.elsewhere else self.bytes_anywhere

    @property
    def bytes_anywhere(self) -> int:
        """In whatever memory."""
        return -(-self.size * _n_bits(self.dtype) // 8)


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    """Of its results: several where it gives a tuple."""
    operands: tuple[str, ...]
    argument: str
    """What stands between its brackets."""
    attributes: str
    is_root: bool

    @property
    def n_bytes(self) -> int:
        """Of its results."""
        return sum(shape.n_bytes for shape in self.shapes)

    @property
    def bytes_anywhere(self) -> int:
        """Of its results, in whatever memory they are."""
        return sum(shape.bytes_anywhere for shape in self.shapes)

    @cached_property
    def op_name(self) -> str:
        """Where in the traced program it comes from; empty where the compiler made it."""
        found = _OP_NAME.search(self.attributes)
        return found[1] if found else ""

    @cached_property
    def called(self) -> tuple[str, ...]:
        """Computations that it calls."""
        return tuple(name for _, names in _CALLED.findall(self.attributes) for name in _NAME.findall(names))

    @property
    def parameter(self) -> int | None:
        """Number of the argument that it is."""
        return int(self.argument) if self.opcode == "parameter" else None

    @property
    def n_trips(self) -> int:
        """How often a loop's body runs; 1 where the compiler does not know."""
        found = _TRIPS.search(self.attributes)
        return int(found[1]) if found else 1


Computation = dict[str, Instruction]


@dataclass(frozen=True)
class Module:
    """A whole program of one device."""

    computations: dict[str, Computation]
    entry: str
    updated: tuple[int, ...] = ()
    """Numbers of the arguments whose memory a result takes over."""

    @property
    def alias_bytes(self) -> int:
        """Of arguments that are updated in place."""
        parameters = [part for part in self.computations[self.entry].values() if part.opcode == "parameter"]
        return sum(part.shapes[0].bytes_anywhere for part in parameters if part.parameter in self.updated)

    def executed(self, name: str | None = None, times: int = 1) -> Iterator[tuple[Computation, Instruction, int]]:
        """Every instruction that runs on its own, bodies of loops and calls included, and how many times."""
        computation = self.computations[self.entry if name is None else name]
        for instruction in computation.values():
            yield computation, instruction, times
            if instruction.opcode in _CALLERS:
                for called in instruction.called:
                    yield from self.executed(called, times * instruction.n_trips)

    def inside(self, instruction: Instruction) -> Iterator[tuple[Computation, Instruction]]:
        """What a fusion is made of, fusions within it too."""
        if instruction.opcode not in ("fusion", "async-start"):
            return
        for called in instruction.called:
            for part in self.computations[called].values():
                yield self.computations[called], part
                yield from self.inside(part)


def read_module(text: str) -> Module:
    """Parse the text that `compiled.as_text()` gives. Raises: ValueError when it has no entry."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif current is not None and (found := _ASSIGNED.match(line)):
            current[found[2]] = _read(found[2], bool(found[1]), line[found.end() :])
    if not entry:
        raise ValueError("no entry computation in this HLO")
    found = _ALIASES.search(text[: text.find("\n")])
    return Module(computations, entry, tuple(map(int, _ALIAS.findall(found[1]))) if found else ())


def read_shapes(text: str) -> tuple[Shape, ...]:
    """Every array named in a type."""
    return tuple(
        Shape(dtype, tuple(int(n.lstrip("<=")) for n in dims.split(",") if n), bool(_MEMORY.search(layout)))
        for dtype, dims, layout in _SHAPE.findall(text)
    )


def _read(name: str, is_root: bool, text: str) -> Instruction:
    shapes, rest = _split(text, 0)
    opcode = _OPCODE.match(rest := rest.lstrip())
    if opcode is None:
        raise ValueError(f"HLO instruction not understood: {name} = {text[:200]}")
    operands, attributes = _split(rest, opcode.end() - 1)
    return Instruction(
        name, opcode[1], read_shapes(shapes), tuple(_NAME.findall(operands)), operands[1:-1], attributes, is_root
    )


def _split(text: str, start: int) -> tuple[str, str]:
    """The bracketed expression or word that begins at `start`, and what follows it."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
            if depth == 0 and text[start] == "(":
                return text[start : i + 1], text[i + 1 :]
        elif text[i] == " " and depth == 0:
            return text[start:i], text[i:]
    return text[start:], ""


def _n_bits(dtype: str) -> int:
    """Of one value; 0 for tokens."""
    if dtype == "pred":
        return 8
    found = _BITS.search(dtype)
    return int(found[0]) if found else 0
