"""Tables of what was compiled ahead of time, in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.compiled.budget import Figures, find_broken
from benchmarks.compiled.programs import PROGRAMS
from benchmarks.compiled.roofline import Row, compute_ceiling, make_rows
from benchmarks.compiled.targets import Target, find_target


def print_tables(measured: Figures) -> None:
    """Every program's tables; the smallest batch where only one is shown."""
    target = find_target(measured["target"])
    print(f"# {target.name}: {measured['network']}, {measured['dtype']}, jax {measured['jax']}, "
          f"config {measured['fingerprint']}")  # fmt: skip
    for name in sorted(measured["programs"], key=list(PROGRAMS).index):
        sizes = measured["programs"][name]
        local_batches = sorted(sizes, key=int)
        shown = sizes[local_batches[0]]
        print(f"\n## {name}, {' and '.join(local_batches)} images a device\n")
        if (n_steps := shown.get("steps", 1)) > 1:
            print(f"Stages and operations: of {n_steps} steps in one program.\n")
        _print(("", "an image", "a step", f"at {local_batches[0]}"), _work_lines(sizes))
        _print(("", "count", "MB"), _count_lines(shown))
        rows = make_rows(target, shown, measured["dtype"])
        _print(("stage", "GB", "GFLOP", "FLOP/byte", "limited by", "ms at least"), map(_stage_line, rows))
        _print(("operation", "count", "GB", "GFLOP"), map(_kind_line, shown["operations"].items()))
        _print_notes(target, measured, name, local_batches[0], rows)


def fit_line(sizes: dict[str, Figures], *path: str) -> tuple[float, float] | None:
    """A figure's slope (an image of one device) and intercept (a step), from the smallest and the largest batch."""
    low, high = min(sizes, key=int), max(sizes, key=int)
    if low == high:
        return None
    first, last = (_find(sizes[key], path) for key in (low, high))
    slope = (last - first) / (int(high) - int(low))
    return slope, first - slope * int(low)


def _find(figures: Figures, path: Sequence[str]) -> float:
    value: Any = figures
    for name in path:
        value = value[name]
    return value / (figures.get("steps", 1) if path[0] in ("bytes", "flops") else 1)


def _work_lines(sizes: dict[str, Figures]) -> Iterable[Sequence[str]]:
    shown = sizes[min(sizes, key=int)]
    for name, unit, scale, path in (
        ("memory traffic", "GB", 1e9, ("bytes",)), ("convolutions and products", "GFLOP", 1e9, ("flops",)),
        ("temporary memory", "MB", 1e6, ("memory", "temp")), ("arguments", "MB", 1e6, ("memory", "arguments")),
    ):  # fmt: skip
        line = fit_line(sizes, *path)
        parts = [_round(value / scale) for value in line] if line else ["", ""]
        yield f"{name}, {unit}", *parts, _round(_find(shown, path) / scale)


def _count_lines(figures: Figures) -> Iterable[Sequence[str]]:
    convolutions = figures["convolutions"]
    roles = [role for role in convolutions if role != "grouped"]
    yield "convolutions", str(sum(convolutions[role] for role in roles)), ""
    for role in convolutions:
        yield f"of which {role}", str(convolutions[role]), ""
    for kind, row in figures["collectives"].items():
        yield f"collectives: {kind}", str(row["count"]), _round(row['bytes'] / 1e6) if "bytes" in row else ""
    for place, row in figures["float32 feature maps"].items():
        yield f"float32 feature maps: {place}", str(row["count"]), _round(row['bytes'] / 1e6)
    yield "state", "", _round(figures['state_bytes'] / 1e6)
    yield "alias", "", _round(figures['memory']['alias'] / 1e6)
    yield "compilations", str(figures["compilations"]), ""


def _stage_line(row: Row) -> Sequence[str]:
    intensity = f"{row.flops / row.n_bytes:.1f}" if row.n_bytes else ""
    return (row.name, _round(row.n_bytes / 1e9), _round(row.flops / 1e9), intensity, row.limit or "",
            _round(row.least_s * 1e3) if row.seconds else "")  # fmt: skip


def _kind_line(item: tuple[str, dict[str, int]]) -> Sequence[str]:
    kind, row = item
    return kind, str(row["count"]), _round(row['bytes'] / 1e9), _round(row['flops'] / 1e9)


def _round(value: float) -> str:
    """Four digits; more where there are more before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _print_notes(target: Target, measured: Figures, name: str, local_batch: str, rows: list[Row]) -> None:
    n_images = int(local_batch) * measured["programs"][name][local_batch].get("steps", 1)
    ceiling = compute_ceiling(rows, n_images)
    if ceiling and target.peak:
        print(f"Ceiling {ceiling[0]:,.0f} images/s a device, {ceiling[1]:,.0f} with one stage after the other "
              f"(peaks: {target.peak.source})")  # fmt: skip
    xla = measured.get("xla", {}).get(f"{name} {local_batch}")
    if xla:
        print("XLA's own count: " + ", ".join(f"{key} {_round(value / 1e9)} G" for key, value in xla.items()))
    for fault in find_broken(measured["programs"][name][local_batch]):
        print(f"FAULT: {fault}")


def _print(head: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    table = [list(head), ["---"] + ["---:"] * (len(head) - 1), *map(list, lines)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print(f"| {' | '.join([row[0].ljust(widths[0]), *cells])} |")
    print()
