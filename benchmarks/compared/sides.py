"""The two sides of a comparison: checkouts whose benchmarks are run in turn, or files of records."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from benchmarks.record import Record, load_records
from bonemet_jax.errors import BonemetError, InputDataError, UsageError

ROOT = Path(__file__).parents[2]
SIDES: tuple["Side", "Side"] = ("base", "new")
#: Of a record: alike on both sides, or nothing is compared.
CONDITIONS = ("quick", "device", "versions", "xla_flags", "cpu_model", "cpu_count")
#: Parameters that a benchmark found out rather than was told.
FOUND_OUT = frozenset({"compile_s", "n_traces", "collectives", "collective_bytes", "limited_by", "copy_gb_per_s",
                       "file_mb", "stage_core_ms_per_image"})  # fmt: skip

Side = Literal["base", "new"]
Runs = dict[Side, list[Record]]
T = TypeVar("T")


class RunError(BonemetError):
    """A benchmark failed in a checkout: nothing was compared."""

    exit_code = 11


class Key(NamedTuple):
    """One metric of one size."""

    benchmark: str
    metric: str
    parameters: str
    """As JSON."""


def alternate(run: Callable[[Side], T], rounds: int) -> dict[Side, list[T]]:
    """What each side's run gives, one of each a round; odd rounds go backwards, so that none always follows the other.

    A machine that grows slower at an even pace, or warms up, then favours neither.
    """
    found: dict[Side, list[T]] = {side: [] for side in SIDES}
    for i in range(rounds):
        for side in SIDES[:: -1 if i % 2 else 1]:
            found[side].append(run(side))
    return found


@contextmanager
def open_checkout(source: str) -> Iterator[Path]:
    """The folder itself, or a temporary worktree of a revision of this checkout, which is removed in the end.

    SIGTERM and SIGHUP are an end too: exit codes 143 and 129.

    Raises: UsageError when it is neither.
    """
    folder = Path(source)
    # Without these files python would take the packages of another checkout that it finds later on its path.
    if all((folder / package / "__init__.py").is_file() for package in ("benchmarks", "bonemet_jax")):
        yield folder.resolve()
        return
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{source}^{{commit}}")
    with _end_at_signals(), tempfile.TemporaryDirectory(prefix="bonemet_compare_") as temporary:
        worktree = str(Path(temporary) / "checkout")
        if commit is None or _git("worktree", "add", "--quiet", "--detach", worktree, commit) is None:
            raise UsageError(f"no revision, checkout or file of records: {source}", ROOT,
                             "give a git revision, a folder with benchmarks and bonemet_jax, or what --json wrote")
        try:
            yield Path(worktree)
        finally:
            _git("worktree", "remove", "--force", worktree)


@contextmanager
def _end_at_signals() -> Iterator[None]:
    """Ends the process as an exception does, which lets others clean up behind them."""
    before = {number: signal.signal(number, lambda number, _: sys.exit(128 + number))
              for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN}  # nohup
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _git(*args: str) -> str | None:
    """Output of a git command in this checkout; None where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, encoding="utf-8")
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()


def run_in_turn(checkouts: dict[Side, Path], names: Sequence[str], rounds: int, flags: Sequence[str]) -> Runs:
    """Records of each benchmark in each checkout, a process each; one toy run a side before, which nobody counts.

    It fills the page cache and leaves byte code behind. Peers are left out: what they take is nobody's regression.
    """
    flags = [*flags, "--peer", "none"]
    runs: Runs = {side: [] for side in SIDES}
    for name in names:
        for side in SIDES:
            run_once(checkouts[side], name, [flag for flag in flags if flag != "--quick"] + ["--quick"])

        def run(side: Side, name: str = name) -> list[Record]:
            start = time.perf_counter()
            records = run_once(checkouts[side], name, flags)
            print(f"{name}, {side}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
            return records

        for side, found in alternate(run, rounds).items():
            runs[side] += [record for records in found for record in records]
    return runs


def run_once(checkout: Path, name: str, flags: Sequence[str]) -> list[Record]:
    """Records of one benchmark, by the code of this checkout.

    Raises: RunError when it fails.
    """
    path = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))
    # Without a compilation cache, which the first run would fill for all that follow.
    env = os.environ | {"PYTHONPATH": path, "BONEMET_CACHE_DIR": "off"}
    with tempfile.TemporaryDirectory(prefix="bonemet_compare_") as temporary:
        file = Path(temporary) / "records.jsonl"
        command = [sys.executable, "-m", "benchmarks", name, "--json", str(file), *flags]
        done = subprocess.run(command, env=env, cwd=checkout, capture_output=True, encoding="utf-8")
        if done.returncode or not file.is_file():
            said = (done.stderr.strip().splitlines() or ["it wrote no record"])[-1]
            raise RunError(f"{name} failed with exit code {done.returncode} ({said})", checkout,
                           f"run python -m benchmarks {name} there")
        return load_records([file])


def check_alike(runs: Runs) -> None:
    """Raises: InputDataError when not all ran under the same conditions, or a side is of more than one commit."""
    for side in SIDES:
        if not runs[side]:
            raise InputDataError(f"{side.upper()} has no records")
        for name in ("commit", "dirty"):
            _check_equal(name, *(_pick(record, name) for record in runs[side]), what=f"{side.upper()}'s runs")
    for name in CONDITIONS:
        _check_equal(name, *(_pick(record, name) for side in SIDES for record in runs[side]), what="what is compared")


def _pick(record: Record, name: str) -> Any:
    """A field; of the versions those of what the code stands on, not its own."""
    if name != "versions":
        return record[name]
    return {package: version for package, version in record[name].items() if package != "bonemet-jax"}


def _check_equal(name: str, first: Any, *others: Any, what: str) -> None:
    other = next((value for value in others if value != first), first)
    if other != first:
        raise InputDataError(f"{what} differs in {name}: {_differ(first, other)}", "", "run both sides alike")


def _differ(a: Any, b: Any) -> str:
    """The first thing in which two values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        name = next(name for name in sorted(a | b) if a.get(name) != b.get(name))
        return f"{name} {a.get(name)} and {b.get(name)}"
    return f"{a} and {b}"


def group(records: Sequence[Record]) -> dict[Key, list[Record]]:
    """Each metric's records, in the order in which they were made."""
    found: dict[Key, list[Record]] = {}
    for record in records:
        told = {name: value for name, value in record["parameters"].items() if name not in FOUND_OUT}
        key = Key(record["benchmark"], record["metric"], json.dumps(told, sort_keys=True))
        found.setdefault(key, []).append(record)
    return found


def check_parameters(base: dict[Key, list[Record]], new: dict[Key, list[Record]]) -> None:
    """Raises: InputDataError when a metric that both sides have was measured of other things."""
    for key in base:
        rivals = [other for other in new if other[:2] == key[:2]]
        if rivals and not any(other[:2] == key[:2] for other in base.keys() & new.keys()):
            told = _differ(json.loads(key.parameters), json.loads(rivals[0].parameters))
            raise InputDataError(f"{key.benchmark} {key.metric} differs in its parameters: {told}", "",
                                 "run both sides alike")
