"""Cold and warm compiles, at toy size."""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main


@pytest.mark.slow
def test_quick_compile_is_faster_from_the_cache(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["compile", "--quick", "--json", str(out)]) == 0
    records = {r["metric"]: r for r in map(json.loads, out.read_text().splitlines())}
    seconds = {name: records[f"{name}_s"]["median"]
               for name in ("unrolled_cold", "unrolled_warm", "scanned_cold", "scanned_warm")}
    assert seconds["unrolled_warm"] < seconds["unrolled_cold"] and seconds["scanned_warm"] < seconds["scanned_cold"]
    ratio = records["unrolled_warm_over_unrolled_cold"]["ratio"]
    assert ratio == pytest.approx(seconds["unrolled_warm"] / seconds["unrolled_cold"])
