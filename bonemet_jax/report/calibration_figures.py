"""Calibration and decision curves as SVG, in the style of figures.py: stats/*.json in, bytes out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bonemet_jax import schema
from bonemet_jax.report.drawing import LINES, open_figure, to_svg
from bonemet_jax.report.formats import format_number
from bonemet_jax.report.tables import CLASSIFIER_NAMES, FEATURE_SET_NAMES, SUMMARY_MODELS, name_model

Json = Mapping[str, Any]
_GREY = "#999999"
#: Below treating none by more than this share of the prevalence, curves leave the panel.
_FLOOR = -0.35


def draw_calibration(calibration: Json) -> bytes:
    """Observed share of events by predicted probability, raw and recalibrated: one panel a model of the summary."""
    rows = {(r["feature_set"], r["classifier"]): r for r in calibration["rows"]}
    drawn = [rows[key] for key in SUMMARY_MODELS if key in rows and rows[key]["raw"]]
    with open_figure(7.2, 0.4 + 3.1 * ((len(drawn) + 1) // 2)) as figure:
        panels = figure.subplots((len(drawn) + 1) // 2, 2, squeeze=False).ravel()
        for axes, row in zip(panels, drawn, strict=False):
            _draw_model(axes, row)
        for axes in panels[len(drawn):]:
            axes.set_visible(False)
        return to_svg(figure)


def _draw_model(axes: Axes, row: Json) -> None:
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.7)
    shown = (("recalibrated", "o", LINES[0]), ("raw", "s", LINES[1]))
    for key, marker, (colour, dash) in shown:
        if row[key]:
            _draw_groups(axes, row[key]["groups"], marker, colour)
            _draw_smooth(axes, row[key]["curve"], colour, dash, key)
    title = name_model(row["feature_set"], row["classifier"])
    axes.set(title=title, xlabel="Predicted probability", ylabel="Observed share", xlim=(0, 1), ylim=(0, 1),
             aspect="equal")
    axes.legend(loc="upper left")


def _draw_groups(axes: Axes, groups: Sequence[Json], marker: str, colour: str) -> None:
    known = [g for g in groups if g["observed"]["value"] is not None]
    axes.vlines([g["predicted"] for g in known], *np.array([g["observed"]["ci95"] for g in known]).T, color=colour,
                linewidth=0.6)
    axes.plot([g["predicted"] for g in known], [g["observed"]["value"] for g in known], marker, color=colour,
              markersize=3.5, markerfacecolor="white", markeredgewidth=0.9, clip_on=False, zorder=3)


def _draw_smooth(axes: Axes, curve: Json | None, colour: str, dash: str, name: str) -> None:
    if curve is None:
        axes.plot([], [], color=colour, linestyle=dash, label=f"{name} (no curve)")
        return
    axes.plot(curve["predicted"], curve["observed"], color=colour, linestyle=dash, label=name)
    axes.fill_between(curve["predicted"], curve["lower"], curve["upper"], color=colour, alpha=0.12, linewidth=0)


def draw_decision_curve(decision: Json) -> bytes:
    """Standardised net benefit by threshold: one panel a classifier, one line a feature set, treat all and none."""
    rows = {(r["classifier"], r["feature_set"]): r for r in decision["rows"] if r["net_benefit"]}
    classifiers = [c for c in ("network", *schema.CLASSIFIERS) if any(key[0] == c for key in rows)]
    with open_figure(7.2, 0.4 + 2.6 * ((len(classifiers) + 1) // 2)) as figure:
        panels = figure.subplots((len(classifiers) + 1) // 2, 2, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, classifier in zip(panels, classifiers, strict=False):
            found = [(f, rows[classifier, f]) for f in schema.FEATURE_SETS if (classifier, f) in rows]
            _draw_benefits(axes, CLASSIFIER_NAMES[classifier], decision, found)
        for axes in panels[len(classifiers):]:
            axes.set_visible(False)
        figure.supxlabel("Threshold probability", fontsize=8)
        figure.supylabel(f"Standardised net benefit (1 = {format_number(decision['prevalence'])} a patient)",
                         fontsize=8)
        return to_svg(figure)


def _draw_benefits(axes: Axes, title: str, decision: Json, rows: Sequence[tuple[str, Json]]) -> None:
    thresholds = decision["thresholds"]
    axes.axhline(0, color="black", linewidth=0.8, label="treat none")
    axes.plot(thresholds, decision["treat_all_standardised"], color=_GREY, linewidth=1.0, label="treat all")
    for (feature_set, row), (colour, dash) in zip(rows, LINES, strict=False):
        axes.plot(thresholds, row["net_benefit_standardised"], color=colour, linestyle=dash,
                  label=FEATURE_SET_NAMES[feature_set].lower())
        axes.fill_between(thresholds, row["lower_standardised"], row["upper_standardised"], color=colour, alpha=0.1,
                          linewidth=0)
    axes.set(title=title, xlim=(0, thresholds[-1]), ylim=(_FLOOR, 1))
    axes.legend(loc="upper right")
