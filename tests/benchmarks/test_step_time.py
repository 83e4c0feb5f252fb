"""The door of the benchmarks, at toy size."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, COMMANDS, main
from benchmarks.harness import Options
from benchmarks.record import SCHEMA_FILE
from benchmarks.step_time import find_peer

FIELDS = set(json.loads(SCHEMA_FILE.read_text())["properties"])


def test_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*BENCHMARKS, *COMMANDS]
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.every_change
def test_quick_step_time_writes_whole_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["step_time", "--quick", "--device", "cpu", "--json", str(out)]) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    peers = ["step_time_s_torch", "step_core_s_torch", "speedup_vs_torch", "speedup_per_core_vs_torch"]
    wanted = ["step_time_s", "images_per_s", "step_core_s", *(peers if find_spec("torch") else [])]
    assert [r["metric"] for r in records] == wanted
    for record in records:
        assert set(record) == FIELDS
        assert record["n"] == len(record["samples"]) == 3 and record["quick"] is True
        assert math.isfinite(record["quality"]["loss"]) and record["median"] > 0
    assert "quick: not a result" in capsys.readouterr().out


def test_without_torch_our_figures_stand_alone_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_peer(Options()) == "skipped: not installed (make peers)"


def test_a_peer_that_is_not_asked_for_is_left_out() -> None:
    wanted = "not asked for" if find_spec("torch") else "not installed (make peers)"
    assert find_peer(Options(peers=frozenset({"nnx"}))) == f"skipped: {wanted}"


def test_refuses_a_device_it_was_not_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["step_time", "--quick", "--device", "tpu", "--json", str(out)]) == 3
    assert "asked for tpu" in capsys.readouterr().err and not out.exists()


def test_readme_explains_every_field() -> None:
    readme = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    assert not [name for name in FIELDS if f"`{name}`" not in readme]
