"""Figures of the page as SVG: stats/*.json in, bytes out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from bonemet_jax import schema
from bonemet_jax.report.drawing import LINES, open_figure, to_svg
from bonemet_jax.report.formats import format_label, format_number, format_p
from bonemet_jax.report.tables import CLASSIFIER_NAMES, SPLIT_NAMES, name_model

Json = Mapping[str, Any]
#: Rows of a heat map that stay legible; a wider embedding shows its first ones.
_MAX_FEATURES = 24


# --- ROC --------------------------------------------------------------------------------------------


def draw_network_roc(roc: Json) -> bytes:
    """ROC of the network's own score in the three cohorts (figure 4, left)."""
    rows = {r["split"]: r for r in roc["rows"] if r["classifier"] == "network"}
    lines = [(SPLIT_NAMES[split], rows[split]) for split in schema.SPLITS if split in rows]
    with open_figure(3.4, 3.3) as figure:
        _draw_roc(figure.subplots(), "Network alone", lines)
        return to_svg(figure)


def draw_classifier_roc(roc: Json) -> bytes:
    """ROC of classifiers by feature sets, pooled test patients (figure 4): one panel a classifier."""
    rows = {(r["classifier"], r["feature_set"]): r for r in roc["rows"] if r["split"] == "test"}
    classifiers = [c for c in schema.CLASSIFIERS if any(key[0] == c for key in rows)]
    with open_figure(7.2, 2.9) as figure:
        panels = figure.subplots(1, max(len(classifiers), 1), squeeze=False)[0]
        for axes, classifier in zip(panels, classifiers, strict=False):
            lines = [(f, rows[classifier, f]) for f in schema.FEATURE_SETS if (classifier, f) in rows]
            _draw_roc(axes, CLASSIFIER_NAMES[classifier], lines)
        return to_svg(figure)


def _draw_roc(axes: Axes, title: str, lines: Sequence[tuple[str, Json]]) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.7)
    for (name, row), (colour, dash) in zip(lines, LINES, strict=False):
        if row["curve"]:
            axes.plot(row["curve"]["fpr"], row["curve"]["tpr"], color=colour, linestyle=dash, clip_on=False,
                      label=f"{name}: {format_number(row['auc'])}")
    axes.set(title=title, xlabel="1 − specificity", ylabel="Sensitivity", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    if len(axes.lines) > 1:
        axes.legend(loc="lower right", title="AUC", title_fontsize=7, alignment="left")


# --- Training ---------------------------------------------------------------------------------------


def draw_loss_curves(metrics: Mapping[int, Sequence[Json]]) -> bytes:
    """Training and validation loss of every fold's network (figure S1)."""
    with open_figure(7.2, 2.4) as figure:
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, (fold, epochs) in zip(panels, metrics.items(), strict=True):
            x = [e["epoch"] for e in epochs]
            for (key, name), (colour, dash) in zip((("train_loss", "training"), ("val_loss", "validation")), LINES,
                                                   strict=False):
                y = [np.nan if e.get(key) is None else e[key] for e in epochs]
                axes.plot(x, y, color=colour, linestyle=dash, label=name, marker="." if len(x) < 3 else None)
            axes.set(title=f"Fold {fold}", xlabel="Epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylabel("Loss (cross-entropy, nats)")
        panels[-1].legend(loc="upper right")
        return to_svg(figure)


# --- Survival ---------------------------------------------------------------------------------------


def draw_kaplan_meier(km: Json) -> bytes:
    """Kaplan-Meier curves by SFI cut-off, patients at risk below (figure 7): one panel a cut-off."""
    cutoffs = [c for c in km["cutoffs"] if c["groups"]]
    n_groups = max((len(c["groups"]) for c in cutoffs), default=1)
    with open_figure(7.2, 3.4) as figure:
        grid = figure.subplots(2, max(len(cutoffs), 1), squeeze=False, sharex="col",
                               gridspec_kw={"height_ratios": [10, 1 + 0.9 * n_groups]})
        for column, cutoff in enumerate(cutoffs):
            _draw_km_curves(grid[0, column], cutoff)
            _draw_at_risk(grid[1, column], cutoff["groups"])
        return to_svg(figure)


def _draw_km_curves(axes: Axes, cutoff: Json) -> None:
    lowest = 1.0
    for group, (colour, dash) in zip(cutoff["groups"], LINES, strict=False):
        curve, ticks = group["curve"], group["censored"]
        axes.step(curve["times"], curve["survival"], where="post", color=colour, linestyle=dash,
                  label=format_label(group["label"]))
        lower, upper = (_to_array(curve[name]) for name in ("lower", "upper"))
        axes.fill_between(curve["times"], lower, upper, step="post", color=colour, alpha=0.12, linewidth=0)
        axes.plot(ticks["times"], ticks["survival"], "|", color=colour, markersize=3, markeredgewidth=0.5)
        lowest = min(lowest, np.nanmin(lower, initial=1.0))
    axes.set(ylim=(max(0.0, np.floor(lowest * 10) / 10), 1.01), ylabel="Free of metastasis",
             title=f"Cut-off {format_number(cutoff['cutoff'], 1)} cm²/m² ({cutoff['source']})")
    axes.legend(loc="lower left", title=f"log-rank p {_equals(format_p(cutoff['logrank_p']))}", title_fontsize=7,
                alignment="left")


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _to_array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _draw_at_risk(axes: Axes, groups: Sequence[Json]) -> None:
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for row, (group, (colour, _)) in enumerate(zip(groups, LINES, strict=False)):
        for month, n in zip(group["times"], group["n_risk"], strict=True):
            axes.text(month, -row, str(n), color=colour, ha="center", va="center", fontsize=7)
    axes.set(ylim=(-len(groups) + 0.4, 0.6), yticks=[-row for row in range(len(groups))],
             xticks=groups[0]["times"], xlabel="Months since surgery")
    axes.set_yticklabels([format_label(group["label"]) for group in groups], fontsize=7)
    axes.set_title("Patients at risk", loc="left", fontsize=7, fontweight="normal", pad=2)
    axes.tick_params(length=0)


# --- Features ---------------------------------------------------------------------------------------


def draw_correlation(correlation: Json) -> bytes:
    """Pearson heat maps, network features by clinical columns (figure 5): one panel a fold.

    Every fold trains its own network, so X1 of one fold is not X1 of another and pooled values would cancel.
    """
    folds = correlation["r_folds"] or [correlation["r"]]
    labels = [format_label(text) for text in correlation["labels"]]
    n_features = min(len(correlation["features"]), _MAX_FEATURES)
    with open_figure(7.2, 1.4 + (0.2 + 0.115 * n_features) * len(folds)) as figure:
        panels = figure.subplots(len(folds), 1, sharex=True, squeeze=False)[:, 0]
        images = [_draw_heat_map(axes, np.array([_to_array(row) for row in values[:n_features]]))
                  for axes, values in zip(panels, folds, strict=True)]  # fmt: skip
        for fold, axes in enumerate(panels):
            axes.set_yticks(range(n_features), correlation["features"][:n_features], fontsize=5.5)
            axes.set_title(f"Fold {fold}", loc="left", fontsize=7, pad=2)
        panels[-1].set_xticks(range(len(labels)), labels, rotation=55, ha="right", rotation_mode="anchor", fontsize=6.5)
        figure.colorbar(images[-1], ax=panels, fraction=0.025, pad=0.01, aspect=40).set_label("Pearson r")
        return to_svg(figure)


def _draw_heat_map(axes: Axes, r: np.ndarray) -> AxesImage:
    axes.grid(visible=False)
    axes.set_facecolor("#cccccc")
    for i, j in zip(*np.nonzero(np.abs(r) >= 0.3), strict=True):
        axes.text(j, i, format_number(r[i, j], 1), ha="center", va="center", fontsize=4.5,
                  color="white" if abs(r[i, j]) > 0.6 else "black")
    return axes.imshow(r, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")


def draw_channels(channels: Mapping[str, np.ndarray]) -> bytes:
    """The network's input channels of one patient (figure 2): title -> (height, width), each scaled to grey."""
    height, width = next(iter(channels.values())).shape
    with open_figure(7.2, 7.2 / len(channels) * height / width + 0.25) as figure:
        for axes, (title, picture) in zip(figure.subplots(1, len(channels)), channels.items(), strict=True):
            axes.imshow(picture, cmap="gray", interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(title)
        return to_svg(figure)


def draw_planted(planted: Json) -> bytes:
    """Test AUC with its interval beside the Bayes-optimal AUC, for each feature set."""
    rows = [r for r in planted["rows"] if r["auc"] is not None]
    with open_figure(5.2, 0.8 + 0.32 * len(rows)) as figure:
        axes = figure.subplots()
        for y, row in enumerate(reversed(rows)):
            low, high = row["ci95_delong"] or (row["auc"], row["auc"])
            axes.plot([low, high], [y, y], color=LINES[0][0])
            axes.plot(row["auc"], y, "o", color=LINES[0][0], markersize=5, label="ours, test" if y == 0 else None)
            if row["bayes_auc"] is not None:
                axes.plot(row["bayes_auc"], y, "D", color=LINES[1][0], markersize=5, markerfacecolor="white",
                          label="Bayes-optimal" if y == 0 else None)
        names = [name_model(r["feature_set"], r["classifier"]) for r in rows]
        axes.set_yticks(range(len(rows)), list(reversed(names)))
        axes.axvline(0.5, color="#999999", linewidth=0.7)
        axes.set(xlabel="AUC", xlim=(0.4, 1.0), ylim=(-0.6, len(rows) - 0.4))
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
        return to_svg(figure)
