"""Profiles: real ones, on the CPU, hold operations and the updates asked for, and no other."""

import gzip
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from bonemet_jax.errors import UsageError
from bonemet_jax.telemetry.observe import TraceWindow, parse_window
from bonemet_jax.telemetry.trace import Tracer

N_CALLS = 6


@jax.jit
def update(x: jax.Array) -> jax.Array:
    """A program whose operations can be found by its name, slow enough that one not waited for would be missed."""
    return jnp.tanh(x @ x) / 2


def _train(tracer: Tracer, n_updates_a_call: int = 1) -> None:
    state = update(jnp.ones((1000, 1000)))
    for _ in range(N_CALLS):
        with tracer.step(state, n_updates_a_call):
            state = update(state)
        tracer.after(state)
    tracer.close()


def _load_events(directory: Path) -> list[dict[str, Any]]:
    (path,) = directory.rglob("perfetto_trace.json.gz")
    loaded = json.loads(gzip.decompress(path.read_bytes()))
    return loaded["traceEvents"] if isinstance(loaded, dict) else loaded


def _traced_steps(events: list[dict[str, Any]]) -> list[int]:
    return [int(event["args"]["step_num"]) for event in events if event.get("name") == "train"]


def _count_runs(events: list[dict[str, Any]]) -> int:
    """Runs of `update` of which an operation was seen."""
    named = [event.get("args", {}) for event in events]
    return len({args["run_id"] for args in named if args.get("hlo_module") == "jit_update" and args.get("hlo_op")})


def test_the_asked_steps_and_their_operations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(Tracer(TraceWindow(2, 3), tmp_path))
    events = _load_events(tmp_path)
    assert _traced_steps(events) == [2, 3, 4]
    assert _count_runs(events) == 3
    assert list(tmp_path.rglob("*.xplane.pb"))
    assert capsys.readouterr().err == f"profile written; {tmp_path}\n"


def test_updates_of_one_program_are_traced_together(tmp_path: Path) -> None:
    _train(Tracer(TraceWindow(12, 15), tmp_path), n_updates_a_call=10)
    events = _load_events(tmp_path)
    assert _traced_steps(events) == [10, 20]
    assert _count_runs(events) == 2


def test_an_end_within_the_window_keeps_what_there_is(tmp_path: Path) -> None:
    _train(Tracer(TraceWindow(N_CALLS - 1, 100), tmp_path))
    assert _traced_steps(_load_events(tmp_path)) == [N_CALLS - 1]


def test_a_training_that_is_too_short_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(Tracer(TraceWindow(N_CALLS, 1), tmp_path))
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err.startswith(f"note: no profile, the training ended after {N_CALLS} updates")


def test_nothing_is_written_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(Tracer(None, tmp_path))
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().err


def test_windows_in_words() -> None:
    assert parse_window("10:5") == TraceWindow(10, 5)
    assert parse_window("0:1") == TraceWindow(0, 1)


@pytest.mark.parametrize("text", ["", "5", "1:0", "-1:2", "1:2:3", "a:b", "1 : 2", "1:2\n", "1.0:2"])
def test_no_windows(text: str) -> None:
    with pytest.raises(UsageError, match="no START:STEPS"):
        parse_window(text)
