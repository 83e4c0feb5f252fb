"""Collectives of a compiled program, read from its optimised HLO."""

import math
import re
from typing import NamedTuple

import numpy as np

_LINE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\((.*)")
_SHAPE = re.compile(r"\b(pred|bf16|[sufc]\d+)\[([\d,]*)\]")
_LISTED = re.compile(r"replica_groups=\{(\{.*?\})\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_AXIS = re.compile(r"'(\w+)'(?:=(\d+))?")
_BITS = re.compile(r"\d+")


class Collective(NamedTuple):
    """One collective operation."""

    kind: str
    dtypes: tuple[str, ...]
    """Of its results; of what entered where the CPU, which sums no bfloat16, promoted that."""
    n_bytes: int
    groups: tuple[frozenset[int], ...]
    """Devices that talk to each other."""


def find_collectives(hlo: str) -> list[Collective]:
    """Every collective of an HLO module's text, in its order."""
    return [_read(*found.groups()) for line in hlo.splitlines() if (found := _LINE.search(line))]


def _read(shapes: str, kind: str, rest: str) -> Collective:
    parts = _SHAPE.findall(shapes)
    promoted = "_promoted" in rest
    dtypes = ["bf16" if promoted and dtype == "f32" else dtype for dtype, _ in parts]
    sizes = [math.prod(map(int, filter(None, shape.split(",")))) for _, shape in parts]
    n_bytes = sum(size * _n_bytes(dtype) for size, dtype in zip(sizes, dtypes, strict=True))
    return Collective(kind, tuple(sorted(set(dtypes))), n_bytes, _groups(rest))


def _n_bytes(dtype: str) -> int:
    found = _BITS.search(dtype)
    return int(found[0]) // 8 if found else 1


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
