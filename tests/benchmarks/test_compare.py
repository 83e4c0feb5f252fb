"""Verdicts on timed metrics: what they claim of noise of any kind, what is refused, and real work of known size."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.compared import compare, sides
from benchmarks.compared.compare import REGRESSED, ROUNDS, UNDECIDED
from benchmarks.compared.sides import alternate
from benchmarks.compared.trials import run_trial
from benchmarks.compared.verdict import Effect, Rule, Word, compare_groups, compare_pairs, decide, holm, run_value

RULE = Rule()
#: A checkout whose benchmark records the seconds that it is told.
FAKE = """
import json, pathlib, sys
assert sorted(sys.argv[1:]) == sorted(["dispatch", "--json", sys.argv[3], "--quick", "--peer", "none"]), "unknown"
log = pathlib.Path(__file__).parents[2] / "log"
with log.open("a") as stream:
    stream.write("{side} ")
record = {record} | {{"samples": [{seconds}] * 3}}
pathlib.Path(sys.argv[3]).write_text(json.dumps(record) + chr(10))
"""


def make_record(**changes: Any) -> dict[str, Any]:
    return {
        "benchmark": "dispatch", "metric": "ours_ms", "unit": "ms", "better": "lower", "samples": [1.0, 1.1, 1.2],
        "ratio": None, "parameters": {"network": "tiny", "compile_s": 1.0}, "commit": "abc", "dirty": False,
        "schema": 2, "quick": True, "device": {"kind": "cpu", "count": 1}, "xla_flags": "", "cpu_model": "abacus",
        "cpu_count": 2, "versions": {"jax": "0.0.1", "bonemet-jax": "1"},
    } | changes  # fmt: skip


def save(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def noise(random: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Seconds of runs in turn, the last axis BASE then NEW: what a machine does to them."""
    if kind == "heavy tails":
        return np.exp(0.03 * np.abs(random.standard_cauchy(shape)).clip(0, 100))
    if kind == "bursts":  # a quarter of the runs are held up, up to threefold
        return random.lognormal(0, 0.01, shape) * np.where(random.random(shape) < 0.25, random.uniform(1, 3, shape), 1)
    drift = np.exp(0.02 * np.cumsum(random.standard_normal((*shape[:-2], shape[-2] * 2)), axis=-1))
    return drift.reshape(shape) * random.lognormal(0, 0.01, shape)


def judge_noise(kind: str, slowdown: float, n_metrics: int, n_trials: int, rounds: int = ROUNDS) -> list[list[Word]]:
    """Verdicts on every metric of every comparison."""
    seconds = noise(np.random.default_rng(0), kind, (n_trials, n_metrics, rounds, 2))
    seconds[..., 1::2, :] = seconds[..., 1::2, ::-1]  # odd rounds go backwards
    seconds[..., 1] *= slowdown
    return [decide([compare_pairs(*metric.T, "lower", RULE) for metric in trial], RULE) for trial in seconds]


@pytest.mark.parametrize("kind", ["heavy tails", "bursts", "drift"])
def test_a_whole_comparison_gives_a_false_alarm_as_rarely_as_it_says(kind: str) -> None:
    """The worst case: every metric is exactly as much slower as is let pass."""
    alarms = sum("regressed" in words for words in judge_noise(kind, RULE.tolerance, 4, 400))
    assert alarms >= 1, "a rule that never alarms tells nothing"
    assert stats.binomtest(alarms, 400, RULE.alpha, alternative="greater").pvalue > 0.01, alarms


@pytest.mark.parametrize("kind", ["heavy tails", "bursts", "drift"])
def test_a_slowdown_is_caught_and_nothing_is_alarming_without_one(kind: str) -> None:
    slower, alike = ([words[0] for words in judge_noise(kind, x, 1, 200)] for x in (1.3, 1.0))
    assert slower.count("regressed") >= 180 and "pass" not in slower
    assert alike.count("regressed") == 0 and alike.count("pass") >= 120


@pytest.mark.parametrize("kind", ["heavy tails", "bursts"])
def test_what_is_slower_than_the_tolerance_passes_as_rarely_as_it_says(kind: str) -> None:
    passed = sum(words == ["pass"] for words in judge_noise(kind, RULE.tolerance, 1, 400))
    assert stats.binomtest(passed, 400, RULE.alpha, alternative="greater").pvalue > 0.01, passed


def test_faster_is_told() -> None:
    assert {words[0] for words in judge_noise("bursts", 1 / 1.5, 1, 20)} == {"improved"}


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_slower_is_slower_whichever_way_the_metric_counts(better: Any) -> None:
    base = np.random.default_rng(0).lognormal(0, 0.01, ROUNDS)
    new = base * (1.5 if better == "lower" else 1 / 1.5)
    for judged in (compare_pairs, compare_groups):
        effect = judged(base, new, better, RULE)
        assert effect.low > 1.4 and effect.slowdown == pytest.approx(1.5, abs=0.02)
        assert decide([effect], RULE) == ["regressed"]


def test_interval_in_turn_is_that_of_the_sign_test() -> None:
    """Conover, Practical Nonparametric Statistics: 16 values, 5th smallest and largest, 2 x 3.84 % outside."""
    ratios = np.arange(1.0, 17)
    effect = compare_pairs(np.ones(16), ratios, "lower", RULE)
    assert (effect.low, effect.high) == pytest.approx((5, 12))
    assert effect.slowdown == pytest.approx(np.sqrt(8 * 9))
    assert effect.p_slower == pytest.approx(stats.binomtest(15, 16, alternative="greater").pvalue)


def test_p_value_apart_is_scipys() -> None:
    random = np.random.default_rng(3)
    for m, n in ((3, 3), (4, 7), (9, 5)):
        base, new = random.lognormal(0, 0.1, m), random.lognormal(0.1, 0.1, n)
        for p, a, b in (("p_slower", base, new), ("p_faster", new, base)):
            theirs = stats.mannwhitneyu(b, a * RULE.tolerance, alternative="greater", method="exact").pvalue
            assert getattr(compare_groups(base, new, "lower", RULE), p) == pytest.approx(theirs)


def test_p_value_and_interval_agree() -> None:
    random = np.random.default_rng(4)
    for judged in (compare_pairs, compare_groups):
        effects = [judged(*random.lognormal(0, 0.05, (2, 9)), "lower", Rule(tolerance=1.01)) for _ in range(200)]
        slower = [effect.p_slower <= RULE.alpha for effect in effects]
        assert slower == [effect.low > 1.01 for effect in effects] and 0 < sum(slower) < 100


def test_equal_values_pass() -> None:
    """Bytes on disk, say: no noise at all."""
    same = np.full(ROUNDS, 7.0)
    effect = compare_pairs(same, same, "lower", RULE)
    assert effect[:3] == (1, 1, 1) and decide([effect], RULE) == ["pass"]


def test_too_few_runs_decide_nothing() -> None:
    for judged, n in ((compare_pairs, 4), (compare_groups, 2)):
        effect = judged(np.ones(n), np.full(n, 9.0), "lower", RULE)
        assert (effect.low, effect.high) == (0, np.inf) and decide([effect], RULE) == ["undecided"]
        assert decide([judged(np.ones(n + 1), np.full(n + 1, 9.0), "lower", RULE)], RULE) == ["regressed"]


def test_holm_step_down() -> None:
    """Holm (1979): the smallest times all, the next times one fewer, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_one_alarm_among_many_metrics_needs_more_than_one_alone() -> None:
    weak, quiet = Effect(1.2, 1.06, 1.3, 0.03, 1), Effect(1, 0.99, 1.01, 1, 0.5)
    assert decide([weak], RULE) == ["regressed"]
    assert decide([weak, quiet], RULE) == ["undecided", "pass"]


def test_the_fast_decile_is_a_runs_value() -> None:
    assert run_value([5.0, 1, 2, 3, 4], "lower") == pytest.approx(1.4)
    assert run_value([5.0, 1, 2, 3, 4], "higher") == pytest.approx(4.6)


def test_sides_take_turns() -> None:
    order: list[str] = []
    found = alternate(lambda side: order.append(side) or len(order), 4)
    assert " ".join(order) == "base new new base base new new base"
    assert found == {"base": [1, 4, 5, 8], "new": [2, 3, 6, 7]}


def make_checkout(folder: Path, side: str, seconds: float, **changes: Any) -> str:
    for package in ("benchmarks", "bonemet_jax"):
        (folder / side / package).mkdir(parents=True)
        (folder / side / package / "__init__.py").touch()
    record = make_record(commit=side, **changes)
    code = FAKE.format(side=side, seconds=seconds, record=record)
    (folder / side / "benchmarks" / "__main__.py").write_text(code)
    return str(folder / side)


@pytest.mark.parametrize(("seconds", "code"), [(0.001, 0), (0.003, REGRESSED)])
def test_two_checkouts(tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float, code: int) -> None:
    """What each process says it measured is judged; each runs as often as it should, in turn, after one toy run."""
    base, new = make_checkout(tmp_path, "base", 0.001), make_checkout(tmp_path, "new", seconds)
    file = tmp_path / "verdicts.jsonl"
    assert compare.main([base, new, "dispatch", "--quick", "--rounds", "5", "--json", str(file)]) == code
    assert (tmp_path / "log").read_text() == "base new " + "base new new base base new new base base new "
    told = json.loads(file.read_text())
    assert told["verdict"] == ("regressed" if code else "pass") and told["design"] == "in turn"
    assert told["new"] == [seconds] * 5 and told["parameters"] == {"network": "tiny"}
    assert told["effect"]["slowdown"] == pytest.approx(seconds / 0.001)
    assert told["verdict"] in capsys.readouterr().out


def test_a_benchmark_that_fails_is_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = make_checkout(tmp_path, "base", 0.001), make_checkout(tmp_path, "new", 0.001)
    assert compare.main([base, new, "folds", "--quick", "--rounds", "1"]) == 11
    said = capsys.readouterr().err
    assert "folds failed with exit code 1 (AssertionError" in said and said.count("\n") == 1


@pytest.mark.parametrize(("slowdown", "runs", "code"), [(1, 4, 0), (1.5, 4, REGRESSED), (1.5, 2, UNDECIDED)])
def test_files_of_several_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], slowdown: float, runs: int, code: int
) -> None:
    factors = 1 + 0.001 * np.arange(runs)
    base = save(tmp_path / "base", [make_record(samples=[x]) for x in factors])
    new = save(tmp_path / "new", [make_record(samples=[x * slowdown], commit="def") for x in factors])
    assert compare.main([base, new]) == code
    assert "not in turn" in capsys.readouterr().out


def test_metrics_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ratio counts as it is quoted; what one side lacks or what has no ratio is told; chosen metrics are judged."""
    shared = [make_record(metric="x_over_y", samples=[9.0], ratio=2.0), make_record(metric="growth", samples=[-1.0])]
    base = save(tmp_path / "base", [*shared, make_record(metric="gone")] * 4)
    new = save(tmp_path / "new", [*shared, make_record(metric="more")] * 4)
    assert compare.main([base, new]) == UNDECIDED
    said = capsys.readouterr().out
    assert "2 -> 2" in said and "not above zero" in said and "only BASE has it" in said and "only NEW has it" in said
    assert compare.main([base, new, "--metric", "x_*", "--metric", "more"]) == 0


@pytest.mark.parametrize(("changes", "told"), [
    ({"device": {"kind": "gpu", "count": 1}}, "differs in device: kind cpu and gpu"),
    ({"versions": {"jax": "0.0.2", "bonemet-jax": "1"}}, "differs in versions: jax 0.0.1 and 0.0.2"),
    ({"parameters": {"network": "resnet50"}}, "differs in its parameters: network tiny and resnet50"),
    ({"quick": False}, "differs in quick: True and False"),
])  # fmt: skip
def test_sides_that_are_not_alike_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    base, new = save(tmp_path / "base", [make_record()] * 4), save(tmp_path / "new", [make_record(**changes)] * 4)
    assert compare.main([base, new]) == 8
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_what_may_differ(tmp_path: Path) -> None:
    """The code itself, and parameters that a benchmark found out."""
    changes = {"commit": "def", "versions": {"jax": "0.0.1", "bonemet-jax": "2"}}
    found = [make_record(**changes, parameters={"network": "tiny", "compile_s": x}) for x in (1.0, 2.0, 3.0, 4.0)]
    assert compare.main([save(tmp_path / "base", [make_record()] * 4), save(tmp_path / "new", found)]) == 0
    mixed = save(tmp_path / "mixed", [make_record(), make_record(commit="def")])
    assert compare.main([mixed, mixed]) == 8, "a side of two commits"


def test_a_folder_whose_code_would_not_be_what_runs_is_refused(tmp_path: Path) -> None:
    base = make_checkout(tmp_path, "base", 0.001)
    (tmp_path / "base" / "benchmarks" / "__init__.py").unlink()
    assert compare.main([base, base, "dispatch"]) == 2


def test_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save(tmp_path / "file", [make_record()])
    for argv in (["no-such-revision", "HEAD"], [file, "HEAD"], [file, file, "dispatch"]):
        assert compare.main(argv) == 2
    assert compare.main([file, save(tmp_path / "broken", [{"benchmark": "dispatch"}])]) == 4
    assert "line 1" in capsys.readouterr().err
    for argv in ([], ["HEAD"], ["HEAD", "HEAD", "--rounds", "0"]):
        with pytest.raises(SystemExit, match="2"):
            compare.main(argv)


def test_a_revision_is_checked_out_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("git") is None:
        pytest.skip("no git on PATH")

    def git(*args: str) -> str:
        told = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *args]
        return subprocess.run(told, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    monkeypatch.setattr(sides, "ROOT", tmp_path)
    git("init", "--quiet")
    for text in ("old", "newer"):
        (tmp_path / "file").write_text(text)
        git("add", "file")
        git("commit", "--quiet", "-m", text)
    with sides.open_checkout("HEAD~1") as checkout:
        assert (checkout / "file").read_text() == "old" and checkout != tmp_path
    assert not checkout.exists() and (tmp_path / "file").read_text() == "newer"
    assert len(git("worktree", "list").splitlines()) == 1
    with pytest.raises(SystemExit, match="143"), sides.open_checkout("HEAD~1"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert len(git("worktree", "list").splitlines()) == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.slow
def test_real_work_half_as_long_again_is_caught() -> None:
    """Core-seconds of real processes, which a busy machine disturbs least; `compare --self-test` gives the rates."""
    assert run_trial(15, ROUNDS, RULE)["core_s"].word == "regressed"
    assert run_trial(10, ROUNDS, RULE)["core_s"].word != "regressed"


@pytest.mark.slow
def test_this_checkout_beside_its_own_last_commit(tmp_path: Path) -> None:
    """The whole command on real benchmarks: it runs, and what too few rounds say is undecided."""
    command = [sys.executable, "-m", "benchmarks", "compare", "HEAD", str(sides.ROOT), "dispatch", "--quick",
               "--rounds", "2", "--device", "cpu", "--json", str(tmp_path / "verdicts.jsonl")]  # fmt: skip
    done = subprocess.run(command, cwd=sides.ROOT, capture_output=True, text=True)
    assert done.returncode == UNDECIDED, done.stderr
    told = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert {len(metric["base"]) for metric in told} == {2} and {metric["verdict"] for metric in told} == {"undecided"}
