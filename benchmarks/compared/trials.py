"""Does `compare` catch a known slowdown here, and keep quiet where there is none? Real work in real processes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.compared.sides import Side, alternate
from benchmarks.compared.verdict import Effect, Rule, Word, compare_pairs, decide, run_value

#: Work of BASE, and samples a process: about 3 ms each, 0.05 s with the start of the process.
UNITS, SAMPLES = 10, 10
CLOCKS = ("wall_s", "core_s")
_PROGRAM = Path(__file__).with_name("known_work.py")


@dataclass(frozen=True)
class Trial:
    """One comparison of one metric."""

    word: Word
    effect: Effect


def self_test(slowdown: float, n_trials: int, n_null: int, rounds: int, rule: Rule) -> int:
    """Compare BASE with a slower one and with itself, print what was found; 0 when the rates hold, else 1."""
    start, held = time.perf_counter(), dict.fromkeys(CLOCKS, True)
    slower = round(slowdown * UNITS)
    print(f"{rounds} rounds a comparison, tolerance {rule.tolerance:g}, {SAMPLES} samples of about 3 ms a process; "
          f"{slower} units of work beside {UNITS}, then {UNITS} beside {UNITS}", flush=True)
    for name, units, n in ((f"slower, {slower / UNITS:g} x", slower, n_trials), ("no change", UNITS, n_null)):
        trials = [run_trial(units, rounds, rule) for _ in range(n)]
        for clock in CLOCKS:
            words = [trial[clock].word for trial in trials]
            print(_tell(f"{name}, {clock}", [trial[clock] for trial in trials]), flush=True)
            alarms = words.count("regressed")
            held[clock] &= alarms <= 0.05 * n if units == UNITS else alarms == n
    told = ", ".join(f"{clock} {'holds' if well else 'does not hold'}" for clock, well in held.items())
    print(f"self-test on this machine, {time.perf_counter() - start:.0f} s, load average {os.getloadavg()[2]:.1f} on "
          f"{os.cpu_count()} cores: {told}")  # fmt: skip
    return 0 if all(held.values()) else 1


def run_trial(units: int, rounds: int, rule: Rule) -> dict[str, Trial]:
    """One comparison of `units` with UNITS, judged by each clock for itself."""
    sizes: dict[Side, int] = {"base": UNITS, "new": units}
    runs = alternate(lambda side: _time_work(sizes[side]), rounds)
    found = {}
    for clock in CLOCKS:
        base, new = (np.array([run_value(samples[clock], "lower") for samples in runs[side]]) for side in sizes)
        effect = compare_pairs(base, new, "lower", rule)
        found[clock] = Trial(decide([effect], rule)[0], effect)
    return found


def _time_work(units: int) -> dict[str, list[float]]:
    command = [sys.executable, "-I", "-S", str(_PROGRAM), str(units), str(SAMPLES)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def _tell(name: str, trials: list[Trial]) -> str:
    """How often each verdict was given, with its exact interval where it is an alarm; the effect."""
    n, words = len(trials), [trial.word for trial in trials]
    alarms = words.count("regressed")
    low, high = (100 * end for end in stats.binomtest(alarms, n).proportion_ci(method="exact"))
    slowdowns = [trial.effect.slowdown for trial in trials]
    beside = sum(not trial.effect.low <= 1 <= trial.effect.high for trial in trials)
    return (f"{name:<22} regressed {alarms}/{n} (95 % {low:.1f} to {high:.1f} %), pass {words.count('pass')}, "
            f"improved {words.count('improved')}, undecided {words.count('undecided')}; {np.median(slowdowns):.3f} "
            f"times slower (median; {min(slowdowns):.3f} to {max(slowdowns):.3f}); interval without 1 in {beside}")
