"""The benchmarks of the engine at toy size."""

import json
from pathlib import Path
from typing import Any

import jax
import pytest

from benchmarks import folds, scaling, several
from benchmarks.__main__ import main
from benchmarks.harness import Options


def _records(name: str, folder: Path) -> dict[str, Any]:
    out = folder / "records.jsonl"
    assert main([name, "--quick", "--json", str(out)]) == 0
    return {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}


def test_quick_dispatch(tmp_path: Path) -> None:
    records = _records("dispatch", tmp_path)
    assert list(records) == ["ours_ms", "jax_jit_ms", "nnx_jit_ms", "jax_jit_over_ours", "nnx_jit_over_ours"]
    assert 0 < records["ours_ms"]["median"] < 100 and records["ours_ms"]["parameters"]["arrays"] > 50


@pytest.mark.slow
def test_quick_folds(tmp_path: Path) -> None:
    records = _records("folds", tmp_path)
    for way in ("sequential", "mesh", "vmap"):
        assert records[f"{way}_core_s"]["median"] > 0 and records[f"{way}_core_s"]["parameters"]["n_traces"] == 1
    assert records["mesh_over_sequential"]["ratio"] > 0 and records["vmap_over_sequential"]["ratio"] > 0


@pytest.mark.slow
def test_quick_scaling(tmp_path: Path) -> None:
    records = _records("scaling", tmp_path)
    assert records["step_time_jit_1_s"]["parameters"]["collectives"] == {}
    for way in ("jit_2", "shard_map_2", "pmap_2"):
        assert records[f"step_time_{way}_s"]["parameters"]["collective_bytes"] > 30_000, "the gradients of `tiny`"
        assert records[f"{way}_over_jit_1"]["ratio"] > 0


@pytest.mark.slow
def test_accelerators_are_measured_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in another process with virtual devices; here one CPU device stands in for them."""
    for module in (several, folds):
        monkeypatch.setattr(module, "has_accelerator", lambda: True)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    found = {m.metric: m for m in scaling.measure(Options(quick=True)) + folds.measure(Options(quick=True))}
    assert list(found) == ["step_time_jit_1_s", "sequential_s", "vmap_s", "vmap_over_sequential"]
    assert found["vmap_s"].parameters["devices"] == 1 and found["vmap_over_sequential"].ratio is not None
