"""Figures of one compiled program, every one an exact count: what a budget holds."""

import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.compiled.collectives import Collective, find_collectives, find_results
from benchmarks.compiled.hlo import read_module
from benchmarks.compiled.operations import Operation, count_convolutions, count_kinds, find_operations
from benchmarks.compiled.programs import Compiled
from bonemet_jax.config import Config
from bonemet_jax.models.resnet import make_model
from bonemet_jax.train.program import FOLD

_LOWERED = re.compile(r"\b(?:stablehlo|chlo)\.(\w+)")
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")


def make_figures(compiled: Compiled) -> dict[str, Any]:
    """Counts of one device's program, as plain JSON values; bytes and FLOPs are those of one call."""
    program = compiled.program
    module, lowered = read_module(program.compiled.as_text()), program.lowered.as_text()
    operations = find_operations(module)
    sizes = find_feature_maps(compiled.config)
    memory = program.compiled.memory_analysis()
    kinds = count_kinds(operations)
    return {
        "compilations": compiled.n_compilations,
        "steps": compiled.n_steps,
        "bytes": sum(row["bytes"] for row in kinds.values()),
        "flops": sum(row["flops"] for row in kinds.values()),
        "memory": {
            "temp": memory.temp_size_in_bytes, "arguments": memory.argument_size_in_bytes,
            "alias": module.alias_bytes,
        },
        "state_bytes": 0 if program.name == "evaluate" else compiled.state_bytes,
        "convolutions": count_convolutions(operations),
        "collectives": _count_collectives(find_collectives(module), compiled),
        "float32 feature maps": _count_float32(operations, {size * compiled.local_batch for size in sizes}),
        "float32 feature maps in StableHLO": _count_float32_lowered(lowered, _global_sizes(sizes, compiled)),
        "operations": kinds,
        "stages": _sum_stages(operations),
        "StableHLO": dict(sorted(Counter(_LOWERED.findall(lowered)).items())),
    }  # fmt: skip


def count_xla(compiled: Compiled) -> dict[str, float] | None:
    """What XLA itself counts; None where it does not say."""
    analysis = compiled.program.compiled.cost_analysis()
    if not analysis:
        return None
    return {name: float(analysis[name]) for name in ("flops", "bytes accessed") if name in analysis}


def find_feature_maps(config: Config) -> set[int]:
    """Sizes of the network's input and of every layer's result, values an image."""
    model = make_model(config.model)
    height, width, n_chan = config.records.height, config.records.width, len(config.model.channels)
    x = jax.ShapeDtypeStruct((1, height, width, n_chan), jnp.float32)
    weight = jax.ShapeDtypeStruct((1,), jnp.float32)

    def run(x: Any, weight: Any) -> Any:
        variables = model.init(jax.random.key(0), x, weight)
        return model.apply(variables, x, weight, capture_intermediates=True, mutable=["intermediates"])[1]

    maps = [leaf for leaf in jax.tree.leaves(jax.eval_shape(run, x, weight)) if leaf.ndim == 4]
    return {height * width * n_chan} | {leaf.size for leaf in maps}


def _global_sizes(sizes: set[int], compiled: Compiled) -> set[int]:
    """Before the compiler splits them arrays hold the images of one device, of a group of devices, or of all."""
    engine, local = compiled.engine, compiled.local_batch
    batches = {local, local * engine.n_data, local * engine.n_data * engine.spread.mesh.shape[FOLD]}
    return {size * batch for size in sizes for batch in batches}


def _count_float32(operations: list[Operation], sizes: set[int]) -> dict[str, dict[str, int]]:
    """Feature maps that an operation writes to memory in float32, by stage and pass."""
    found: dict[str, Counter[str]] = {}
    for operation in operations:
        for shape in operation.instruction.shapes:
            if shape.dtype == "f32" and shape.size in sizes:
                row = found.setdefault(f"{operation.stage} {operation.direction}".strip(), Counter())
                row["count"] += operation.times
                row["bytes"] += operation.times * shape.n_bytes
    return {place: dict(found[place]) for place in sorted(found)}


def _count_float32_lowered(lowered: str, sizes: set[int]) -> dict[str, int]:
    """Values of a feature map's size that the traced program computes in float32, by operation."""
    found: Counter[str] = Counter()
    for line in lowered.splitlines():
        operation = _LOWERED.search(line)
        types = _TENSOR.findall(line.rpartition("->")[2] or line)
        if operation and types:
            dims, dtype = types[-1]
            size = 1
            for n in filter(None, dims.split("x")):
                size *= int(n)
            found[operation[1]] += dtype == "f32" and size in sizes
    return {name: n for name, n in sorted(found.items()) if n}


def _count_collectives(found: list[Collective], compiled: Compiled) -> dict[str, Any]:
    """By kind and dtype; how many join devices that train different folds."""
    rows: dict[str, Counter[str]] = {}
    across = 0
    for collective in found:
        row = rows.setdefault(" ".join((collective.kind, *collective.dtypes)), Counter())
        row["count"] += 1
        row["bytes"] += collective.n_bytes
        n_data = compiled.engine.n_data
        across += any(len({device // n_data for device in group}) > 1 for group in collective.groups)
    return {**{kind: dict(rows[kind]) for kind in sorted(rows)}, "across folds": {"count": across}}


def _sum_stages(operations: list[Operation]) -> dict[str, dict[str, int]]:
    """Bytes, FLOPs and bytes of collectives' results by stage and pass."""
    found: dict[str, Counter[str]] = {}
    for operation in operations:
        row = found.setdefault(f"{operation.stage} {operation.direction}".strip(), Counter())
        row["bytes"] += operation.total_bytes
        row["flops"] += operation.total_flops
        if operation.kind.startswith(("all-", "reduce-scatter", "collective")):
            one = operation.instruction
            row["sent"] += 0 if one.opcode.endswith("-done") else sum(part.bytes_anywhere for part in find_results(one))
    return {place: {"sent": 0, **found[place]} for place in sorted(found)}
