"""The benchmark of the input pipeline at toy size; PyTorch's part where it is installed."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import input as input_benchmark
from benchmarks.__main__ import main
from benchmarks.peers.tf_data import make_dataset
from bonemet_jax.input_pipeline.shards import open_records

WAITS = ("wait_share", "loading_over_idle", "images_per_s")


@pytest.mark.slow
def test_quick_run_without_pytorch_says_that_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "benchmarks.peers.torch_loader", raising=False)
    out = tmp_path / "records.jsonl"
    assert main(["input", "--quick", "--json", str(out)]) == 0
    assert "PyTorch is not installed" in capsys.readouterr().err
    records = {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}
    assert not [metric for metric in records if "torch" in metric]
    assert records["images_per_core_s_ours"]["parameters"]["peers"]["torch"].startswith("skipped")
    ratio = records["speedup_per_core_vs_tf_data"]
    assert ratio["ratio"] > 0 and ratio["quality"]["pixel_sum"] > 0
    for mode in ("resident", "stream"):
        for step in ("tiny", "sum"):
            assert all(np.isfinite(records[f"{metric}_{mode}_{step}"]["median"]) for metric in WAITS)
            assert all(0 <= share <= 1 for share in records[f"wait_share_{mode}_{step}"]["samples"])
        cores = records[f"cores_for_950_images_per_s_{mode}_sum"]["samples"]
        speed = records[f"images_per_s_{mode}_sum"]["samples"]
        assert len(cores) == len(speed) == 2 and min(cores) > 0


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (make peers)")
@pytest.mark.parametrize("workers", [0, 1])
def test_pytorch_reads_the_same_records(small_records: dict[str, Path], workers: int) -> None:
    records_dir = small_records["tfrecord"]
    reader = open_records(records_dir)
    size = input_benchmark.Size(input_benchmark.QUICK.config, 1, 4, (workers,), ())
    loaders = input_benchmark.make_torch_readers(records_dir, reader, size)
    assert list(loaders) == [f"torch_protobuf_{workers}w", f"torch_our_reader_{workers}w"]
    ours = input_benchmark.ShuffledRecords(reader, 4)
    assert input_benchmark.check_same({"ours": ours, **loaders}) > 0


def test_tf_data_reads_the_same_records_in_stored_order(small_records: dict[str, Path]) -> None:
    reader = open_records(small_records["tfrecord"])
    batches = list(make_dataset(small_records["tfrecord"], input_benchmark.NAMES, 5))
    wanted = reader.read(range(len(reader)), input_benchmark.NAMES)
    for name in input_benchmark.NAMES:
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in batches]), wanted[name])


def test_a_reader_that_differs_is_named(small_records: dict[str, Path]) -> None:
    ours = input_benchmark.ShuffledRecords(open_records(small_records["tfrecord"]), 4)
    with pytest.raises(RuntimeError, match="short reads"):
        input_benchmark.check_same({"ours": ours, "short": list(ours)[1:]})


def test_orders_differ_from_epoch_to_epoch_and_cover_all(small_records: dict[str, Path]) -> None:
    ours = input_benchmark.ShuffledRecords(open_records(small_records["tfrecord"]), 4)
    first, second = (np.concatenate([batch["ct"].sum((1, 2), dtype=int) for batch in ours]) for _ in range(2))
    assert (first != second).any() and sorted(first) == sorted(second)
