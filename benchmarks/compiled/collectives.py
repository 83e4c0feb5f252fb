"""Collectives of a compiled program."""

import math
import re
from typing import NamedTuple

import numpy as np

from benchmarks.compiled.hlo import Instruction, Module, Shape

#: Opcodes: at once, or begun and ended apart.
COLLECTIVE = re.compile(r"(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start|-done)?$")
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{.*?\})\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_AXIS = re.compile(r"'(\w+)'(?:=(\d+))?")


class Collective(NamedTuple):
    """One collective operation."""

    kind: str
    dtypes: tuple[str, ...]
    """Of its results; of what entered where the CPU, which sums no bfloat16, promoted that."""
    n_bytes: int
    groups: tuple[frozenset[int], ...]
    """Devices that talk to each other; of a permutation who sends to whom."""


def find_collectives(module: Module) -> list[Collective]:
    """Every collective, in the order of the text; those within loops once."""
    instructions = (one for computation in module.computations.values() for one in computation.values())
    matches = ((one, COLLECTIVE.match(one.opcode)) for one in instructions)
    return [_read(one, found[1]) for one, found in matches if found and found[2] != "-done"]


def find_results(instruction: Instruction) -> tuple[Shape, ...]:
    """Shapes of a collective's results. The start of an asynchronous one lists its operands first, then its results;
    XLA before jax 0.11 left out the operands of an all-reduce."""
    n = len(instruction.operands)
    if instruction.opcode.endswith("-start") and len(instruction.shapes) >= 2 * n:
        return instruction.shapes[n : 2 * n]
    return instruction.shapes


def _read(instruction: Instruction, kind: str) -> Collective:
    shapes = find_results(instruction)
    if "_promoted" in instruction.attributes:
        shapes = tuple(shape._replace(dtype="bf16") if shape.dtype == "f32" else shape for shape in shapes)
    dtypes = tuple(sorted({shape.dtype for shape in shapes}))
    return Collective(kind, dtypes, sum(shape.bytes_anywhere for shape in shapes), _groups(instruction.attributes))


def _groups(text: str) -> tuple[frozenset[int], ...]:
    """XLA writes them in three ways. Raises: ValueError at a fourth."""
    if found := _LISTED.search(text):
        return tuple(frozenset(map(int, part.split(","))) for part in re.findall(r"\{([\d,]+)\}", found[1]))
    if found := _IOTA.search(text):
        shape = [int(n) for n in found[3].split(",")]
        order = [int(n) for n in found[4].split(",")] if found[4] else list(range(len(shape)))
        return _rows(shape, order, int(found[2]))
    if found := _MESH.search(text):
        shape = [int(size) for _, size in _AXIS.findall(found[1])]
        names, within = ([name for name, _ in _AXIS.findall(part)] for part in found.groups())
        order = sorted(range(len(names)), key=lambda i: names[i] in within)
        return _rows(shape, order, math.prod(shape[names.index(name)] for name in within))
    raise ValueError(f"groups of devices not understood: {text[:300]}")


def _rows(shape: list[int], order: list[int], size: int) -> tuple[frozenset[int], ...]:
    """Devices 0, 1, ... in this shape, its axes in another order, cut into groups of `size`."""
    devices = np.arange(math.prod(shape)).reshape(shape).transpose(order).reshape(-1, size)
    return tuple(frozenset(map(int, row)) for row in devices)
