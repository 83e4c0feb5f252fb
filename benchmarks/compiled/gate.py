"""`python -m benchmarks gate --target cpu8`: compiled programs held to their budget, figure by figure, exactly.

Exit codes: 0 every figure is the budget's; 1 one differs, for better or worse, or has none beside others that have; 2
unknown target, program or config; 3 what compiles for the target is not installed, or it does not compile; 9 no budget
for this target, jax version and config. A change that is meant is written with
`python -m benchmarks aot --target cpu8 --write-budget`, and the budget is committed with it.
"""

import re
import sys
from collections.abc import Sequence

from benchmarks.compiled.aot import make_parser, measure_arguments
from benchmarks.compiled.budget import BUDGETS, Change, Figures, find_broken, find_changes, load_budget, name_faults
from benchmarks.outputs import local_path
from bonemet_jax.errors import BonemetError

#: Exit code when a figure is not the budget's.
CHANGED = 1
_DIGITS = re.compile(r"[\d,]+")


def main(argv: Sequence[str]) -> int:
    """Compile, compare, print what changed; returns the exit code."""
    parser = make_parser("python -m benchmarks gate", str(__doc__))
    parser.add_argument("--budgets", type=local_path, default=BUDGETS, help="folder of the budgets")
    args = parser.parse_args(argv)
    try:
        measured = measure_arguments(args)
        lines = compare(load_budget(args.budgets, measured), measured)
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    compiled = ", ".join(measured["programs"])
    if not lines:
        print(f"gate: {measured['target']}, jax {measured['jax']}: {compiled}: every figure is the budget's")
        return 0
    print("\n".join(lines))
    print(f"gate: {measured['target']}, jax {measured['jax']}: figures differ from the budget. If that is meant: "
          f"python -m benchmarks aot --target {measured['target']} --write-budget")  # fmt: skip
    return CHANGED


def compare(budget: Figures, measured: Figures) -> list[str]:
    """What differs, in words: of each program the faults, then every figure by operation; nothing when all is equal."""
    found = []
    for name, sizes in measured["programs"].items():
        told: set[tuple[str, ...] | str] = set()
        for local_batch in sorted(sizes, key=int):
            was = budget["programs"].get(name, {}).get(local_batch)
            where = f"{name}, {local_batch} images a device"
            if was is None:
                found.append(f"{where}: not in the budget")
                continue
            found += _compare_program(where, was, sizes[local_batch], told)
    return found


def _compare_program(where: str, was: Figures, now: Figures, told: set[tuple[str, ...] | str]) -> list[str]:
    """Faults and figures that a smaller batch told of already are not repeated, but for their numbers."""
    every = [*name_faults(was, now), *(f"must never be: {fault}" for fault in find_broken(now))]
    faults = [fault for fault in every if _DIGITS.sub("", fault) not in told]
    changes = [change for change in find_changes(was, now) if change.path not in told]
    told |= {change.path for change in changes} | {_DIGITS.sub("", fault) for fault in faults}
    return [*(f"{where}: {fault}" for fault in faults), *(f"{where}:   {change}" for change in _sort(changes))]


def _sort(changes: list[Change]) -> list[Change]:
    """Totals first, details of single operations last."""
    return sorted(changes, key=lambda change: len(change.path))
