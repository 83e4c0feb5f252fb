"""Drawings of records: what they hold, that they are whole SVG, and what they are drawn from."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import plot
from benchmarks.__main__ import main
from benchmarks.harness import Measurement, Ratio, make_record
from bonemet_jax.config import Config


def _record(benchmark: str, metric: str, samples: list[float], commit: str = "a", **parameters: Any) -> dict[str, Any]:
    measurement = Measurement(benchmark, metric, "s", "lower", samples, parameters, Config("x"))
    return make_record(measurement, quick=False) | {"commit": commit * 40, "dirty": False}


def _scaling() -> list[dict[str, Any]]:
    asked = {"network": "tiny", "height": 64, "width": 80, "batch_size": 8}
    ways = [("jit", 1), *((parallel, n) for n in (2, 4) for parallel in ("jit", "shard_map", "pmap"))]
    return [_record("scaling", f"step_time_{parallel}_{n}_s", [1.0 + n] * 6, parallel=parallel, devices=n,
                    **asked) for parallel, n in ways]  # fmt: skip


def test_every_benchmark_has_its_history_and_scaling_its_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [*_scaling(), *(_record("x", metric, [1.0], commit) for commit in "ab" for metric in ("a_s", "b_s"))]
    records.append(_record("x", "a_s", [1.0]) | {"quick": True})
    file, out = tmp_path / "records.jsonl", tmp_path / "drawings"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["plot", str(file), "-o", str(out)]) == 0
    names = ["history_scaling.svg", "scaling.svg", "history_x.svg", "history_x_quick.svg"]
    assert capsys.readouterr().out.splitlines() == [str(out / name) for name in names]
    for name in names:
        assert ElementTree.parse(out / name).getroot().tag.endswith("}svg")  # noqa: S314 - written just above
    first = (out / "scaling.svg").read_bytes()
    assert main(["plot", str(file), "-o", str(out)]) == 0 and (out / "scaling.svg").read_bytes() == first
    assert main(["plot", str(tmp_path / "nowhere"), "-o", str(out)]) == 4


class Seen:
    """Axes that keep what is drawn on them."""

    def __init__(self) -> None:
        self.calls: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: self.calls.update({name: (args, named)})


def test_a_panel_shows_the_last_record_of_each_commit_in_its_place() -> None:
    samples = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    records = [_record("x", "a_s", [9.0], "b"), _record("x", "a_s", samples, "b"), _record("x", "a_s", [2.0], "d")]
    axes = Seen()
    plot._draw_series(axes, records, ["aaaaaaa", "bbbbbbb", "ccccccc", "ddddddd"])
    (at, middle), named = axes.calls["errorbar"]
    assert (at, middle) == ([1, 3], (3.5, 2.0)), "a commit without this number leaves a gap"
    assert named["yerr"] == [(2.5, 0.0), (2.5, 0.0)], "from 1 to 6; one sample has no interval"
    assert axes.calls["set_ylabel"][0] == ("s (lower is better)",)
    assert axes.calls["set_ylim"][0] == (0.0, pytest.approx(6.6))


def test_many_commits_are_not_all_named() -> None:
    axes, commits = Seen(), [f"{i:07}" for i in range(20)]
    plot._draw_series(axes, [_record("x", "a_s", [1.0], "0") | {"commit": "0" * 40}], commits)
    assert axes.calls["set_xticks"][0] == (range(0, 20, 3), commits[::3])


def test_a_ratio_is_drawn_with_its_own_interval() -> None:
    ratio = Measurement("x", "speedup", "1", "higher", [1.0, 9.0] * 3, {}, Config("x"), ratio=Ratio(2.0, 1.5, 2.25))
    assert plot.find_middle(make_record(ratio, quick=True)) == (2.0, (0.5, 0.25))
