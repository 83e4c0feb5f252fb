"""Targets, rooflines, keys, and what the committed budgets hold."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compiled import aot
from benchmarks.compiled.budget import BUDGETS, find_broken
from benchmarks.compiled.figures import find_feature_maps
from benchmarks.compiled.programs import name_parts, select_parts
from benchmarks.compiled.roofline import compute_ceiling, make_rows, plot_roofline
from benchmarks.compiled.tables import fit_line
from benchmarks.compiled.targets import TARGETS, make_environment
from bonemet_jax import artifacts
from bonemet_jax.config import Config, ModelConfig, RecordsConfig
from bonemet_jax.models.flops import compute_train_gflop_per_image

H100 = TARGETS["h100x8"]
#: Two stages that take 3.35 GB (1 ms of an H100's memory) and 1,978.8 GFLOP (2 ms of its matrix units), and a sum.
STAGES = {
    "stem forward": {"bytes": 3_350_000_000, "flops": 989_400_000, "sent": 0},
    "stage1 forward": {"bytes": 335_000_000, "flops": 1_978_800_000_000, "sent": 0},
    "gradient_sum": {"bytes": 0, "flops": 0, "sent": 180_000_000},
}


def test_each_stage_is_limited_by_what_takes_longest() -> None:
    rows = {row.name: row for row in make_rows(H100, {"stages": STAGES}, "bfloat16")}
    assert rows["stem forward"].limit == "memory" and rows["stem forward"].least_s == pytest.approx(1e-3)
    assert rows["stage1 forward"].limit == "matrix units" and rows["stage1 forward"].least_s == pytest.approx(2e-3)
    # a ring of 8 sends 2 x 7/8 of 180 MB over 450 GB/s
    assert rows["gradient_sum"].limit == "links" and rows["gradient_sum"].least_s == pytest.approx(0.7e-3)
    assert rows["all"].n_bytes == 3_685_000_000
    ceiling = compute_ceiling(list(rows.values()), 32)
    assert ceiling == pytest.approx((32 / 2.001e-3, 32 / 3.7e-3))


def test_without_a_peak_there_is_no_ceiling() -> None:
    rows = make_rows(TARGETS["cpu8"], {"stages": STAGES}, "bfloat16")
    assert all(row.limit is None and row.least_s == 0 for row in rows) and compute_ceiling(rows, 2) is None


def test_roofline_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "roof.svg"
    plot_roofline(path, H100, "a title", make_rows(H100, {"stages": STAGES}, "bfloat16"), "bfloat16")
    drawn = path.read_text()
    assert all(text in drawn for text in ("a title", "stem forward", "stage1 forward", "989.4 TFLOP/s", "3.35 TB/s"))
    plot_roofline(tmp_path / "again.svg", H100, "a title", make_rows(H100, {"stages": STAGES}, "bfloat16"), "bfloat16")
    assert (tmp_path / "again.svg").read_text() == drawn


def test_slope_is_an_image_and_intercept_a_step() -> None:
    sizes = {"8": {"memory": {"temp": 130}}, "16": {"memory": {"temp": 210}}}
    assert fit_line(sizes, "memory", "temp") == (10, 50)
    assert fit_line({"8": sizes["8"]}, "memory", "temp") is None


def test_a_budget_is_found_by_what_decides_the_programs() -> None:
    plain = Config("a")
    assert select_parts(plain) == {} and name_parts(plain) == name_parts(replace(plain, name="b"))
    other = replace(plain, model=ModelConfig(norm="frozen"))
    assert select_parts(other) == {"model.norm": "frozen"} and name_parts(other) != name_parts(plain)
    longer = replace(plain, train=replace(plain.train, epochs=3, batch_size=8), optim=replace(plain.optim, lr=0.1))
    assert name_parts(longer) == name_parts(plain)


def test_feature_maps_of_a_small_network() -> None:
    config = Config("small", records=RecordsConfig(height=64, width=80), model=ModelConfig(network="tiny"))
    assert {64 * 80 * 4, 32 * 40 * 16, 16 * 20 * 8, 8 * 10 * 16} <= find_feature_maps(config)


def test_flags_of_this_machine_do_not_reach_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_mine=1")
    assert "XLA_FLAGS" not in make_environment(H100)
    assert "device_count=8" in make_environment(TARGETS["cpu8"])["XLA_FLAGS"]


def test_no_roofline_without_a_peak(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    figures = next(iter(_budgets("cpu8")))
    monkeypatch.setattr(aot, "measure_arguments", lambda args: figures)
    assert aot.main(["--plot", "roof.svg"]) == 2
    said = capsys.readouterr()
    assert "peak is not known" in said.err and "## train, 2 and 4 images a device" in said.out


@pytest.mark.parametrize("name", TARGETS)
def test_committed_budgets_keep_the_rules(name: str) -> None:
    """And their convolutions the FLOPs of the network's shape, without the gradient of the input image. On the CPU 1x1
    convolutions are products, as some of the channels and the mask are."""
    counted = ("convolution", "matrix product") if name == "cpu8" else ("convolution",)
    for budget in _budgets(name):
        for program, sizes in budget["programs"].items():
            for local_batch, figures in sizes.items():
                assert find_broken(figures) == [], (program, local_batch)
        for local_batch, figures in budget["programs"]["train"].items():
            flops = sum(row["flops"] for kind, row in figures["operations"].items() if kind.startswith(counted))
            assert flops / int(local_batch) == pytest.approx(_expect_flops(budget), rel=0.02)


def _expect_flops(budget: dict[str, Any]) -> float:
    height, width = (budget["config"].get(f"records.{side}", n) for side, n in (("height", 400), ("width", 500)))
    model = ModelConfig(network=budget["network"])
    stem = 16 if budget["network"] == "tiny" else 64
    return 1e9 * compute_train_gflop_per_image(model, height, width) - 2 * 49 * 4 * stem * height * width / 4


def test_resnet101_on_h100s_has_311_convolutions() -> None:
    found = [b["programs"]["train"]["32"]["convolutions"] for b in _budgets("h100x8") if b["network"] == "resnet101"]
    wanted = {"forward": 104, "input gradient": 103, "weight gradient": 104, "grouped": 0}
    assert found and all(convolutions == wanted for convolutions in found)


def _budgets(name: str) -> list[dict[str, Any]]:
    files = sorted(BUDGETS.glob(f"{name}-jax*.json"))
    return [budget for file in files for budget in artifacts.load_json(file).values()]
