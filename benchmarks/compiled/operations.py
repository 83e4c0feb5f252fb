"""The operations a compiled program runs: of what kind, in which stage of the network, with how much work."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from benchmarks.compiled.collectives import COLLECTIVE
from benchmarks.compiled.hlo import Computation, Instruction, Module
from benchmarks.compiled.work import FREE, Convolution, count_bytes, count_product_flops, find_convolutions

Direction = Literal["forward", "backward", ""]

_NETWORK = re.compile(r"[/(](stem|stage\d+)(?=[/)]|$)")
_SCOPES = ("channels", "gradient_sum", "update")
_FUSION_KIND = re.compile(r"kind=(\w+)")
#: Where an operation without a name of its own is looked for: through so many operations before it.
_DEPTH = 6
_UNKNOWN = ("other", "")


class Operation(NamedTuple):
    """One instruction that runs on its own."""

    name: str
    kind: str
    stage: str
    direction: Direction
    times: int
    """Runs in one call of the program."""
    n_bytes: int
    """Read and written in one run."""
    convolutions: tuple[Convolution, ...]
    product_flops: int
    instruction: Instruction

    @property
    def total_bytes(self) -> int:
        """Read and written in one call of the program."""
        return self.times * self.n_bytes

    @property
    def total_flops(self) -> int:
        """Of convolutions and matrix products, in one call of the program."""
        return self.times * (self.product_flops + sum(conv.flops for conv in self.convolutions))


def find_operations(module: Module) -> list[Operation]:
    """Everything that runs on its own."""
    return [_read(module, *executed) for executed in module.executed() if executed[1].opcode not in FREE]


def count_kinds(operations: Iterable[Operation]) -> dict[str, dict[str, int]]:
    """Of each kind how many run, their bytes and FLOPs; the end of what was begun apart is no operation of its own."""
    found: dict[str, Counter[str]] = {}
    for operation in operations:
        row = found.setdefault(operation.kind, Counter())
        row["count"] += 0 if operation.instruction.opcode.endswith("-done") else operation.times
        row["bytes"] += operation.total_bytes
        row["flops"] += operation.total_flops
    return {kind: dict(found[kind]) for kind in sorted(found)}


def count_convolutions(operations: Iterable[Operation]) -> dict[str, int]:
    """Convolutions by role, and those of groups among them."""
    found = Counter({"forward": 0, "input gradient": 0, "weight gradient": 0, "grouped": 0})
    for operation in operations:
        for convolution in operation.convolutions:
            found[convolution.role] += operation.times
            found["grouped"] += operation.times * convolution.grouped
    return dict(found)


def find_place(op_name: str) -> tuple[str, Direction]:
    """Stage and direction of a name that jax gave, such as jit(f)/transpose(jvp(Net))/net/stage3/layer3_1/conv2/..."""
    if "jit(_take)" in op_name:
        return "gather", ""
    for scope in _SCOPES:
        if f"/{scope}/" in op_name or op_name.endswith(f"/{scope}"):
            return scope, ""
    direction: Direction = "backward" if "transpose(" in op_name else "forward"
    if found := _NETWORK.search(op_name):
        return found[1], direction
    if "jvp(" in op_name or "Model" in op_name:
        return "head", direction
    return "other", ""


def _read(module: Module, computation: Computation, instruction: Instruction, times: int) -> Operation:
    convolutions = tuple(find_convolutions(module, computation, instruction))
    products = count_product_flops(module, computation, instruction)
    stage, direction = _locate(module, computation, instruction, _DEPTH)
    if any("gradient" in convolution.role for convolution in convolutions):
        direction = "backward"
    return Operation(
        instruction.name, _find_kind(instruction, convolutions, products), stage, direction, times,
        count_bytes(module, computation, instruction), convolutions, products, instruction,
    )  # fmt: skip


def _find_kind(instruction: Instruction, convolutions: tuple[Convolution, ...], product_flops: int) -> str:
    if convolutions:
        roles = " + ".join(sorted({conv.role for conv in convolutions}))
        return f"{'grouped ' * any(conv.grouped for conv in convolutions)}convolution, {roles}"
    if product_flops:
        return "matrix product"
    if found := COLLECTIVE.match(instruction.opcode):
        return found[1]
    if instruction.opcode == "fusion":
        found = _FUSION_KIND.search(instruction.attributes)
        return f"fusion {found[1] if found else ''}".strip()
    return instruction.opcode.removesuffix("-start").removesuffix("-done")


def _locate(module: Module, computation: Computation, instruction: Instruction, depth: int) -> tuple[str, Direction]:
    """By its own name; else by what most of its parts are named; else by what it reads."""
    place = find_place(instruction.op_name)
    if place[0] == "other":
        parts = Counter(find_place(part.op_name) for _, part in module.inside(instruction) if part.op_name)
        known = [(n, found) for found, n in parts.items() if found[0] != "other"]
        place = max(known)[1] if known else place
    if place[0] == "other" and depth:
        for name in instruction.operands:
            source = computation[name]
            if source.opcode != "parameter" and (found := _locate(module, computation, source, depth - 1)) != _UNKNOWN:
                return found
    return place
