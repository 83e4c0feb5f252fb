"""The page of several runs on the same folds: Table 3, the ablation, paired tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, schema
from bonemet_jax.report.blocks import Section, Text, present
from bonemet_jax.report.drawing import LINES, open_figure, to_svg
from bonemet_jax.report.formats import format_interval, format_number, format_p
from bonemet_jax.report.render import render_page
from bonemet_jax.report.tables import (
    BOOTSTRAP_NOTE,
    SPLIT_NAMES,
    Cell,
    Table,
    make_performance_header,
    make_performance_row,
    name_model,
)
from bonemet_jax.stats.joined_results import MODELS

Json = Mapping[str, Any]


def render_joined(joined: Json, cohort: Json | None, directory: Path) -> Path:
    """Write joined.html and joined.json; returns the page's path.

    Args:
        joined: of compute_joined.
        cohort: facts of the cohort's manifest, None when it is not there.
    """
    sections = [
        Section("Runs", (_make_runs_table(joined),)),
        Section("Performance", (
            present("runs", "Test AUC of every run, 95 % intervals (DeLong).",
                    "Test AUC, one panel a model, one line a run", _draw_runs(joined)),
            *(_make_model_table(joined, model) for model in MODELS))),
        Section("Paired comparisons", (
            Text("Test patients are the same in every run, so two runs are compared patient by patient: difference of "
                 "the AUCs, DeLong's paired test. Nothing is corrected for the number of comparisons."),
            _make_paired_table(joined))),
    ]
    name = ", ".join(run["name"] for run in joined["runs"])
    artifacts.write_json(directory / "joined.json", dict(joined))
    page = directory / "joined.html"
    artifacts.write_text(page, render_page(name, None, cohort, sections))
    return page


def _make_runs_table(joined: Json) -> Table:
    rows = tuple(
        (Cell(run["name"]), Cell(run["network"]), Cell(", ".join(run["channels"])),
         Cell("on" if run["mask_bias"] else "off"), Cell(run["mode"]))
        for run in joined["runs"]
    )
    return Table("Runs on one folds.json", ("Run", "Network", "Channels", "Mask bias", "Fusion mode"), rows, n_text=5)


def _make_model_table(joined: Json, model: tuple[str, str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for run in joined["runs"]:
        found = _find_rows(run, model)
        if found:
            rows.append((Cell(run["name"]),))
        rows += [make_performance_row(SPLIT_NAMES[s].capitalize(), found[s]) for s in schema.SPLITS if s in found]
    title = f"Table 3 across runs. {name_model(*model)}"
    return Table(title, make_performance_header("Run, cohort"), tuple(rows), (BOOTSTRAP_NOTE,), may_break=True)


def _draw_runs(joined: Json) -> bytes:
    """Test AUC with its interval: one panel a model, one line a run, the first run on top."""
    names = [run["name"] for run in reversed(joined["runs"])]
    with open_figure(6.6, 0.8 + 0.25 * len(names)) as figure:
        panels = figure.subplots(1, len(MODELS), sharex=True, sharey=True, squeeze=False)[0]
        for axes, model, (colour, _) in zip(panels, MODELS, LINES, strict=False):
            for y, run in enumerate(reversed(joined["runs"])):
                row = _find_rows(run, model).get("test")
                if row is not None and row["auc"] is not None:
                    axes.plot(row["auc_ci95_delong"] or [row["auc"]] * 2, [y, y], color=colour)
                    axes.plot(row["auc"], y, "o", color=colour, markersize=4.5)
            axes.set(title=name_model(*model), xlabel="AUC", ylim=(-0.6, len(names) - 0.4))
        panels[0].set_yticks(range(len(names)), names)
        return to_svg(figure)


def _find_rows(run: Json, model: tuple[str, str]) -> dict[str, Json]:
    """The model's rows by split."""
    return {row["split"]: row for row in run["rows"] if (row["feature_set"], row["classifier"]) == model}



def _make_paired_table(joined: Json) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for model in MODELS:
        found = [r for r in joined["paired"] if (r["feature_set"], r["classifier"]) == model]
        rows += [(Cell(name_model(*model)),)] if found else []
        rows += [(Cell(f"{r['a']} against {r['b']}"), Cell(format_number(r["auc_a"])), Cell(format_number(r["auc_b"])),
                  Cell(format_number(r["difference"]), format_interval(r["ci95"])), Cell(format_p(r["p"])))
                 for r in found]
    header = ("Runs", "AUC, first", "AUC, second", "Difference [95 % CI]", "p")
    return Table("Runs against each other, test cohort (DeLong)", header, tuple(rows), may_break=True)
