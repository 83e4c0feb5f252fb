"""The leakage meter on the page: stats/leakage.json as a table and a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from bonemet_jax.report.drawing import LINES, open_figure, to_svg
from bonemet_jax.report.formats import format_interval, format_number, format_p, format_percent
from bonemet_jax.report.tables import Cell, Table, name_model

Json = Mapping[str, Any]
MODE_NAMES = {"paper": "as published", "honest": "cross-fitted"}


def make_leakage_table(leakage: Json) -> Table:
    """Optimism of every model in each mode, and what the mode changes on the test patients."""
    rows: list[tuple[Cell, ...]] = []
    for row in leakage["rows"]:
        rows.append((Cell(name_model(row["feature_set"], row["classifier"])),))
        if row["reason"]:
            rows.append((Cell(f"not available, {row['reason']}"), *[Cell("")] * 6))
            continue
        rows += [_mode_row(MODE_NAMES[mode], row[mode]) for mode in leakage["modes"]]
        if row["gap"]:
            rows.append(_gap_row(row))
    header = ("Mode", "AUC, training", "validation", "test", "Optimism [95 % CI]", "SENS / SPEC %, learned on", "test")
    return Table("Leakage meter: what a model says of itself, and what it is", header, tuple(rows),
                 tuple(leakage["notes"]), may_break=True)



def _mode_row(name: str, found: Json) -> tuple[Cell, ...]:
    aucs = (Cell(format_number(found[f"{part}_auc"])) for part in ("train", "val", "test"))
    decisions = (Cell(f"{format_percent(found[f'{part}_sens'])} / {format_percent(found[f'{part}_spec'])}")
                 for part in ("seen", "test"))
    return (Cell(name), *aucs, Cell(format_number(found["optimism"]), format_interval(found["ci95"])), *decisions)


def _gap_row(row: Json) -> tuple[Cell, ...]:
    tested, gap = row["test_difference"], row["gap"]
    difference = Cell(format_number(tested["difference"]), f"p {format_p(tested['p'])}")
    return (Cell("difference"), Cell(""), Cell(""), difference,
            Cell(format_number(gap["value"]), format_interval(gap["ci95"])), Cell(""), Cell(""))


def draw_leakage(leakage: Json) -> bytes:
    """Optimism of every model with its interval: one line a model, one mark a mode."""
    rows: Sequence[Json] = [row for row in leakage["rows"] if not row["reason"]]
    modes = leakage["modes"]
    with open_figure(6.2, 0.9 + 0.3 * len(rows)) as figure:
        axes = figure.subplots()
        for mode, (colour, _), marker, shift in zip(modes, LINES, "oD", (0.14, -0.14), strict=False):
            for y, row in enumerate(reversed(rows)):
                found = row[mode]
                low, high = found["ci95"] or (found["optimism"], found["optimism"])
                axes.plot([low, high], [y + shift, y + shift], color=colour)
                axes.plot(found["optimism"], y + shift, marker, color=colour, markersize=4.5,
                          markerfacecolor=colour if mode == "paper" else "white",
                          label=MODE_NAMES[mode] if y == 0 else None)
        axes.axvline(0, color="#999999", linewidth=0.7)
        axes.set_yticks(range(len(rows)), [name_model(row["feature_set"], row["classifier"]) for row in reversed(rows)])
        axes.set(xlabel="Optimism: AUC on what was learned from, less AUC on the test patients",
                 ylim=(-0.6, len(rows) - 0.4))
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
        return to_svg(figure)
