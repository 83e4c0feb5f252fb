"""The benchmark of XGBoost at toy size; where a GPU starts to pay."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import xgboost

from benchmarks import gbdt
from benchmarks.__main__ import main


def test_quick_gbdt_says_why_there_is_no_gpu(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["gbdt", "--quick", "--json", str(out)]) == 0
    records = {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}
    ways = [f"cpu_{threads}t" for threads in sorted({1, os.cpu_count() or 1})]
    cuda = records["train_s_cpu_1t_100"]["parameters"]["cuda"]
    if not xgboost.build_info()["USE_CUDA"]:
        assert cuda.startswith("skipped: this xgboost is built without CUDA") and "crossover_rows" not in records
    wanted = {f"{verb}_s_{way}_{n}" for verb in ("train", "predict") for way in ways for n in (100, 400)}
    assert wanted <= set(records)
    for name in wanted:
        assert records[name]["median"] > 0 and records[name]["quality"]["auc_of_fresh_rows"] > 0.5
    assert records["train_s_cpu_1t_400"]["parameters"]["nthread"] == 1


def test_rows_are_what_they_say() -> None:
    x, label = gbdt.make_rows(5000)
    assert x.shape == (5000, 40) and x.dtype == np.float32 and 0.08 < label.mean() < 0.16
    assert set(gbdt.make_rows(3)[1]) == {0.0, 1.0}


@pytest.mark.parametrize(("cuda_s", "wanted"), [
    ([1.0, 1.0, 1.0], 10_000.0),  # 0.1, 1, 10 s on the CPU: equal at the second size, faster after it
    ([10.0, 10**0.5, 1.0], 10 ** (4 + 1 / 3)),  # behind by half a decade, then ahead by one: a third of the way
    ([0.01, 0.01, 0.01], None), ([20.0, 20.0, 20.0], None),
])
def test_crossover_is_where_the_lines_meet(cuda_s: list[float], wanted: float | None) -> None:
    """Straight lines between sizes in logarithms: known meeting points."""
    found = gbdt.find_crossover([1000, 10_000, 100_000], [0.1, 1.0, 10.0], cuda_s)
    assert found == (wanted if wanted is None else pytest.approx(wanted))


def test_crossover_takes_the_faster_cpu_way() -> None:
    def measurement(device: str, threads: int, rows: int, seconds: float) -> gbdt.Measurement:
        asked = {"device": device, "nthread": threads, "rows": rows}
        return gbdt.Measurement("gbdt", f"train_{device}_{threads}_{rows}", "s", "lower", [seconds], asked, gbdt.CONFIG)

    found = [measurement("cpu", t, n, s) for t, times in ((1, (0.1, 9.0)), (2, (0.4, 4.0)))
             for n, s in zip((100, 10_000), times, strict=True)]
    found += [measurement("cuda", 2, n, s) for n, s in ((100, 1.0), (10_000, 0.4))]
    crossover, = gbdt.measure_crossover(found, {"cuda": "measured"})
    assert crossover.samples == [pytest.approx(1000)]  # CPU 0.1 and 4 s, GPU 1 and 0.4 s: ten times each way
    assert gbdt.measure_crossover(found, {"cuda": "skipped: none"}) == []
