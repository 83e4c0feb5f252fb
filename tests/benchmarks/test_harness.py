"""Interleaved timing and the interval of a ratio."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.harness import Measurement, Ratio, interleave, make_record, print_record, ratio_interval
from benchmarks.processes import cpu_seconds, list_tree
from bonemet_jax.config import Config

BURN = "import time\nwhile time.process_time() < {}: pass\n"


def test_rounds_alternate_after_the_warm_up() -> None:
    calls: list[str] = []
    found = interleave({name: lambda name=name: calls.append(name) for name in "abc"}, n=3, warm_up=2)
    assert "".join(calls) == "abc" "cba" "abc" "cba" "abc"
    assert all(t.wall_s.shape == t.cpu_s.shape == (3,) and (t.wall_s > 0).all() for t in found.values())


def test_core_seconds_leave_sleep_out_and_count_threads_and_children() -> None:
    found = interleave({"sleep": lambda: time.sleep(0.2), "burn": lambda: burn(0.2)}, n=2, warm_up=0)
    assert (found["sleep"].wall_s >= 0.2).all() and (found["sleep"].cpu_s < 0.1).all()
    assert (found["burn"].cpu_s >= 0.2).all()
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", BURN.format(0.4)], check=True)
    assert cpu_seconds() - before > 0.39, "an ended child"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells the time of living children")
def test_core_seconds_count_children_that_live() -> None:
    before = cpu_seconds()
    command = [sys.executable, "-c", BURN.format(0.4) + "print('done', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "done\n"
        assert child.pid in list_tree(os.getpid())
        alive = cpu_seconds() - before
        child.communicate("\n")
    assert alive > 0.37, "0.4 s, known to 10 ms for each of user and system time"
    assert cpu_seconds() - before >= alive - 0.02, "what was counted alive is counted once it has ended"


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_ratio_of_scaled_samples_is_the_scale() -> None:
    b = np.random.default_rng(0).lognormal(0, 0.3, 20)
    assert ratio_interval(3 * b, b) == pytest.approx((3.0, 3.0, 3.0))


def test_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    # Two log-normal samples whose medians are 2 apart by construction.
    random = np.random.default_rng(1)
    pairs = [(2 * random.lognormal(0, 0.2, 40), random.lognormal(0, 0.2, 40)) for _ in range(200)]
    intervals = [ratio_interval(a, b, seed, 400) for seed, (a, b) in enumerate(pairs)]
    assert 0.90 <= np.mean([r.low <= 2 <= r.high for r in intervals]) <= 0.99
    assert all(r.low <= r.value <= r.high for r in intervals)


def test_pairs_stay_together() -> None:
    # Rounds differ a hundredfold, as on a busy machine, yet in every round the ratio is 2 within 1 %.
    random = np.random.default_rng(2)
    b = random.lognormal(0, 2, 15)
    found = ratio_interval(2 * b * random.uniform(0.99, 1.01, 15), b)
    assert 1.97 < found.low <= found.value <= found.high < 2.03


def test_equal_seeds_give_equal_intervals() -> None:
    a, b = np.random.default_rng(3).random((2, 12)) + 1
    assert ratio_interval(a, b) == ratio_interval(a, b) != ratio_interval(a, b, seed=1)


def test_record_and_line_of_a_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    interval = Ratio(3.1, 2.5, 3.5)
    ratio = Measurement("x", "speedup", "1", "higher", [2.0, 4.0] * 3, {}, Config("x"), {"equal": 1.0}, interval)
    record = make_record(ratio, quick=False)
    assert (record["ratio"], record["ci95"], record["median"], record["n"]) == (3.1, [2.5, 3.5], 3.0, 6)
    assert record["schema"] == harness.SCHEMA == 3
    print_record(record)
    assert "ratio 3.1 (95 % 2.5 to 3.5), n 6" in capsys.readouterr().out


def test_five_rounds_give_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    ratio = Measurement("x", "r", "1", "lower", [1.0] * 5, {}, Config("x"), {}, Ratio(1, 1, 1))
    record = make_record(ratio, quick=False)
    print_record(record)
    assert record["ci95"] is None and "ratio 1, n 5" in capsys.readouterr().out


def test_what_is_not_finite_is_left_out_and_the_rest_kept(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = (("a", 1.0), ("b", np.nan))
    two = [Measurement("x", name, "s", "lower", [value], {}, Config("x")) for name, value in pairs]
    assert [one.metric for one in harness.drop_unmeasured(two)] == ["a"]
    assert capsys.readouterr().err == "x b: not measured here, left out\n"


def test_record_of_a_number_has_no_ratio() -> None:
    record = make_record(Measurement("x", "s", "s", "lower", [1.0], {}, Config("x")), quick=True)
    assert record["ratio"] is record["ci95"] is record["compared"] is None and record["quick"] is True
    assert record["interval"] is None and record["mad"] == 0


def test_the_device_is_left_to_the_processes_that_work_on_it() -> None:
    """A TPU belongs to the first process that touches it."""
    code = ("import benchmarks.build, benchmarks.compile, benchmarks.measure, benchmarks.study\n"
            "from benchmarks.harness import check_device\ncheck_device('cpu')\n"
            "from jax._src import xla_bridge\nprint(xla_bridge.backends_are_initialized())")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
