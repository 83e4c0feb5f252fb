"""The page of several runs on the same folds: Table 3, the ablation, paired tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, schema
from bonemet_jax.report.formats import format_interval, format_number, format_p
from bonemet_jax.report.render import render_page
from bonemet_jax.report.sections import Section, Text
from bonemet_jax.report.tables import (
    CLASSIFIER_NAMES,
    FEATURE_SET_NAMES,
    SPLIT_NAMES,
    Cell,
    Table,
    make_performance_header,
    make_performance_row,
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
        Section("Performance", tuple(_make_model_table(joined, model) for model in MODELS)),
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
    return Table("Runs on one folds.json", ("Run", "Network", "Channels", "Mask bias", "Fusion mode"), rows)


def _make_model_table(joined: Json, model: tuple[str, str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for run in joined["runs"]:
        found = {row["split"]: row for row in run["rows"] if (row["feature_set"], row["classifier"]) == model}
        if found:
            rows.append((Cell(run["name"]),))
        rows += [make_performance_row(SPLIT_NAMES[s].capitalize(), found[s]) for s in schema.SPLITS if s in found]
    title = f"{CLASSIFIER_NAMES[model[1]]}, {FEATURE_SET_NAMES[model[0]].lower()}"
    return Table(f"Table 3 across runs. {title}", make_performance_header("Run, cohort"), tuple(rows), may_break=True)


def _make_paired_table(joined: Json) -> Table:
    rows = tuple(
        (Cell(f"{CLASSIFIER_NAMES[r['classifier']]}, {FEATURE_SET_NAMES[r['feature_set']].lower()}"),
         Cell(f"{r['a']} against {r['b']}"), Cell(format_number(r["auc_a"])), Cell(format_number(r["auc_b"])),
         Cell(format_number(r["difference"]), format_interval(r["ci95"])), Cell(format_p(r["p"])))
        for r in joined["paired"]
    )
    header = ("Model", "Runs", "AUC, first", "AUC, second", "Difference [95 % CI]", "p")
    return Table("Runs against each other, test cohort (DeLong)", header, rows, may_break=True)
