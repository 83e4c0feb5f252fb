"""What a training cost, as a table on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

#: Reasons as they fit into 80 columns.
_SHORT = {"validation": "valid.", "data_wait": "data", "checkpoint": "saving", "restore": "load", "profile": "trace"}


def make_step_table(timings: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a training: step time, throughput, waits, utilisation.

    Args:
        timings: timing.json by the training's name.
    """
    table = _make_table("steps", "", "median s", "p90 s", "images/s/device", "data wait", "MFU", "MBU")
    for name, timing in timings.items():
        step = timing["step_time_s"]
        table.add_row(
            name, f"{step['median_s']:.3g}", f"{step['p90_s']:.3g}", f"{timing['images_per_s_per_device']:.4g}",
            *map(_percent, (timing["input"]["data_wait_share"], timing["mfu"], timing["mbu"])),
        )  # fmt: skip
    return table


def make_time_table(timings: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a training: seconds, the share of steps (goodput), and of everything else (badput)."""
    reasons = list(next(iter(timings.values()))["badput"])
    table = _make_table("time", "", "seconds", "goodput", *(_SHORT.get(reason, reason) for reason in reasons))
    for name, timing in timings.items():
        shares = [timing["goodput"], *(timing["badput"][reason] for reason in reasons)]
        table.add_row(name, f"{timing['seconds']:.1f}", *map(_percent, shares))
    return table


def make_program_table(programs: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a compiled program: seconds of each phase, and whether the cache had it."""
    table = _make_table("compiled programs", "", "traces", "trace s", "lower s", "compile s", "cache")
    for name, program in programs.items():
        seconds = (f"{program[phase]:.2f}" for phase in ("trace_s", "lower_s", "compile_s"))
        table.add_row(name, str(program["n_traces"]), *seconds, program["cache"])
    return table


def print_timings(timings: Mapping[str, Mapping[str, Any]], console: Console | None = None) -> None:
    """All three tables, on standard error unless told otherwise; programs are those of the last training."""
    console = console or Console(stderr=True)
    programs = list(timings.values())[-1]["programs"]
    for table in (make_step_table(timings), make_time_table(timings), make_program_table(programs)):
        console.print(table)


def _make_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    return table


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f}%"
