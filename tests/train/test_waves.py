"""Three folds on eight virtual devices, side by side: what they leave is what they leave one after another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.test_parallel import FLAGS, ROOT


@pytest.mark.slow
def test_folds_on_a_mesh_leave_what_sequential_ones_leave(tmp_path: Path) -> None:
    env = os.environ | {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "tests/train/eight_devices_folds.py", tmp_path]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["rows"] == 9 and found["metrics"] < 1e-9 and found["embedding"] < 1e-6
    assert found["files"] and found["resumed_after"] == 1 and found["resumed_equal"]
    assert found["n_traces"] == {"train": 1, "evaluate": 1}
    assert done.stderr.count("note: 2 of 8 devices stand idle: 3 groups of 2 train") == 1
    assert "fold 0, fold 1, fold 2: going on after epoch 1" in done.stderr
