"""The benchmark of the statistics at toy size, and what it compares with."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import stats as stats_benchmark
from benchmarks.__main__ import main
from benchmarks.peers.resampling import bootstrap_by_loop, compare_by_all_pairs
from bonemet_jax.stats.roc import compute_paired_delong

pytestmark = pytest.mark.every_change

ROWS = stats_benchmark.make_cohort_rows(stats_benchmark.QUICK)


def test_quick_stats(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["stats", "--quick", "--json", str(out)]) == 0
    records = {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}
    for name, peer in (("bootstrap", "scikit_learn_loop"), ("delong_90", "all_pairs"), ("cox", "scikit_survival"),
                       ("lasso_cox", "scikit_survival")):
        seconds = [records[metric]["median"] for metric in (f"{name}_s", f"{name}_s_{peer}")]
        ratio = records[f"{name}_speedup_vs_{peer}"]
        assert min(seconds) > 0 and ratio["ratio"] == pytest.approx(seconds[1] / seconds[0])
        assert ratio["n"] >= 6 or ratio["ci95"] is None
    assert records["bootstrap_s"]["parameters"]["rows"] == 6 and records["bootstrap_s"]["parameters"]["draws"] == 400
    assert 0 < records["bootstrap_s"]["quality"]["largest_difference_over_mc_se"] < 20
    assert records["cox_s"]["quality"]["difference_of_coef"] < 1e-6
    assert records["lasso_cox_s"]["quality"]["difference_of_coef"] < 1e-2, "its tolerance, not ours"


def test_rows_of_a_run() -> None:
    train, _, test = stats_benchmark.make_cohort_rows(stats_benchmark.FULL)
    assert test.patient.size == test.label.size == 431 and test.label.sum() == 52
    assert train.patient.size > train.label.size and train.score.shape == (12, train.patient.size)


def test_the_loop_meets_our_intervals_within_chance_and_a_wrong_one_does_not() -> None:
    for rows in ROWS[::2]:
        looped = bootstrap_by_loop(rows, 60, np.random.default_rng(7))
        by_loop, by_chance = stats_benchmark.compare_ends(rows, looped)
        assert by_loop <= by_chance.max()
        wrong, _ = stats_benchmark.compare_ends(rows, looped + 0.1)
        assert wrong > 2 * np.median(by_chance)


def test_all_pairs_give_delongs_z() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(80) < 30
    a, b = np.round(rng.normal(size=(2, 80)) + label, 1)
    assert compare_by_all_pairs(label, a, b) == pytest.approx(compute_paired_delong(label, a, b).z, abs=1e-9)
