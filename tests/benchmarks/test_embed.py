"""Scoring timed at toy size: every way gives the same embeddings."""

from importlib.util import find_spec

from benchmarks.embed import QUICK

from .conftest import RunQuick


def test_every_way_scores_the_same(run_quick: RunQuick) -> None:
    records = {record["metric"]: record for record in run_quick("embed")}
    ours = [f"images_per_s_{mode}_{n}" for n in QUICK.batch_sizes for mode in ("resident", "stream")]
    peers = [name for n in QUICK.batch_sizes for name in (f"images_per_s_torch_{n}", f"speedup_vs_torch_{n}")]
    assert set(records) == {*ours, *(peers if find_spec("torch") else [])}
    assert records[ours[0]]["quality"]["difference_over_max"] == 0
    assert all(records[name]["quality"]["difference_over_max"] < 1e-5 for name in ours)
