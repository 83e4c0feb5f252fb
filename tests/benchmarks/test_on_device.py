"""The check of one device, rehearsed on the CPU at toy size: what ran, what did not and why, wrong numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks.on_device import exact, run
from benchmarks.on_device.plan import CHECKS
from bonemet_jax import artifacts

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "benchmarks" / "record.schema.json").read_text())
#: PyTorch's part is skipped where it is missing; what is left out here takes longer than all of these together.
REHEARSED = ("channels", "step", "trace", "torch", "plain_normalisation", "epoch", "dispatch")


def read_facts(out: Path) -> dict[str, Any]:
    """facts.json, after its folder has been held to what is promised."""
    files = list(out.iterdir())
    assert {"facts.json", "summary.md", "log.txt"} <= {file.name for file in files} and len(files) <= 5
    assert all(file.is_file() and file.stat().st_size <= 16 * 2**20 for file in files)
    return artifacts.load_json(out / "facts.json")


@pytest.mark.every_change
def test_rehearsal(tmp_path: Path) -> None:
    env = os.environ | {"PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        ["bash", "benchmarks/device.sh", "--out", str(tmp_path / "out"), "--minutes", "6", "--quick",
         "--checks", *REHEARSED], cwd=ROOT, env=env, text=True, capture_output=True, timeout=420, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    facts = read_facts(tmp_path / "out")
    assert list(facts["checks"]) == sorted(REHEARSED) and facts["device"]["platform"] == "cpu"
    states = {name: one["status"] for name, one in facts["checks"].items()}
    assert states.pop("torch") in ("done", "not run") and set(states.values()) == {"done"}
    assert facts["checks"]["channels"]["lbp_mismatched_pixels"] == 0
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    for record in records:
        jsonschema.validate(record, SCHEMA)
    assert {record["benchmark"] for record in records} == {"step_time", "epoch", "dispatch"}
    assert (tmp_path / "out" / "trace.tar.gz").stat().st_size > 1000
    assert "Toy sizes" in (tmp_path / "out" / "summary.md").read_text()


def test_without_time_every_check_is_listed_as_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--out", str(tmp_path / "out"), "--minutes", "0.1"]) == 0
    checks = read_facts(tmp_path / "out")["checks"]
    assert set(checks) == set(CHECKS) and {one["status"] for one in checks.values()} == {"not run"}
    assert checks["step"]["reason"] == "0 s left, at least 35 wanted"
    assert capsys.readouterr().out.count("not run") == len(CHECKS)


def test_a_folder_with_results_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "facts.json").write_text("{}")
    assert run.main(["--out", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err and [f.name for f in tmp_path.iterdir()] == ["facts.json"]


@pytest.mark.parametrize(("script", "seconds", "status", "reason"), [
    ("import time; time.sleep(60)", 1, "stopped", "time was up"),
    ("raise MemoryError('out of device memory')", 30, "failed", "MemoryError: out of device memory"),
    ("import os; os.abort()", 30, "failed", "exit code -6"),
])  # fmt: skip
def test_how_a_check_ends_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float, status: str, reason: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (tmp_path / "scratch").mkdir()
    with open(tmp_path / "log.txt", "wb") as log:
        ended = run.run_check("step", True, seconds, tmp_path / "scratch", tmp_path, log)
    assert (ended["status"], ended["reason"]) == (status, reason)


def test_wrong_numbers_end_with_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_check(name: str, *_: Any) -> dict[str, Any]:
        return {"status": "wrong" if name == "channels" else "done", "seconds": 1.0}

    monkeypatch.setattr(run, "run_check", run_check)
    assert run.main(["--out", str(tmp_path / "a"), "--checks", "step"]) == 0
    assert run.main(["--out", str(tmp_path / "b"), "--checks", "channels", "step"]) == 1


@pytest.mark.parametrize(("changed", "field"), [("lbp", "lbp_equal_to_cpu"), ("hog_sum", "hog_difference_from_cpu")])
def test_channels_unlike_the_cpus_are_not_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, field: str
) -> None:
    monkeypatch.setattr(exact, "_digest", lambda codes: "as saved")
    monkeypatch.setattr(exact.importlib.util, "find_spec", lambda name: None)
    saved = {"lbp": "as saved", "hog_sum": artifacts.load_json(exact.EXPECTED)["channels"]["hog_sum"]}
    for channels, sound in ((saved, True), (saved | {changed: "1" if changed == "lbp" else 1.5e6}, False)):
        artifacts.write_json(tmp_path / "expected.json", {"channels": channels})
        monkeypatch.setattr(exact, "EXPECTED", tmp_path / "expected.json")
        found = exact.check_channels()
        assert found["passed"] is sound and field in found


@pytest.mark.slow
def test_a_float64_step_is_that_of_the_saved_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a jax that did not save them; a difference in the eighth place is told."""
    found = exact.check_parity()
    assert found["passed"] and found["plain"]["difference"] < 1e-10
    saved = artifacts.load_json(exact.EXPECTED)
    saved["step"]["loss"][0] *= 1 + 1e-7
    artifacts.write_json(tmp_path / "expected.json", saved)
    monkeypatch.setattr(exact, "EXPECTED", tmp_path / "expected.json")
    assert not exact.check_parity()["passed"]


def test_checks_are_in_order_of_value_and_fit_their_time() -> None:
    assert list(CHECKS)[:3] == ["channels", "parity", "step"]
    assert sum(check.seconds for check in list(CHECKS.values())[:8]) <= 8 * 60
