"""jit, shard_map and pmap on eight virtual devices, and members side by side: one device's numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# The module's fixture trains networks for tens of seconds.
pytestmark = pytest.mark.every_change

ROOT = Path(__file__).parents[2]
#: Programs of a test run for milliseconds and compile for seconds: level 0 compiles them in a third of the time.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
Checks = dict[str, dict[str, Any]]


def _run(part: str) -> Checks:
    """Figures of each check, and the table of collectives printed."""
    env = os.environ | {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "tests/train/eight_devices.py", part]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    checks = {found.pop("check"): found for found in map(json.loads, done.stdout.splitlines())}
    for name, found in checks.items():
        spread = "".join(f" {key} {found[key]:.1e}" for key in ("gradients", "updates", "statistics") if key in found)
        print(f"{name:<28} {found.get('bytes', 0):>9} bytes {found.get('collectives', {})}{spread}")
    return checks


@pytest.fixture(scope="module")
def fast() -> Checks:
    """What fits in half a minute."""
    return _run("fast")


def _check_equal(found: dict[str, Any]) -> None:
    """Float64: rounding alone, one trace, the whole state given up to the step."""
    assert found.get("gradients", 0) < 1e-9 and found["statistics"] < 1e-9
    assert found["updates"] < 1e-7
    assert found["n_traces"] == 1 and found["alias_bytes"] == found["state_bytes"]


@pytest.mark.parametrize("parallel", ["jit", "shard_map", "pmap"])
def test_eight_devices_are_one(fast: Checks, parallel: str) -> None:
    _check_equal(fast[f"wrapper {parallel}"])


def test_pmap_and_shard_map_say_the_same_to_each_other(fast: Checks) -> None:
    one, other = fast["wrapper shard_map"], fast["wrapper pmap"]
    assert one["collectives"] == other["collectives"] and one["bytes"] == other["bytes"]
    assert set(one["collectives"]) == {"all-reduce/f64", "all-reduce/f32"}, "f32: the number of examples"


@pytest.mark.parametrize("parallel", ["jit", "shard_map"])
def test_members_on_a_mesh_are_members_one_after_another(fast: Checks, parallel: str) -> None:
    """Unequal numbers of steps, other seeds, rates and class weights; no word between the groups of devices."""
    found = fast[f"folds {parallel} mesh 8"]
    _check_equal(found)
    assert found["groups"] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_remainder_is_the_exact_mean(fast: Checks) -> None:
    found = fast["remainder 8"]
    assert found["n"] == 38 and found["each_once"] and found["evaluated_once"]
    assert found["gradients"] < 1e-9


@pytest.mark.parametrize("parallel", ["jit", "shard_map"])
def test_bfloat16_gradients_cross_the_devices_as_such(fast: Checks, parallel: str) -> None:
    sums = fast[f"gradients {parallel} compute"]["bytes_by_dtype"]
    assert sums["bf16"] > 100 * sums["f32"] > 0


@pytest.mark.slow
def test_the_rest() -> None:
    checks = _run("slow")
    equal = [name for name in checks if name.split()[0] in ("wrapper", "scan", "folds")]
    assert len(equal) == 3 + 3 + 4
    for name in equal:
        _check_equal(checks[name])
    assert checks["folds jit vmap 1"]["collectives"] == {}
    assert checks["folds jit mesh 2"]["collectives"] == {}
    assert checks["remainder 1"]["gradients"] < 1e-9
    compute, high = (checks[f"gradients pmap {dtype}"]["bytes_by_dtype"] for dtype in ("compute", "float32"))
    assert compute["bf16"] > 100 * compute["f32"] and "bf16" not in high
    assert "bf16" not in checks["gradients shard_map float32"]["bytes_by_dtype"]
    for parallel in ("shard_map", "pmap"):
        local, frozen = checks[f"norm {parallel} local"], checks[f"norm {parallel} frozen"]
        assert local["equal"] and local["moved"] and frozen["equal"] and not frozen["moved"]
        # the number of examples, and all else at once: gradients, the loss, and running statistics where they move
        assert frozen["collectives"] == {"all-reduce/f32": 2} and local["collectives"] == {"all-reduce/f32": 2}
