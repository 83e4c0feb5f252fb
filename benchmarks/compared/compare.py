"""`python -m benchmarks compare BASE NEW [NAME ...]`: is NEW slower? Benchmarks of two revisions, run in turn.

BASE and NEW are each a git revision or the folder of a checkout: the benchmarks are run in both, each run a process of
its own, BASE NEW, NEW BASE, and so on for --rounds rounds. Or both are files that --json wrote, every run of a side
appended to one file. What was told and what ran must be alike: device, versions, parameters.

Verdicts are those of benchmarks/compared/verdict.py. `regressed`: more than --tolerance times slower; of a whole
comparison's metrics none is called so by chance, but with probability 5 %. `pass`: less than that, with probability
95 %; `improved`, as much faster, passes too. `undecided`: too much noise for so few rounds. From files the runs were
not in turn: a verdict then needs three runs a side or more, and cannot tell a slower program from a machine that had
slowed.
Core-seconds resist other work on the machine better than seconds do: --metric '*core*' judges those alone.

Exit codes: 0 every metric passes; 1 one is regressed; 10 none is, but one is undecided; 2 usage; 3 another device than
--device; 4 a file of no records; 8 the sides are not alike; 11 a benchmark failed.

--self-test runs work of known size through the same judgement on this machine, without BASE and NEW: 0 every slowdown
is caught and false alarms are 5 % at most; 1 they are not.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import outputs
from benchmarks.compared import sides
from benchmarks.compared.sides import Key, Runs, Side
from benchmarks.compared.verdict import Effect, Rule, Word, compare_groups, compare_pairs, decide, run_value
from benchmarks.record import Record, load_records
from bonemet_jax import artifacts
from bonemet_jax.errors import BonemetError, InputDataError, UsageError

#: Exit codes of a comparison that does not pass.
REGRESSED, UNDECIDED = 1, 10
#: The sign test comes close to its 5 % (4.9 %), as with 13, 18 and 23; ten rounds may be spoilt. 5 is the least.
ROUNDS = 30

Design = Literal["in turn", "apart"]


@dataclass(frozen=True)
class Finding:
    """What is known of one metric before it is judged."""

    key: Key
    better: Literal["lower", "higher"]
    unit: str
    base: list[float]
    """One value a run."""
    new: list[float]
    effect: Effect | None
    """None: it cannot be judged, for this reason."""
    why: str = ""


def main(argv: Sequence[str]) -> int:
    """Run, judge, print; returns the exit code."""
    args = _parse(argv)
    if args.self_test:
        from benchmarks.compared.trials import self_test

        return self_test(args.slowdown, args.trials, args.null_trials, args.rounds, Rule(args.tolerance))
    try:
        files = [path for path in (Path(args.base), Path(args.new)) if path.is_file()]
        outputs.check_file(args.json, outputs.VERDICTS, "--json", files)
        runs, design = _gather(args)
        sides.check_alike(runs)
        findings = find_effects(runs, design, args.metric, Rule(args.tolerance))
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    words = judge(findings, Rule(args.tolerance))
    judged = list(zip(findings, words, strict=True))
    if args.json is not None:
        for finding, word in judged:
            artifacts.append_line(args.json, json.dumps(as_json(finding, word, design), sort_keys=True))
    print(*(describe(finding, word) for finding, word in judged), sep="\n")
    print(_sum_up(words, design, args.tolerance))
    return REGRESSED if "regressed" in words else UNDECIDED if "undecided" in words else 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("base", nargs="?", help="revision, checkout or file of records")
    parser.add_argument("new", nargs="?", help="the same kind of thing")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks (default step_time)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs a side, fixed beforehand (default {ROUNDS})")
    parser.add_argument("--tolerance", type=float, default=Rule.tolerance, help="times slower that is let pass (1.05)")
    parser.add_argument("--metric", action="append", metavar="GLOB", help="judge these metrics alone; may be repeated")
    parser.add_argument("--device", choices=["cpu", "gpu", "tpu"], help="refuse to run on any other platform")
    parser.add_argument("--quick", action="store_true", help="benchmarks at toy size")
    parser.add_argument("--json", type=outputs.local_path, help="append the verdicts to this JSON-lines file")
    parser.add_argument("--self-test", action="store_true", help="judge work of known size on this machine")
    parser.add_argument("--slowdown", type=float, default=1.2, help="of the self-test (1.2)")
    parser.add_argument("--trials", type=int, default=20, help="of the self-test, with the slowdown (20)")
    parser.add_argument("--null-trials", type=int, default=200, help="of the self-test, without any (200)")
    args = parser.parse_intermixed_args(argv)
    if not args.self_test and args.new is None:
        parser.error("give BASE and NEW, or --self-test")
    if args.rounds < 1 or args.tolerance < 1:
        parser.error("--rounds and --tolerance are 1 at least")
    return args


def _gather(args: argparse.Namespace) -> tuple[Runs, Design]:
    """Every record of both sides, and how they came about.

    Raises: BonemetError when one is not what it should be, or a benchmark fails.
    """
    sources: dict[Side, str] = {"base": args.base, "new": args.new}
    are_files = [Path(source).is_file() for source in sources.values()]
    if any(are_files):
        if not all(are_files) or args.names:
            raise UsageError("a file of records is compared with another one, whole", "",
                             "give two files and no NAME; --metric chooses metrics")
        if args.device or args.quick:
            raise UsageError("nothing is run where two files are compared", "", "drop --device and --quick")
        return {side: load_records([Path(source)]) for side, source in sources.items()}, "apart"
    flags = [*(["--device", args.device] if args.device else []), *(["--quick"] if args.quick else [])]
    with ExitStack() as stack:
        checkouts = {side: stack.enter_context(sides.open_checkout(source)) for side, source in sources.items()}
        return sides.run_in_turn(checkouts, args.names or ["step_time"], args.rounds, flags), "in turn"


def find_effects(runs: Runs, design: Design, globs: Sequence[str] | None, rule: Rule) -> list[Finding]:
    """Every metric of BASE, and those that only NEW has.

    Raises: InputDataError when a metric was measured of other things, or none is left.
    """
    base, new = ({key: records for key, records in sides.group(runs[side]).items()
                  if globs is None or any(fnmatchcase(key.metric, glob) for glob in globs)}
                 for side in ("base", "new"))  # fmt: skip
    sides.check_parameters(base, new)
    if not base:
        raise InputDataError("BASE has no such metric", "", "see what --json writes, or drop --metric")
    return [_find_effect(key, base.get(key, []), new.get(key, []), design, rule) for key in base | new]


def _find_effect(key: Key, base: list[Record], new: list[Record], design: Design, rule: Rule) -> Finding:
    better, a, b = (base or new)[0]["better"], _run_values(base), _run_values(new)
    effect, why = None, ""
    if not a or not b:
        why = f"only {'BASE' if a else 'NEW'} has it"
    elif min(*a, *b) <= 0:
        why = "a value is not above zero and makes no ratio"
    elif design == "apart":
        effect = compare_groups(np.array(a), np.array(b), better, rule)
    elif len(a) != len(b):
        why = "not in every run"
    else:
        effect = compare_pairs(np.array(a), np.array(b), better, rule)
    return Finding(key, better, (base or new)[0].get("unit", ""), a, b, effect, why)


def _run_values(records: list[Record]) -> list[float]:
    """One value a run; where the number is a ratio of medians, that."""
    return [record.get("ratio") or run_value(record["samples"], record["better"]) for record in records]


def judge(findings: Sequence[Finding], rule: Rule) -> list[Word]:
    """A verdict each; what cannot be judged is undecided, but for a metric that only NEW has: it passes."""
    words = iter(decide([finding.effect for finding in findings if finding.effect is not None], rule))
    return [next(words) if finding.effect is not None else "undecided" if finding.base else "pass"
            for finding in findings]  # fmt: skip


def describe(finding: Finding, word: Word) -> str:
    """One line a metric."""
    start = f"{word:<9}  {finding.key.benchmark:<10} {finding.key.metric:<24}"
    effect = finding.effect
    if effect is None:
        return f"{start} {finding.why}"
    base, new = np.median(finding.base), np.median(finding.new)
    interval = f"{effect.low:.3f} to {effect.high:.3f}" if math.isfinite(effect.high) else "too few runs"
    return (f"{start} {effect.slowdown:.3f} times slower (90 % {interval}); {base:.4g} -> {new:.4g} {finding.unit}, "
            f"runs {len(finding.base)} + {len(finding.new)}")


def as_json(finding: Finding, word: Word, design: Design) -> dict[str, Any]:
    """The verdict with all that it rests on; an end of an interval that is not known is null."""
    effect = finding.effect
    told = {name: value for name, value in asdict(finding).items() if name != "key"}
    return told | finding.key._asdict() | {
        "parameters": json.loads(finding.key.parameters),
        "effect": effect and {name: x if math.isfinite(x) else None for name, x in effect._asdict().items()},
        "verdict": word,
        "design": design,
    }


def _sum_up(words: Sequence[Word], design: Design, tolerance: float) -> str:
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("pass", "improved", "regressed", "undecided"))
    told = f"compare: {counts}, at a tolerance of {tolerance:g}"
    if design == "apart":
        told += ("; from files, whose runs were not in turn: a machine that slowed between them looks the same as a "
                 "slower program")  # fmt: skip
    return told
