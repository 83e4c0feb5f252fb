"""The benchmark of the embedding program at toy size."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.embed import QUICK, Scored, Size, describe, make_ours, make_variables
from benchmarks.harness import Timing
from bonemet_jax.train.dry_run import make_random_records


@pytest.mark.every_change
def test_quick_embed_scores_alike_however_it_is_fed(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["embed", "--quick", "--device", "cpu", "--json", str(out)]) == 0
    records = {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}
    sides = ["resident", "stream", *(["torch"] if find_spec("torch") else [])]
    rates = {f"images_per_s_{side}_{batch_size}" for side in sides for batch_size in (1, 4)}
    assert rates == {name for name in records if name.startswith("images_per_s")}
    for record in records.values():
        assert record["median"] > 0 and 0 < record["quality"]["mean_score"] < 1
        # Rounding alone, PyTorch's with our weights too.
        assert record["quality"]["embedding_difference_over_max"] < 1e-5
    scores = [record["quality"]["mean_score"] for record in records.values()]
    assert max(scores) - min(scores) < 1e-6


def test_a_stray_embedding_and_the_ratio_are_seen() -> None:
    size = Size((1, 4), 4, 2)
    zeros = np.zeros(4, np.float32)
    found = {"resident_1": Scored(np.ones((4, 16), np.float32), zeros)}
    for name in ("resident_4", "torch_1", "torch_4"):
        found[name] = Scored(np.full((4, 16), 1.25, np.float32), zeros)
    timings = {name: Timing(np.full(2, 2.0 if name[0] == "t" else 1.0), np.ones(2)) for name in found}
    made = {m.metric: m for m in describe(QUICK, size, {}, timings, found)}
    assert made["images_per_s_resident_4"].quality["embedding_difference_over_max"] == 0.25
    assert made["images_per_s_torch_1"].samples == [2.0, 2.0]
    ratio = made["speedup_vs_torch_resident_1"].ratio
    assert ratio is not None and ratio.value == 2.0
    assert made["speedup_per_core_vs_torch_resident_4"].samples == [1.0, 1.0]


def test_the_last_batch_is_padded_not_dropped() -> None:
    records, variables = make_random_records(6, 64, 80), make_variables(QUICK)
    whole = make_ours(QUICK, records, variables, "resident", 6, Size((6,), 6, 1))()
    padded = make_ours(QUICK, records, variables, "stream", 4, Size((4,), 6, 1))()
    assert padded.score == pytest.approx(whole.score, abs=1e-6)
