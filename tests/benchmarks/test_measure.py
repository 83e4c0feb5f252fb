"""The benchmark of `measure` at toy size."""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main


@pytest.mark.every_change
def test_quick_measure_writes_throughput_and_memory(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["measure", "--quick", "--json", str(out)]) == 0
    records = {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}
    assert list(records) == ["slices_per_s_1p", "peak_memory_1p", "slices_per_s_2p", "peak_memory_2p"]
    assert all(record["median"] > 0 and record["quick"] for record in records.values())
    assert records["slices_per_s_1p"]["quality"]["median_trunk_cm2"] > 300, "a trunk of the phantom"
    # One process more, each with its imports, and far below 1 GiB.
    assert 100 < records["peak_memory_1p"]["median"] < records["peak_memory_2p"]["median"] < 1024
