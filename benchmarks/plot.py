"""`python -m benchmarks plot RECORDS.jsonl [...] -o DIR`: each number over the commits, step time over devices, as SVG.

history_BENCHMARK.svg: a panel a number, its median and 95 % interval at every commit in the order of the files, the
last record of a commit; `_quick` in the name: toy sizes. scaling.svg: where there are records of `scaling`. Rooflines
are drawn by `aot --plot`. Exit codes: 0 written; 2 usage; 4 not a file of records.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import outputs
from benchmarks.record import Record, find_latest, format_commit, load_records, name_metric, series_key
from bonemet_jax import artifacts
from bonemet_jax.errors import BonemetError
from bonemet_jax.output_paths import check_folder_entries
from bonemet_jax.report.drawing import LINES, open_figure, to_svg

_COLUMNS = 3
#: Commits that are named below a panel at most; beyond, every second, third ... is.
_NAMED = 8


def main(argv: Sequence[str]) -> int:
    """Draw all; returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks plot", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("records", type=outputs.local_path, nargs="+", help="JSON-lines files of --json, oldest first")
    parser.add_argument("-o", "--out", type=outputs.local_path, required=True, help="folder for the drawings")
    args = parser.parse_args(argv)
    try:
        check_folder_entries(args.out, outputs.DRAWINGS, args.records, "--out")
        for path in plot_all(load_records(args.records), args.out):
            print(path)
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def plot_all(records: list[Record], out: Path) -> list[Path]:
    """Every drawing that these records allow."""
    paths = []
    for name, quick in dict.fromkeys((record["benchmark"], record["quick"]) for record in records):
        own = [record for record in records if (record["benchmark"], record["quick"]) == (name, quick)]
        ending = "_quick" if quick else ""
        paths.append(plot_history(own, out / f"history_{name}{ending}.svg"))
        if name == "scaling":
            paths.append(plot_scaling(own, out / f"scaling{ending}.svg"))
    return paths


# --- Over commits ---------------------------------------------------------------------------------------


def plot_history(records: list[Record], path: Path) -> Path:
    """A panel for each number of one benchmark."""
    series: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        series.setdefault(series_key(record), []).append(record)
    commits = list(dict.fromkeys(map(format_commit, records)))
    n_rows = -(-len(series) // _COLUMNS)
    with open_figure(10.5, 0.5 + 1.9 * n_rows) as figure:
        figure.suptitle(_title(records), fontsize=9)
        for i, own in enumerate(series.values()):
            _draw_series(figure.add_subplot(n_rows, _COLUMNS, i + 1), own, commits)
        artifacts.write_bytes(path, to_svg(figure))
    return path


def _title(records: list[Record]) -> str:
    quick = ", toy size: not results" if records[0]["quick"] else ""
    return f"{records[0]['benchmark']}: median and 95 % interval by commit{quick}"


def _draw_series(axes: Any, records: list[Record], commits: list[str]) -> None:
    """The last record of each commit, at the commit's place."""
    latest = {format_commit(record): record for record in records}
    at = [commits.index(commit) for commit in latest]
    middle, bars = zip(*map(find_middle, latest.values()), strict=True)
    color, _ = LINES[0]
    axes.errorbar(at, middle, yerr=list(zip(*bars, strict=True)), color=color, marker="o", markersize=3, capsize=2,
                  elinewidth=0.8)  # fmt: skip
    step = -(-len(commits) // _NAMED)
    axes.set_xticks(range(0, len(commits), step), commits[::step], rotation=30, ha="right", fontsize=6)
    axes.set_xlim(-0.5, len(commits) - 0.5)
    axes.set_ylim(*_make_room(middle, bars))
    last = records[-1]
    unit = "ratio" if last["ratio"] is not None else "share" if last["unit"] == "1" else last["unit"]
    axes.set_ylabel(f"{unit} ({last['better']} is better)", fontsize=6.5)
    axes.set_title(f"{name_metric(last)}\n{last['device']['count']} x {last['device']['kind']}", fontsize=7)


def find_middle(record: Record) -> tuple[float, tuple[float, float]]:
    """The median, of a ratio the ratio of both, and how far its interval reaches below and above; 0 without one."""
    is_ratio = record["ratio"] is not None
    middle, ends = (record["ratio"], record["ci95"]) if is_ratio else (record["median"], record["interval"])
    low, high = ends or (middle, middle)
    return middle, (max(middle - low, 0.0), max(high - middle, 0.0))


def _make_room(middle: Sequence[float], bars: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """From zero where all is above it: a panel must not make a hundredth look like a half."""
    low = min(m - bar[0] for m, bar in zip(middle, bars, strict=True))
    high = max(m + bar[1] for m, bar in zip(middle, bars, strict=True))
    return min(0.0, 1.1 * low), max(0.0, 1.1 * high) or 1.0


# --- Over devices ---------------------------------------------------------------------------------------


def plot_scaling(records: list[Record], path: Path) -> Path:
    """Step time of each wrapper over the number of devices, and what it would be at best."""
    times = [record for record in find_latest(records) if record["ratio"] is None]
    base = next(record for record in times if record["parameters"]["devices"] == 1)
    counts = sorted({record["parameters"]["devices"] for record in times})
    asked, are_virtual = base["parameters"], base["device"]["platform"] == "cpu"
    with open_figure(5.6, 3.6) as figure:
        axes = figure.add_subplot()
        for i, parallel in enumerate(dict.fromkeys(record["parameters"]["parallel"] for record in times)):
            own = [record for record in times if record is base or record["parameters"]["parallel"] == parallel]
            _draw_wrapper(axes, own, parallel, i)
        if are_virtual:
            axes.plot(counts, [base["median"]] * len(counts), color="black", linewidth=0.8,
                      label="ideal on shared cores: no overhead")
        steps = np.geomspace(1, counts[-1])
        axes.plot(steps, base["median"] / steps, color="black", linewidth=0.8, linestyle=":",
                  label="ideal if each device had cores of its own" if are_virtual else "ideal")
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(n) for n in counts])
        where = "virtual devices on this machine's cores" if are_virtual else f"devices, {base['device']['kind']}"
        axes.set(xlabel=where, ylabel="seconds a step, 95 % interval")
        axes.set_ylim(bottom=0)
        quick = ", toy size: not results" if base["quick"] else ""
        axes.set_title(f"one batch of {asked['batch_size']}, {asked['network']} at {asked['height']} x "
                       f"{asked['width']}{quick}")  # fmt: skip
        figure.legend(loc="outside lower center", ncols=2)
        artifacts.write_bytes(path, to_svg(figure))
    return path


def _draw_wrapper(axes: Any, records: list[Record], parallel: str, i: int) -> None:
    """One wrapper, from jit's time on one device; moved aside a little so that bars do not hide each other."""
    color, dash = LINES[i]
    middle, bars = zip(*map(find_middle, records), strict=True)
    at = [record["parameters"]["devices"] * (1 + 0.03 * (i - 1)) for record in records]
    axes.errorbar(at, middle, yerr=list(zip(*bars, strict=True)), color=color, linestyle=dash, marker="o",
                  markersize=3, capsize=2, elinewidth=0.8, label=parallel)  # fmt: skip
