"""Calls from Python leave the process as it was: signals, logging, warnings, environment, streams, jax, threads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("where", "group"), [
    ("main", "light"), ("worker", "light"), ("main", "heavy"), pytest.param("worker", "heavy", marks=pytest.mark.slow),
])  # fmt: skip
@pytest.mark.every_change
def test_calls_leave_the_process_as_it_was(where: str, group: str, tmp_path: Path) -> None:
    """From the main thread and from another one, errors included."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.process.calls", where, group, str(tmp_path)], cwd=ROOT, capture_output=True,
        encoding="utf-8", timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    changed = json.loads(done.stdout.splitlines()[-1])
    assert len(changed) >= 7 and not any(changed.values()), json.dumps(changed, indent=1)
