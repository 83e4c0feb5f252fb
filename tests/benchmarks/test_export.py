"""Records as other tools read them: each export goes through its reader, or the shape its reader documents."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from benchmarks.__main__ import main
from benchmarks.harness import Measurement, Ratio, make_record
from benchmarks.summary import HEAD
from bonemet_jax.config import Config

SECONDS = [1.0, 1.25, 0.75, 1.0, 1.5, 1.0]


@pytest.fixture(scope="module")
def records_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours, first at an older commit; a peer's; their ratio; milliseconds; a metric and a quality with a pipe."""
    config, parameters = Config("x"), {"network": "resnet50"}

    def make(metric: str, unit: str, better: Any, samples: list[float], **more: Any) -> dict[str, Any]:
        return make_record(Measurement("x", metric, unit, better, samples, parameters, config, **more), quick=False)

    records = [
        make("step_s", "s", "lower", [9.0]) | {"commit": "0" * 40},
        make("step_s", "s", "lower", SECONDS, quality={"loss": 0.5}),
        make("step_s_torch", "s", "lower", [2 * x for x in SECONDS]),
        make("speedup", "1", "higher", [2.0] * 6, ratio=Ratio(2.0, 1.5, 2.75), compared=("step_s", "step_s_torch")),
        make("call_ms", "core-ms", "lower", [4.0, 5.0, 6.0], quality={"a|b": 1.0}),
        make("idle_s", "s", "lower", [0.0]),
    ]
    path = tmp_path_factory.mktemp("export") / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def _export(records_file: Path, out: Path, *flags: str) -> str:
    assert main(["export", "--to", *flags, str(records_file), "-o", str(out)]) == 0
    return out.read_text()


def test_github_action_benchmark_finds_name_value_and_range(records_file: Path, tmp_path: Path) -> None:
    """Its documented entry: name, unit and value; range and extra are optional strings. Of a range its code takes the
    number that follows ± and nothing else."""
    lower = json.loads(_export(records_file, tmp_path / "lower.json", "github"))
    higher = json.loads(_export(records_file, tmp_path / "higher.json", "github", "--better", "higher"))
    for entry in lower + higher:
        assert {"name", "unit", "value"} <= set(entry) <= {"name", "unit", "value", "range", "extra"}
        assert isinstance(entry["value"], float) and all(isinstance(v, str) for k, v in entry.items() if k != "value")
        if "range" in entry:
            float(re.fullmatch(r"(\+-|±)\s*(\d.*)", entry["range"])[2])  # type: ignore[index]
    assert [entry["name"] for entry in lower] == [
        f"x: {metric} resnet50 (1 x cpu)" for metric in ("step_s", "step_s_torch", "call_ms", "idle_s")]
    assert (lower[0]["value"], lower[0]["unit"], lower[0]["range"]) == (1.0, "s", "± 0.375")
    assert "95 % interval 0.75 to 1.5" in lower[0]["extra"] and "loss 0.5" in lower[0]["extra"]
    assert "range" not in lower[2], "three samples have no interval"
    (speedup,) = higher
    assert (speedup["value"], speedup["unit"], speedup["range"]) == (2.0, "times", "± 0.625")


def test_markdown_is_one_table_of_a_row_a_number(records_file: Path, tmp_path: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(_export(records_file, tmp_path / "t.md", "markdown"))
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == kinds.count("heading_open") == kinds.count("paragraph_open") == 1
    texts = [tokens[i + 1].content for i, kind in enumerate(kinds) if kind in ("th_open", "td_open")]
    rows = [tuple(texts[i : i + len(HEAD)]) for i in range(0, len(texts), len(HEAD))]
    assert rows == [
        HEAD,
        ("x", "step_s resnet50", "1 s [0.75, 1.5] ↓", "torch 2", "2 [1.5, 2.75] ↑", "loss 0.5", "6"),
        ("x", "call_ms resnet50", "5 core-ms ↓", "", "", "a|b 1", "3"),
        ("x", "idle_s resnet50", "0 s ↓", "", "", "", "1"),
    ]


def test_pyperf_file_holds_every_sample_in_seconds(records_file: Path, tmp_path: Path) -> None:
    found = json.loads(_export(records_file, tmp_path / "p.json", "pyperf"))
    values = {b["metadata"]["name"]: b["runs"][0]["values"] for b in found["benchmarks"]}
    assert values == {
        "x: step_s resnet50 (1 x cpu)": SECONDS, "x: step_s_torch resnet50 (1 x cpu)": [2 * x for x in SECONDS],
        "x: call_ms resnet50 (1 x cpu)": pytest.approx([0.004, 0.005, 0.006]),
    }, "no ratio, and no time of zero, which pyperf refuses"


def test_pyperf_reads_its_file(records_file: Path, tmp_path: Path) -> None:
    pyperf = pytest.importorskip("pyperf", reason="pyperf is not installed")
    out = tmp_path / "p.json"
    _export(records_file, out, "pyperf")
    suite = pyperf.BenchmarkSuite.load(str(out))
    ours = suite.get_benchmark("x: step_s resnet50 (1 x cpu)")
    assert (ours.median(), ours.median_abs_dev(), ours.get_nvalue(), ours.get_unit()) == (1.0, 0.125, 6, "second")
    commit = ours.get_metadata()["commit"]
    assert commit == "no commit" or len(commit.rstrip("+")) == 7  # without git, or in a copy of the files


def test_what_cannot_be_exported_is_refused_and_nothing_written(
    records_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speedup = tmp_path / "speedup.jsonl"
    speedup.write_text(records_file.read_text().splitlines()[3] + "\n")
    for flags, told in ((["github"], "no number of which lower is better"), (["pyperf"], "no number in seconds")):
        assert main(["export", "--to", *flags, str(speedup), "-o", str(tmp_path / "out")]) == 2
        assert told in capsys.readouterr().err
    assert main(["export", "--to", "markdown", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")]) == 4
    assert not (tmp_path / "out").exists()
