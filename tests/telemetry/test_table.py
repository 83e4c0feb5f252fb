"""The tables of a training: within 80 columns, whole, and unknown where nothing is known."""

from io import StringIO
from typing import Any

from rich.console import Console

from bonemet_jax.telemetry.table import print_timings


def _timing(mfu: float | None, mbu: float | None) -> dict[str, Any]:
    reasons = ("validation", "compile", "data_wait", "checkpoint", "restore", "other")
    return {
        "step_time_s": {"median_s": 0.09876, "p90_s": 12.345, "n": 24}, "images_per_s_per_device": 12345.6,
        "input": {"data_wait_share": 0.0123}, "mfu": mfu, "mbu": mbu, "seconds": 86400.0, "goodput": 0.7654,
        "badput": dict.fromkeys(reasons, 0.0391),
        "programs": {
            "train_epoch": {"n_traces": 1, "trace_s": 1.234, "lower_s": 0.5, "compile_s": 65.4321, "cache": "miss"},
            "evaluate": {"n_traces": 1, "trace_s": 0.1, "lower_s": 0.2, "compile_s": 3.0, "cache": "hit"},
        },
    }  # fmt: skip


def _print(timings: dict[str, dict[str, Any]]) -> list[str]:
    told = StringIO()
    print_timings(timings, Console(file=told, width=80))
    return told.getvalue().splitlines()


def test_three_tables_of_what_was_measured() -> None:
    lines = _print({"fold 0": _timing(0.4567, 0.25), "fold 1": _timing(None, None)})
    cells = [line.split() for line in lines]
    assert ["fold", "0", "0.0988", "12.3", "1.235e+04", "1.2%", "45.7%", "25.0%"] in cells
    assert ["fold", "1", "0.0988", "12.3", "1.235e+04", "1.2%", "unknown", "unknown"] in cells
    assert cells.count(["fold", "0", "86400.0", "76.5%", *["3.9%"] * 6]) == 1
    assert ["train_epoch", "1", "1.23", "0.50", "65.43", "miss"] in cells
    assert ["evaluate", "1", "0.10", "0.20", "3.00", "hit"] in cells
    titles = [line.strip() for line in lines if line.strip() in {"steps", "time", "compiled programs"}]
    assert titles == ["steps", "time", "compiled programs"]


def test_nothing_is_cut_at_80_columns() -> None:
    lines = _print({f"fold {i}": _timing(0.5, None) for i in range(3)})
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_a_wait_that_was_not_measured_is_unknown() -> None:
    timing = _timing(0.5, 0.5) | {"input": {"data_wait_share": None}}
    assert ["fold", "0", "0.0988", "12.3", "1.235e+04", "unknown", "50.0%", "50.0%"] in [
        line.split() for line in _print({"fold 0": timing})
    ]
