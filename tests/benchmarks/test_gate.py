"""Compiled programs held to a budget: exit codes, and each of five planted faults by its name."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compiled import gate
from benchmarks.compiled.aot import measure
from benchmarks.compiled.budget import budget_path, find_broken, save_budget
from benchmarks.compiled.gate import compare
from benchmarks.compiled.targets import TARGETS, find_target, make_environment
from bonemet_jax import artifacts
from bonemet_jax.config import Config, ModelConfig, RecordsConfig
from bonemet_jax.errors import DeviceError

ROOT = Path(__file__).parents[2]
#: What the gate must say of each planted fault (planted_faults.py), and of which sound program it is the fault.
NAMED = {
    "upcast": ("sound", "float32 upcast of an activation"),
    "lost donation": ("sound", "a lost donation: 109,409 bytes of the state"),
    "grouped": ("sound folds", "grouped convolutions: "),
    "second compile": ("sound", "a second compile: a run calls it with 2 different sets of arguments"),
    "one more all-reduce": ("sound", "1 more collective: all-reduce f32"),
}
Cases = dict[str, dict[str, Any]]


def _figures(**changes: Any) -> dict[str, Any]:
    """One program's, made up."""
    return {
        "compilations": 1, "steps": 1, "bytes": 1000, "flops": 500, "memory": {"temp": 10, "arguments": 20, "alias": 8},
        "state_bytes": 8, "convolutions": {"forward": 3, "grouped": 0}, "float32 feature maps": {},
        "float32 feature maps in StableHLO": {}, "collectives": {"all-reduce f32": {"count": 2, "bytes": 64}},
        "operations": {"copy": {"count": 1, "bytes": 10, "flops": 0}}, "stages": {}, "StableHLO": {"add": 7},
    } | changes  # fmt: skip


def _measured(**changes: Any) -> dict[str, Any]:
    return {"target": "cpu8", "jax": "0.0.1", "fingerprint": "abc", "config": {"model.network": "tiny"},
            "programs": {"train": {"2": _figures(**changes)}}}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """The gate's command on made-up figures, whose budget is the sound one."""
    save_budget(tmp_path, _measured())

    def call(**changes: Any) -> int:
        named = {name: changes.pop(name) for name in ("target", "jax", "fingerprint") if name in changes}
        artifacts.write_json(tmp_path / "now.json", _measured(**changes) | named)
        return gate.main(["--figures", str(tmp_path / "now.json"), "--budgets", str(tmp_path)])

    return call


def test_equal_figures_pass(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "every figure is the budget's" in capsys.readouterr().out


@pytest.mark.parametrize(("changes", "told"), [
    ({"bytes": 1100}, "bytes: 1,000 -> 1,100 (+100, +10.00%)"),
    ({"bytes": 900}, "bytes: 1,000 -> 900 (-100, -10.00%)"),
    ({"operations": {}}, "operations, copy, count: 1 -> 0 (-1, -100.00%)"),
    ({"StableHLO": {"add": 7, "sqrt": 1}}, "StableHLO, sqrt: 0 -> 1 (+1)"),
])  # fmt: skip
def test_what_changed_is_told_by_operation(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    assert run(**changes) == 1
    assert f"train, 2 images a device:   {told}" in capsys.readouterr().out


@pytest.mark.parametrize(("named", "told"), [
    ({"jax": "0.0.2"}, "no budget for cpu8 under jax 0.0.2, only for jax 0.0.1"),
    ({"target": "h100x8"}, "no budget for h100x8 under jax 0.0.1, for no version"),
    ({"fingerprint": "def"}, "no budget for config def"),
])  # fmt: skip
def test_what_has_no_budget_is_not_judged(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], named: dict[str, str], told: str
) -> None:
    assert run(**named) == 9
    said = capsys.readouterr()
    assert told in said.err and "--write-budget" in said.err and not said.out


def test_a_budget_keeps_other_configs_and_programs(tmp_path: Path) -> None:
    save_budget(tmp_path, _measured())
    save_budget(tmp_path, _measured() | {"fingerprint": "def"})
    save_budget(tmp_path, _measured() | {"programs": {"evaluate": {"2": _figures()}}})
    found = artifacts.load_json(budget_path(tmp_path, _measured()))
    assert {name: list(budget["programs"]) for name, budget in found.items()} == {
        "abc": ["evaluate", "train"], "def": ["train"],
    }  # fmt: skip


@pytest.mark.parametrize(("changes", "told"), [
    ({"compilations": 2}, "compiled 2 times"), ({"state_bytes": 9}, "alias bytes 8, state 9"),
    ({"convolutions": {"grouped": 4}}, "4 grouped convolutions"),
    ({"collectives": {"across folds": {"count": 1}}}, "1 collectives across folds"),
])  # fmt: skip
def test_rules_hold_whatever_the_budget(changes: dict[str, Any], told: str) -> None:
    assert find_broken(_figures()) == [] and find_broken(_figures(**changes)) == [told]


def test_usage_and_missing_compilers_have_codes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate.main(["--target", "abacus"]) == 2
    monkeypatch.setattr("benchmarks.compiled.targets.importlib.util.find_spec", lambda name: None)
    assert gate.main(["--target", "h100x8"]) == 3


def _plant(target: str) -> Cases:
    """Figures of each case, compiled for a target."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests/benchmarks/planted_faults.py"), target]
    env = make_environment(find_target(target))
    env["PYTHONPATH"] = f"{ROOT}:{env.get('PYTHONPATH', '')}"
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {found["case"]: found["figures"] for found in map(json.loads, done.stdout.splitlines())}


def _check_named(cases: Cases) -> None:
    """Each fault is told by its name, and what is sound is not."""
    for case, (base, name) in NAMED.items():
        budget, now = ({"programs": {"train": {"2": cases[which]}}} for which in (base, case))
        lines = compare(budget, now)
        print("\n".join(lines))
        assert any(f"train, 2 images a device: {name}" in line for line in lines), case
        others = {told for which, (_, told) in NAMED.items() if which not in (case, "upcast", "one more all-reduce")}
        if case != "grouped":  # vmap changes everything
            assert not any(told in line for told in others for line in lines), case
    assert not any(find_broken(cases[case]) for case in ("sound", "sound folds"))


@pytest.mark.slow
def test_five_planted_faults_are_named() -> None:
    _check_named(_plant("cpu8"))


@pytest.mark.slow
def test_five_planted_faults_have_names_on_h100s() -> None:
    _skip_without("h100x8")
    _check_named(_plant("h100x8"))


@pytest.mark.slow
def test_committed_budget_of_the_cpu_holds() -> None:
    assert gate.main(["--target", "cpu8"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", ["h100x8", "v5e-4"])
def test_accelerators_compile_without_being_there(target: str) -> None:
    """The smallest network's training step, for a machine that this one has not."""
    _skip_without(target)
    config = Config("small", records=RecordsConfig(height=64, width=80), model=ModelConfig(
        network="tiny", compute_dtype="bfloat16"))  # fmt: skip
    figures = measure(TARGETS[target], config, ["train"], [8])["programs"]["train"]["8"]
    assert find_broken(figures) == []
    convolutions = figures["convolutions"]
    assert [convolutions[role] for role in ("forward", "input gradient", "weight gradient")] == [7, 6, 7]


def _skip_without(target: str) -> None:
    try:
        find_target(target).check()
    except DeviceError as error:
        pytest.skip(str(error))
