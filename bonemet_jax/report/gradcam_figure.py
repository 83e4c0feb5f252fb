"""Where the network looks (figure 6): Grad-CAM over CT slices, and how much of it lies in which tissue."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bonemet_jax.readout.tissue_shares import REGIONS
from bonemet_jax.report.drawing import LINES, open_figure, to_png, to_svg
from bonemet_jax.report.formats import format_number, format_stage

Json = Mapping[str, Any]
#: Maps: perceptually uniform, its dark end bare CT.
_COLOURS = "inferno"
#: Opacity where a map is at its maximum; it falls with the map, so that CT shows where there is nothing to show.
_OPACITY = 0.75
#: Outlines on the CT: region -> colour (Okabe and Ito), name in the legend.
_OUTLINES = {"sat": ("#F0E442", "SAT"), "vat": ("#56B4E9", "VAT"), "muscle": ("#D55E00", "erector spinae")}
#: What each kind of map tells of the score.
_TOLD = {"for": "raised", "against": "lowered"}
#: A line of every patient's picture.
CAUTION = "Heat outside the body means that the network looks at background."
_PANEL_IN = 1.44
#: Height of a heading's line, of the gap under the heading, of the caution line; width free at the right edge: inches.
_LINE_IN, _HEAD_GAP_IN, _FOOT_IN, _RIGHT_IN = 0.15, 0.1, 0.2, 0.1
_MAX_TITLE = 56
_MAX_PATIENTS, _MAX_STAGES = 6, 4


def draw_gradcam(cams: Mapping[str, np.ndarray], evidence: str) -> bytes:
    """A row a patient: CT with tissue outlines, then the map of each stage over it, in parts of its own maximum.

    Args:
        cams: Arrays of gradcam.npz (docs/contracts.md); its first patients and stages are drawn.
        evidence: for or against.
    """
    which = cams["evidence"].tolist().index(evidence)
    stages = cams["stage"].tolist()[:_MAX_STAGES]
    n, (height, width) = min(len(cams["shown_ct"]), _MAX_PATIENTS), cams["shown_ct"].shape[1:]
    size_in = (_PANEL_IN * (1.65 + len(stages)), n * (_PANEL_IN * height / width + 0.05) + 0.75)
    with open_figure(*size_in) as figure:
        grid = _open_panels(figure, n, stages)
        for row in range(n):
            _draw_slice(grid[row, 0], cams["shown_ct"][row], cams["shown_region"][row], cams["region"].tolist())
            grid[row, 0].set_ylabel(_describe(cams, row), rotation=0, ha="right", va="center", labelpad=6)
            for column in range(len(stages)):
                _draw_map(grid[row, 1 + column], cams["shown_ct"][row], cams["shown_cam"][which, column, row])
        _add_keys(figure, grid, f"Where the score is {_TOLD[evidence]}, share of the map's maximum",
                  _find_outlined(cams["shown_region"][:n], cams["region"].tolist()))
        return to_svg(figure)


def draw_patient_gradcam(
    ct: UInt8[np.ndarray, "height width"], region: UInt8[np.ndarray, "height width"],
    maps: Mapping[str, Float[np.ndarray, "stage height width"]], stages: Sequence[str], heading: str,
) -> bytes:
    """PNG of one patient: what raises the score and what lowers it, each map in parts of its own maximum.

    Args:
        ct: On the grid of the records, window of row C1.
        region: Places in REGIONS (readout/tissue_shares.py).
        maps: By evidence, "for" and "against".
        stages: Of the maps.
        heading: Lines above the pictures.
    """
    height, width = ct.shape
    head_in = _LINE_IN * (1 + heading.count("\n")) + _HEAD_GAP_IN
    size_in = (_PANEL_IN * (1.65 + len(stages)), 2 * (_PANEL_IN * height / width + 0.05) + 0.75 + head_in + _FOOT_IN)
    with open_figure(*size_in) as figure, warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the slice name identifies the picture.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        grid = _open_panels(figure, 2, stages, head=head_in / size_in[1], foot=_FOOT_IN / size_in[1])
        for row, (evidence, told) in zip(grid, _TOLD.items(), strict=True):
            _draw_slice(row[0], ct, region, list(REGIONS))
            row[0].set_ylabel(f"Where the\nscore is\n{told}", rotation=0, ha="right", va="center", labelpad=6)
            for axes, cam in zip(row[1:], maps[evidence], strict=True):
                _draw_map(axes, ct, cam / max(float(cam.max()), np.finfo(np.float32).tiny))
        figure.text(0.5, 1 - 0.04 / size_in[1], heading, fontsize=8, ha="center", va="top").set_in_layout(False)
        figure.text(0.5, 0.05 / size_in[1], CAUTION, fontsize=7, ha="center", va="bottom").set_in_layout(False)
        _add_keys(figure, grid, "Share of the map's maximum", _find_outlined(region, list(REGIONS)))
        return to_png(figure)


def make_title(patient: str) -> str:
    """A patient_id as one line of a heading: without line ends and other controls, cut to what fits."""
    line = "".join(c if c.isprintable() else " " for c in patient)
    return line if len(line) <= _MAX_TITLE else line[: _MAX_TITLE - 1] + "…"


def _find_outlined(region: np.ndarray, names: Sequence[str]) -> list[str]:
    """Regions of which at least one slice has an outline."""
    return [name for name in _OUTLINES if (region == names.index(name)).any()]


def _open_panels(
    figure: Figure, n_rows: int, stages: Sequence[str], head: float = 0.0, foot: float = 0.0
) -> np.ndarray:
    """A column for the CT, then one per stage, each under its title; `head` and `foot` of the height stay free."""
    right = _RIGHT_IN / figure.get_figwidth()  # half of the colour bar's last tick label
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02, hspace=0, wspace=0,
                             rect=(0, foot, 1 - right, 1 - head - foot))
    grid = figure.subplots(n_rows, 1 + len(stages), squeeze=False)
    for axes, title in zip(grid[0], ("CT, tissues", *map(format_stage, stages)), strict=True):
        axes.set_title(title)
    return grid


def _describe(cams: Mapping[str, np.ndarray], row: int) -> str:
    at = cams["patient_id"].tolist().index(cams["shown_patient_id"][row])
    outcome = "metastasis" if cams["label"][at] else "no metastasis"
    return f"Fold {cams['fold'][at]}\nscore {format_number(float(cams['score'][at]), 2)}\n{outcome}"


def _draw_slice(axes: Axes, ct: np.ndarray, region: np.ndarray, names: Sequence[str]) -> None:
    _show(axes, ct)
    for name, (colour, _) in _OUTLINES.items():
        mask = region == names.index(name)
        if mask.any():
            axes.contour(mask, [0.5], colors=colour, linewidths=0.6).set_rasterized(True)


def _draw_map(axes: Axes, ct: np.ndarray, cam: np.ndarray) -> None:
    _show(axes, ct)
    values = cam.astype(np.float32)
    axes.imshow(values, cmap=_COLOURS, vmin=0, vmax=1, alpha=_OPACITY * values, interpolation="bilinear")
    if not values.any():
        axes.text(0.5, 0.5, "zero everywhere", color="white", ha="center", va="center", transform=axes.transAxes)


def _show(axes: Axes, ct: np.ndarray) -> None:
    axes.imshow(ct, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _add_keys(figure: Figure, grid: np.ndarray, label: str, outlined: Sequence[str]) -> None:
    """The colour bar, and a legend of the outlines that were drawn."""
    scale = ScalarMappable(Normalize(0, 1), _COLOURS)
    # On all panels, or those that give it room would stand lower than the others of their row.
    width = 1 - 1 / grid.shape[1]
    bar = figure.colorbar(scale, ax=grid.ravel().tolist(), location="bottom", fraction=0.03, pad=0.01, shrink=width,
                          aspect=60 * width, anchor=(1, 0.5))
    bar.set_label(label, fontsize=7)
    if not outlined:
        return
    lines = [Line2D([], [], color=_OUTLINES[name][0], label=_OUTLINES[name][1]) for name in outlined]
    # Ends left of the colour bar, which begins under the next panel with a tick label centred on its edge.
    key = grid[-1, 0].legend(handles=lines, loc="upper right", bbox_to_anchor=(0.93, -0.04), fontsize=6.5, ncols=3,
                             handlelength=1, columnspacing=0.8, borderaxespad=0, borderpad=0)
    key.set_in_layout(False)


def draw_gradcam_shares(stats: Json) -> bytes:
    """A panel a stage: share of the maps in each tissue, for and against, beside the tissue's share of the picture."""
    regions = [region["name"] for region in stats["regions"]]
    stages = stats["stages"][:_MAX_STAGES]
    with open_figure(7.2, 0.95 + 0.34 * len(regions)) as figure:
        panels = figure.subplots(1, len(stages), sharex=True, sharey=True, squeeze=False)[0]
        for axes, stage in zip(panels, stages, strict=True):
            _draw_shares(axes, [row for row in stats["rows"] if row["stage"] == stage], regions)
            axes.set(title=format_stage(stage), xlabel="Share of the map, %")
        panels[0].set_yticks(range(len(regions)), [region["label"] for region in stats["regions"]])
        panels[0].invert_yaxis()
        figure.legend(handles=panels[0].get_legend_handles_labels()[0], loc="outside upper right", ncols=3)
        return to_svg(figure)


def _draw_shares(axes: Axes, rows: Sequence[Json], regions: Sequence[str]) -> None:
    places = {"for": -0.14, "against": 0.14}
    for evidence, (colour, _), marker in zip(places, LINES, ("o", "s"), strict=False):
        found = {row["region"]: row for row in rows if row["evidence"] == evidence and row["share"] is not None}
        y = [regions.index(name) + places[evidence] for name in found]
        for at, row in zip(y, found.values(), strict=True):
            if row["share_ci95"] is not None:
                axes.plot(100 * np.array(row["share_ci95"]), [at, at], color=colour)
        axes.plot([100 * row["share"] for row in found.values()], y, marker, color=colour, markersize=4,
                  label=f"{evidence} metastasis")
    area = {row["region"]: row["area_share"] for row in rows if row["area_share"] is not None}
    axes.plot([100 * share for share in area.values()], [regions.index(name) for name in area], "|", color="black",
              markersize=15, markeredgewidth=1.2, label="share of the picture")
    axes.set_xlim(left=0)
