"""Tables of calibration and clinical use: stats/*.json in, rows of text out, as tables.py."""

from collections.abc import Sequence

from bonemet_jax.report.formats import DASH, format_interval, format_number, format_percent
from bonemet_jax.report.tables import (
    Cell,
    Json,
    Table,
    _cells,
    list_reasons,
    name_model,
)


def make_calibration_table(calibration: Json) -> Table:
    """Calibration of every model's test probabilities, recalibrated and as they are."""
    rows = tuple(
        _cells(name_model(r["feature_set"], r["classifier"]),
               *_calibration_cells(r["recalibrated"]), *_calibration_cells(r["raw"]))
        for r in calibration["rows"]
    )
    names = ("intercept", "slope", "Brier", "scaled Brier %")
    header = ("Model", *names, *(f"raw: {name}" for name in names))
    parts = [part for r in calibration["rows"] for part in (r["recalibrated"], r["raw"]) if part]
    notes = (*list_reasons([*calibration["rows"], *parts]), *calibration["notes"])
    return Table("Calibration of test probabilities, recalibrated and raw", header, rows, notes)


def _calibration_cells(part: Json | None) -> list[str | Cell]:
    if part is None:
        return [DASH] * 4
    terms = (part[name] or {"value": None, "ci95": None} for name in ("intercept", "slope"))
    return [*(Cell(format_number(t["value"], 2), format_interval(t["ci95"], 2)) for t in terms),
            format_number(part["brier"]), format_percent(part["brier_scaled"])]


def make_net_benefit_table(decision: Json, thresholds: Sequence[float] = (0.05, 0.1, 0.2, 0.3)) -> Table:
    """Net benefit of every model's recalibrated probabilities at a few thresholds, in events a 1000 patients."""
    places = [decision["thresholds"].index(t) for t in thresholds]
    all_row = (_cells("Treat all", *(format_number(1000 * decision["treat_all"][i], 0) for i in places)),)
    rows = tuple(
        _cells(name_model(r["feature_set"], r["classifier"]),
               *(_benefit_cell(r, i) for i in places)) for r in decision["rows"]
    )
    header = ("Model", *(f"at {format_number(100 * t, 0)} %" for t in thresholds))
    caption = "Net benefit by threshold: true positives a 1000 patients, net of false ones (treat none: 0)"
    return Table(caption, header, all_row + rows, (*list_reasons(decision["rows"]), *decision["notes"]))


def _benefit_cell(row: Json, place: int) -> Cell:
    if row["net_benefit"] is None:
        return Cell(DASH)
    low, value, high = (1000 * row[name][place] for name in ("lower", "net_benefit", "upper"))
    return Cell(format_number(value, 0), format_interval((low, high), 0))
