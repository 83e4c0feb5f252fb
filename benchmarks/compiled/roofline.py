"""What limits a compiled program on its target: memory, matrix units or the links between devices; table and plot."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.compiled.targets import Target
from bonemet_jax import artifacts

Resource = Literal["memory", "matrix units", "links"]

#: Rows of the table in the order in which a step runs them.
_ORDER = ("gather", "channels", "stem", "stage1", "stage2", "stage3", "stage4", "head", "gradient_sum", "update")
#: What takes less of the least time than this is in the table, not in the plot.
_SHOWN = 0.005


class Row(NamedTuple):
    """One stage in one pass, on one device."""

    name: str
    n_bytes: int
    flops: int
    sent: int
    """Bytes of collectives' results."""
    seconds: dict[Resource, float]
    """That each resource alone would take; empty where the target's peak is not known."""

    @property
    def limit(self) -> Resource | None:
        """The resource that takes longest."""
        return max(self.seconds, key=lambda name: self.seconds[name]) if self.seconds else None

    @property
    def least_s(self) -> float:
        """Seconds that it takes at least."""
        return max(self.seconds.values(), default=0.0)


def make_rows(target: Target, figures: dict[str, Any], dtype: str) -> list[Row]:
    """A row for each stage and pass, and one for the whole program, last."""
    stages = figures["stages"]
    names = sorted(stages, key=lambda name: ("backward" in name, _rank(name), name))
    total = {key: sum(stages[name][key] for name in names) for key in ("bytes", "flops", "sent")}
    return [_make_row(target, name, found, dtype) for name, found in [*((n, stages[n]) for n in names), ("all", total)]]


def compute_ceiling(rows: list[Row], n_images: int) -> tuple[float, float] | None:
    """Images/s of one device at most, of a call with so many on each: were all work one pool, and with each stage after
    the other; None: not known."""
    *stages, whole = rows
    if not whole.seconds:
        return None
    return n_images / whole.least_s, n_images / sum(row.least_s for row in stages)


def _rank(name: str) -> int:
    place = next((i for i, stage in enumerate(_ORDER) if name.startswith(stage)), len(_ORDER))
    return -place if "backward" in name else place


def _make_row(target: Target, name: str, found: dict[str, int], dtype: str) -> Row:
    seconds: dict[Resource, float] = {}
    if (peak := target.peak) is not None:
        tflops = peak.bfloat16_tflops if dtype == "bfloat16" else peak.float32_tflops
        seconds["memory"] = found["bytes"] / (peak.bandwidth_gb_s * 1e9)
        if tflops is not None:
            seconds["matrix units"] = found["flops"] / (tflops * 1e12)
        if target.link is not None:  # a ring sends and receives nearly every byte twice
            seconds["links"] = found["sent"] * 2 * (1 - 1 / target.n_devices) / (target.link.gb_s * 1e9)
    return Row(name, found["bytes"], found["flops"], found["sent"], seconds)


def plot_roofline(path: Path, target: Target, title: str, rows: list[Row], dtype: str) -> None:
    """Draw the target's roof and each stage under it, as SVG. Only for a target whose peak is known."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    peak = target.peak
    if peak is None:
        return
    roof = peak.bfloat16_tflops if dtype == "bfloat16" else (peak.float32_tflops or peak.bfloat16_tflops)
    shown = [row for row in rows if row.flops and row.n_bytes and row.least_s >= _SHOWN * rows[-1].least_s]
    with mpl.rc_context({"svg.hashsalt": target.name, "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
        _draw_roof(axes, peak.bandwidth_gb_s, roof, [row.flops / row.n_bytes for row in shown])
        _draw_rows(axes, shown, rows[-1].least_s)
        axes.set(xscale="log", yscale="log", xlabel="FLOP per byte of memory traffic", ylabel="TFLOP/s at most",
                 title=title)  # fmt: skip
        axes.grid(alpha=0.25, which="both", linewidth=0.5)
        with artifacts.atomic_path(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})
        plt.close(figure)


def _draw_roof(axes: Any, bandwidth_gb_s: float, roof: float, intensities: list[float]) -> None:
    ridge = roof * 1e3 / bandwidth_gb_s
    low, high = min([*intensities, ridge]) / 2, max([*intensities, ridge]) * 2
    axes.plot([low, ridge, high], [low * bandwidth_gb_s / 1e3, roof, roof], color="black", linewidth=1.2)
    axes.annotate(f"{bandwidth_gb_s / 1e3:.3g} TB/s", (low, low * bandwidth_gb_s / 1e3), xytext=(12, 2),
                  textcoords="offset points")  # fmt: skip
    axes.annotate(f"{roof:.4g} TFLOP/s", (high, roof), xytext=(0, -11), textcoords="offset points", ha="right")


def _draw_rows(axes: Any, rows: list[Row], whole_s: float) -> None:
    """Each stage at what its limiting resource lets it reach, its name beside the roof; area: its share of the time."""
    backward = [row for row in rows if "backward" in row.name]
    for group, x, top, align, color in (
        ([row for row in rows if row not in backward], 0.36, 0.96, "right", "tab:blue"),
        (backward, 0.72, 0.50, "left", "tab:orange"),
    ):
        for i, row in enumerate(sorted(group, key=lambda row: -row.flops / row.least_s)):
            at = (row.flops / row.n_bytes, row.flops / row.least_s / 1e12)
            whole = row.name == "all"
            axes.scatter(*at, s=30 if whole else 12 + 400 * row.least_s / whole_s, marker="D" if whole else "o",
                         color="black" if whole else color, alpha=0.6, linewidths=0)  # fmt: skip
            line = {"arrowstyle": "-", "linewidth": 0.4, "relpos": (1 if align == "right" else 0, 0.5)}
            axes.annotate(f"{row.name}, {row.least_s * 1e3:.3g} ms", at, xytext=(x, top - 0.075 * i), ha=align,
                          textcoords="axes fraction", va="center", arrowprops=line)  # fmt: skip
