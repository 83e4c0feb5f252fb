"""All benchmarks in turn: one that fails loses no other; the table; which peers run."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness, suite, summary
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.harness import Measurement, Options, Ratio, make_record
from bonemet_jax.config import Config, ModelConfig

pytestmark = pytest.mark.every_change


def _records(benchmark: str = "step_time", network: str = "resnet50") -> list[dict[str, Any]]:
    """Ours, the peer's, their ratio, and a ratio whose numbers are no records."""
    config, parameters = Config("x", model=ModelConfig(network=network)), {"network": network}  # type: ignore[arg-type]
    ours = [1.0, 1.1, 0.9, 1.0, 1.2, 1.0]
    made = [
        Measurement(benchmark, "step_time_s", "s", "lower", ours, parameters, config, {"loss": 0.7, "b": 1.0}),
        Measurement(benchmark, "step_time_s_torch", "s", "lower", [2 * x for x in ours], parameters, config),
        Measurement(benchmark, "speedup_vs_torch", "1", "higher", [2.0] * 6, parameters, config, {"loss": 0.7},
                    Ratio(2.0, 1.9, 2.1), ("step_time_s", "step_time_s_torch")),
        Measurement(benchmark, "speedup_per_core_vs_torch", "1", "higher", [3.0] * 6, parameters, config, {},
                    Ratio(3.0, 2.5, 3.5)),
    ]
    return [json.loads(json.dumps(make_record(m, quick=False))) for m in made]


def test_a_benchmark_that_fails_does_not_lose_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In processes of their own; the first is none."""
    out = tmp_path / "records.jsonl"
    assert suite.run_all(["nosuch", "dispatch"], ["--quick", "--peer", "none"], out) == 1
    metrics = [json.loads(line)["metric"] for line in out.read_text().splitlines()]
    assert metrics == ["ours_ms", "jax_jit_ms", "jax_jit_over_ours"], "no nnx, which is a peer"
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("1/2 nosuch ... FAILED: ") and "invalid choice" in lines[0]
    assert lines[1].startswith("2/2 dispatch ... 3 numbers, ")
    table = told.out.splitlines()
    assert max(map(len, table)) <= 120 and "quick: toy sizes, not results" in table
    assert sum(line.startswith("dispatch") for line in table) == 1, "both numbers and their ratio in one row"
    assert sum(line.startswith("nosuch     FAILED: ") for line in table) == 1


@pytest.mark.parametrize("argv", [[], ["all"]])
def test_no_name_means_all_and_flags_are_handed_on(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    seen: list[Any] = []

    def run_one(name: str, flags: list[str]) -> tuple[list[dict[str, Any]], str]:
        seen.append((name, *flags))
        return _records(name), ""

    monkeypatch.setattr(suite, "run_one", run_one)
    assert main([*argv, "--quick", "--device", "cpu", "--peer", "nnx", "--peer", "tf.data"]) == 0
    flags = ("--quick", "--device", "cpu", "--peer", "nnx", "--peer", "tf.data")
    assert seen == [(name, *flags) for name in BENCHMARKS]


def test_rows_set_ratio_and_peer_beside_our_number() -> None:
    rows = summary.make_rows([*_records(), *_records(network="resnet101")])
    assert [row.metric for row in rows] == [
        "step_time_s resnet50", "speedup_per_core_vs_torch resnet50", "step_time_s resnet101",
        "speedup_per_core_vs_torch resnet101",
    ]  # fmt: skip
    assert rows[0] == ("step_time", "step_time_s resnet50", "1 s [0.9, 1.2] ↓", "torch 2", "2 [1.9, 2.1] ↑",
                       "loss 0.7", "6")  # fmt: skip
    assert rows[1].ours == rows[1].peer == "" and rows[1].ratio == "3 [2.5, 3.5] ↑"
    alone = summary.make_rows(_records()[:2])
    assert [row.ours for row in alone] == ["1 s [0.9, 1.2] ↓", "2 s [1.8, 2.4] ↓"], "without a ratio each stands alone"
    assert alone[0].quality == "loss 0.7 +1"


@pytest.mark.parametrize(("ours", "other", "name"), [
    ("step_time_s", "step_time_s_torch", "torch"), ("ours_ms", "jax_jit_ms", "jax_jit"),
    ("images_per_core_s_lbp_fast", "images_per_core_s_scikit_image_lbp", "scikit_image_lbp"),
    ("mesh_core_s", "sequential_core_s", "sequential"), ("step_time_jit_2_s", "step_time_jit_1_s", "jit_1"),
])
def test_a_peer_is_named_by_what_tells_it_apart(ours: str, other: str, name: str) -> None:
    assert summary.name_peer(ours, other) == name


def test_a_wide_row_keeps_every_letter_within_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    record = _records()[0] | {"metric": "a_very_long_metric_of_many_words_" + "x" * 60, "unit": "furlongs/fortnight"}
    summary.print_table([record], {"y": "z" * 500})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 120, "the failure's, cut"
    metric = "".join(line[11:37].strip() for line in lines[2:8])
    assert metric.startswith(record["metric"])


def test_peers_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert Options().has_peer("nnx") and not Options(peers=frozenset()).has_peer("nnx")
    assert harness.choose_peers([]) is None and harness.choose_peers(["none"]) == frozenset()
    monkeypatch.setitem(harness.PEERS, "torch", "no_such_module")
    monkeypatch.setattr(suite, "run_one", lambda name, flags: ([], ""))
    assert not Options().has_peer("torch")
    assert main([]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("not installed (make peers), left out: torch\n1/")
    assert told.out.endswith("\nnothing was measured\n")
    for argv in (["all", "--peer", "torch"], ["dispatch", "--quick", "--peer", "torch"]):
        assert main(argv) == 2
        assert capsys.readouterr().err == "error: peer torch is not installed; --peer; run `make peers`, or drop it\n"


def test_only_the_peer_asked_for_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--quick", "--peer", "scikit-survival"]) == 0
    out = capsys.readouterr().out
    assert "cox_s_scikit_survival" in out and "bootstrap_s " in out
    assert "scikit_learn" not in out and "all_pairs" not in out
