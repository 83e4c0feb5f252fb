"""What a training cost, as a table on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def make_step_table(timings: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a training: step time, throughput, waits, utilisation, and where its time went.

    Args:
        timings: timing.json by the training's name.
    """
    table = Table(title="training", title_justify="left")
    for name in ("", "step s", "p90", "images/s/device", "data wait", "MFU", "MBU", "goodput", "badput"):
        table.add_column(name, justify="right" if name not in ("", "badput") else "left")
    for name, timing in timings.items():
        step, badput = timing["step_time_s"], timing["badput"]
        told = ", ".join(f"{reason} {_percent(share)}" for reason, share in badput.items() if share >= 0.005)
        table.add_row(
            name, f"{step['median_s']:.3g}", f"{step['p90_s']:.3g}", f"{timing['images_per_s_per_device']:.4g}",
            _percent(timing["input"]["data_wait_share"]), _percent(timing["mfu"]), _percent(timing["mbu"]),
            _percent(timing["goodput"]), told,
        )  # fmt: skip
    return table


def make_program_table(programs: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a compiled program: seconds of each phase, and whether the cache had it."""
    table = Table(title="compiled programs", title_justify="left")
    for name in ("", "traces", "trace s", "lower s", "compile s", "cache"):
        table.add_column(name, justify="left" if name in ("", "cache") else "right")
    for name, program in programs.items():
        seconds = (f"{program[phase]:.2f}" for phase in ("trace_s", "lower_s", "compile_s"))
        table.add_row(name, str(program["n_traces"]), *seconds, program["cache"])
    return table


def print_timings(timings: Mapping[str, Mapping[str, Any]], console: Console | None = None) -> None:
    """Both tables, on standard error unless told otherwise; programs are those of the last training."""
    if not timings:
        return
    console = console or Console(stderr=True)
    console.print(make_step_table(timings))
    console.print(make_program_table(list(timings.values())[-1]["programs"]))


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"
