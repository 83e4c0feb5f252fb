"""What the gradient boosting builds on: mean |SHAP| of its features, over all folds and fold by fold."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from bonemet_jax.report.drawing import LINES, open_figure, to_svg
from bonemet_jax.report.formats import format_label

Json = Mapping[str, Any]
#: Bars of a panel that stay legible: the largest.
_MAX_BARS = 12
_MAX_FOLDS = 3


def draw_contributions(summary: Json) -> bytes:
    """Horizontal bars: all test patients, network features as one; below it each fold, they one by one.

    Args:
        summary: Of `summarize_contributions`, one feature set.
    """
    folds = summary["folds"][:_MAX_FOLDS]
    rows = summary["rows"][:_MAX_BARS]
    depth = max((min(len(fold["features"]), _MAX_BARS) for fold in folds), default=1)
    heights = (0.55 + 0.17 * len(rows), 0.55 + 0.15 * depth)
    with open_figure(7.2, sum(heights)) as figure:
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
        axes = above.subplots()
        _draw_bars(axes, rows)
        _mark_folds(axes, rows)
        axes.set(title=f"All folds, {summary['n_patients']} test patients", xlabel="Mean |SHAP|, log odds")
        panels = below.subplots(1, max(len(folds), 1), sharex=True, squeeze=False)[0]
        for k, (panel, fold) in enumerate(zip(panels, folds, strict=False)):
            _draw_bars(panel, fold["features"][:_MAX_BARS])
            panel.set(title=f"Fold {k}", xlabel="Mean |SHAP|, log odds")
        return to_svg(figure)


def _draw_bars(axes: Axes, rows: Sequence[Json]) -> None:
    """Largest on top; network features in a colour of their own."""
    colours = [LINES[1][0] if _is_imaging(row["name"]) else LINES[0][0] for row in rows]
    axes.barh(range(len(rows)), [row["mean_abs"] for row in rows], color=colours, height=0.7)
    axes.set_yticks(range(len(rows)), [format_label(row["label"]) for row in rows], fontsize=6.5)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)


def _is_imaging(name: str) -> bool:
    return name == "imaging" or (name[:1] == "X" and name[1:].isdecimal())


def _mark_folds(axes: Axes, rows: Sequence[Json]) -> None:
    """A dot a fold that knows the feature."""
    points = [(value, y) for y, row in enumerate(rows) for value in row["mean_abs_folds"] if value is not None]
    axes.plot([x for x, _ in points], [y for _, y in points], "o", color="black", markersize=2.5, label="single folds")
    axes.legend(loc="lower right")
