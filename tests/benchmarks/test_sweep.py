"""The sweep: a race over what the config can say, whose winner is a config that loads."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.sweep import Runner, apply, combine, main, race, run_apart, write_config
from bonemet_jax.config import Config, ModelConfig, RecordsConfig, load_config

SMALL = Config("small", model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80))
VALUES = {"dtype": "float32", "batch": 4, "norm": "sync", "parallel": "jit", "stem": "conv", "remat": False}


def test_every_combination_once() -> None:
    assert combine({"batch": [1, 2], "norm": ["sync", "local"]}) == [
        {"batch": n, "norm": norm} for n in (1, 2) for norm in ("sync", "local")]


def test_the_faster_half_goes_on_and_what_fails_is_told() -> None:
    heats: list[tuple[int, int]] = []

    def run(values: dict[str, Any], n_steps: int) -> dict[str, Any]:
        heats.append((values["batch"], n_steps))
        if values["batch"] == 9:
            return {"reason": "out of memory"}
        return {"memory_gib": 1.0, "loss": 0.5, "images_per_s": float(values["batch"])}

    ranked = race([Runner({"batch": n}) for n in (1, 2, 3, 4, 5, 9)], run)
    assert [runner.values["batch"] for runner in ranked] == [5, 4, 3, 2, 1, 9]
    assert heats == [*((n, 3) for n in (1, 2, 3, 4, 5, 9)), (3, 9), (4, 9), (5, 9), (5, 27), (4, 27)]
    assert ranked[-1].reason == "out of memory" and len(ranked[0].images_per_s) == 3


def test_the_config_that_is_written_is_the_one_that_ran(tmp_path: Path) -> None:
    config = apply(SMALL, VALUES | {"dtype": "bfloat16", "parallel": "shard_map", "remat": True})
    file = tmp_path / "fastest.py"
    file.write_text(write_config(config, [Runner(VALUES, 1.0, [2.0], 0.7)]))
    assert load_config(file) == config


@pytest.mark.every_change
def test_what_needs_too_much_memory_does_not_start(tmp_path: Path) -> None:
    told = run_apart(apply(SMALL, VALUES), 1, 1e-6, tmp_path)
    assert told["reason"] == "more memory than allowed" and told["memory_gib"] > 0


@pytest.mark.slow
def test_a_sweep_ends_with_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fastest.py"
    flags = "--network tiny --size 64 80 --batch 2 8 --dtype float32 --norm sync --parallel jit --stem conv"
    assert main([*flags.split(), "--remat", "False", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    config = load_config(out)
    assert out.read_text() in printed and config.model.network == "tiny"
    assert config.train.batch_size == int(printed.splitlines()[1].split()[1])
