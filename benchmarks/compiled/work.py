"""Work of one HLO instruction: bytes to and from memory, FLOPs of convolutions and matrix products.

Bytes: what an instruction reads and writes, each operand once and each result once, as if nothing stayed in a cache.
A fusion counts what crosses its border, not what is inside. Where only a part of an operand is read (gather, slice) or
written in place (dynamic-update-slice), that part counts. Arrays in a memory of their own (a TPU's VMEM) count nothing,
nor does padding of tiles, nor the workspace of a library's kernel where the compiler does not name it.

FLOPs: 2 x multiply-adds of whole windows, zeros of the padding included, zeros put between pixels not.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from benchmarks.compiled.hlo import Computation, Instruction, Module, Shape

Role = Literal["forward", "input gradient", "weight gradient"]

#: What costs nothing itself: names for what is there, and what calls other computations.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
         "opt-barrier", "while", "call", "conditional", "domain", "add-dependency"}  # fmt: skip
_PARTIAL = {"slice", "dynamic-slice", "gather"}
_WINDOW = re.compile(r"window=\{([^}]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_GROUPS = re.compile(r"(?:feature|batch)_group_count=(\d+)")
_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_CONTRACTED_BY_LIBRARY = re.compile(r'"lhs_contracting_dimensions":(\[[^\]]*\])')
_CUDNN = re.compile(r'custom_call_target="__cudnn\$conv(\w+)"')


class Convolution(NamedTuple):
    """One convolution."""

    role: Role
    grouped: bool
    flops: int


def count_bytes(module: Module, computation: Computation, instruction: Instruction) -> int:
    """Bytes that one run of this instruction reads and writes."""
    opcode = instruction.opcode
    if opcode in FREE:
        return 0
    if opcode.endswith("-start"):
        return sum(computation[name].n_bytes for name in instruction.operands)
    if opcode.endswith("-done"):
        return instruction.n_bytes
    if opcode in _PARTIAL:
        return 2 * instruction.n_bytes
    if opcode == "dynamic-update-slice":
        return 2 * computation[instruction.operands[1]].n_bytes
    if opcode == "fusion":
        return _count_fusion(module.computations[instruction.called[0]], computation, instruction)
    return instruction.n_bytes + sum(computation[name].n_bytes for name in instruction.operands)


def find_convolutions(module: Module, computation: Computation, instruction: Instruction) -> list[Convolution]:
    """Convolutions that this instruction is, or holds."""
    parts = [(computation, instruction), *module.inside(instruction)]
    return [_read_convolution(*part) for part in parts if is_convolution(part[1])]


def is_convolution(instruction: Instruction) -> bool:
    """Whether it is one, an instruction or a call of cuDNN; not a matrix product in its form, as TPUs have them."""
    return _is_hlo_convolution(instruction) or bool(_CUDNN.search(instruction.attributes))


def count_product_flops(module: Module, computation: Computation, instruction: Instruction) -> int:
    """FLOPs of the matrix products that this instruction is, or holds."""
    return sum(map(_product_flops, *zip(*[(computation, instruction), *module.inside(instruction)], strict=True)))


def _count_fusion(fused: Computation, computation: Computation, fusion: Instruction) -> int:
    """Bytes over a fusion's border."""
    users: dict[str, list[Instruction]] = {}
    for part in fused.values():
        for name in part.operands:
            users.setdefault(name, []).append(part)
    parameters = [part for part in fused.values() if part.opcode == "parameter"]
    read = sum(_count_read(part, fused, users) for part in parameters)
    root = next(part for part in fused.values() if part.is_root)
    written = [fused[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return read + sum(_count_written(part, fused) for part in written)


def _count_read(part: Instruction, fused: Computation, users: dict[str, list[Instruction]]) -> int:
    """Of one operand: all of it, or no more than what slices and gathers take."""
    taken = list(_find_readers(part, users))
    if not all(reader.opcode in _PARTIAL or reader.opcode == "dynamic-update-slice" for reader, _ in taken):
        return part.n_bytes
    return min(part.n_bytes, sum(_count_taken(reader, name, part.n_bytes) for reader, name in taken))


def _find_readers(part: Instruction, users: dict[str, list[Instruction]]) -> Iterator[tuple[Instruction, str]]:
    """Who reads an array, whatever it is called on the way."""
    for user in users.get(part.name, []):
        if user.opcode == "bitcast":
            yield from _find_readers(user, users)
        else:
            yield user, part.name


def _count_taken(reader: Instruction, name: str, n_bytes: int) -> int:
    """Of an array of `n_bytes`: what is cut out of it, nothing where it is written over, all of an index."""
    if reader.operands[0] != name:
        return n_bytes
    return 0 if reader.opcode == "dynamic-update-slice" else reader.n_bytes


def _count_written(part: Instruction, fused: Computation) -> int:
    """Of one result: all of it, or what an update in place changes."""
    while part.opcode == "bitcast":
        part = fused[part.operands[0]]
    return fused[part.operands[1]].n_bytes if part.opcode == "dynamic-update-slice" else part.n_bytes


def _read_convolution(computation: Computation, instruction: Instruction) -> Convolution:
    lhs, rhs = (computation[name].shapes[0] for name in instruction.operands[:2])
    out, text = instruction.shapes[0], instruction.attributes
    labels, window = _LABELS.search(text), _read_window(text)
    if labels is None:
        raise ValueError(f"convolution not understood: {instruction.name}, {text[:200]}")
    found = _GROUPS.search(text)
    grouped = found is not None and int(found[1]) > 1
    n = math.prod(window["size"])
    if target := _CUDNN.search(text):
        if target[1].startswith("BackwardFilter"):
            features = rhs.dims[labels[1].index("f")]
            return Convolution("weight gradient", grouped, 2 * rhs.size * (out.size // features))
        if target[1].startswith("BackwardInput"):
            return Convolution("input gradient", grouped, 2 * lhs.size * n * out.dims[labels[3].index("f")])
    role = _find_role(instruction, window, [out.dims[i] for i, c in enumerate(labels[3]) if c.isdigit()])
    if math.prod(window["lhs_dilate"]) > 1:
        return Convolution(role, grouped, 2 * lhs.size * n * rhs.dims[labels[2].index("o")])
    return Convolution(role, grouped, 2 * out.size * n * rhs.dims[labels[2].index("i")])


def _find_role(instruction: Instruction, window: dict[str, list[int]], out: Sequence[int]) -> Role:
    """A weight gradient's window is the picture and its result the kernel."""
    if math.prod(window["size"]) > math.prod(out):
        return "weight gradient"
    backward = "transpose(" in instruction.op_name and "rematted_computation" not in instruction.op_name
    return "input gradient" if backward else "forward"


def _read_window(text: str) -> dict[str, list[int]]:
    """Sizes and dilations; none written: a window of one value."""
    found = _WINDOW.search(text)
    window: dict[str, list[int]] = {"size": [1], "lhs_dilate": [1]}
    for part in found[1].split() if found else ():
        name, _, values = part.partition("=")
        if name in window:
            window[name] = [int(n) for n in values.split("x")]
    return window


def _is_hlo_convolution(instruction: Instruction) -> bool:
    return instruction.opcode == "convolution" and not instruction.op_name.endswith("dot_general")


def _product_flops(computation: Computation, instruction: Instruction) -> int:
    if instruction.opcode == "convolution" and not _is_hlo_convolution(instruction):
        return _read_convolution(computation, instruction).flops
    if instruction.opcode == "dot":
        found = _CONTRACTED.search(instruction.attributes)
        contracted = [int(n) for n in found[1].split(",") if n] if found else []
    elif "__cublas$" in instruction.attributes and (found := _CONTRACTED_BY_LIBRARY.search(instruction.attributes)):
        contracted = [int(n) for n in json.loads(found[1])]
    else:
        return 0
    lhs: Shape = computation[instruction.operands[0]].shapes[0]
    return 2 * instruction.shapes[0].size * math.prod(lhs.dims[i] for i in contracted)
