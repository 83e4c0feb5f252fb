"""Budgets: figures that a target's programs are held to, one file a target and jax version; what differs from them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bonemet_jax import artifacts
from bonemet_jax.errors import BonemetError

BUDGETS = Path(__file__).parents[1] / "budgets"
Figures = dict[str, Any]


class NoBudgetError(BonemetError):
    """Nothing to compare with: other versions compile other programs."""

    exit_code = 9


class Change(NamedTuple):
    """One figure that is not the budget's."""

    path: tuple[str, ...]
    was: float
    now: float

    def __str__(self) -> str:
        share = f", {self.now / self.was - 1:+.2%}" if self.was else ""
        return f"{', '.join(self.path)}: {self.was:,} -> {self.now:,} ({self.now - self.was:+,}{share})"


def budget_path(folder: Path, measured: Figures) -> Path:
    """File of a measurement's target and jax version."""
    return folder / f"{measured['target']}-jax{measured['jax']}.json"


def load_budget(folder: Path, measured: Figures) -> Figures:
    """The budget of the same target, jax version and config.

    Raises:
        NoBudgetError: there is none.
        CorruptFileError: its file cannot be read.
    """
    path, mend = budget_path(folder, measured), f"python -m benchmarks aot --target {measured['target']} --write-budget"
    if not path.is_file():
        others = sorted(file.stem.rpartition("-jax")[2] for file in folder.glob(f"{measured['target']}-jax*.json"))
        known = f"only for jax {', '.join(others)}" if others else "for no version"
        raise NoBudgetError(f"no budget for {measured['target']} under jax {measured['jax']}, {known}", folder, mend)
    found = artifacts.load_json(path).get(measured["fingerprint"])
    if found is None:
        raise NoBudgetError(f"no budget for config {measured['fingerprint']} ({measured['config']})", path, mend)
    return found


def save_budget(folder: Path, measured: Figures) -> Path:
    """Put what was measured in its place in the budget of its target, jax version and config; the file."""
    path = budget_path(folder, measured)
    budgets = artifacts.load_json(path) if path.is_file() else {}
    old = budgets.get(measured["fingerprint"], {}).get("programs", {})
    new = {name: old.get(name, {}) | sizes for name, sizes in measured["programs"].items()}
    budgets[measured["fingerprint"]] = measured | {"programs": old | new}
    artifacts.write_json(path, budgets)
    return path


def find_changes(was: Figures, now: Figures) -> list[Change]:
    """Every figure of one program that differs; what is missing on one side is 0 there."""
    before, after = dict(_flatten(was)), dict(_flatten(now))
    paths = [*after, *(path for path in before if path not in after)]
    found = (Change(path, before.get(path, 0), after.get(path, 0)) for path in paths)
    return [change for change in found if change.was != change.now]


def name_faults(was: Figures, now: Figures) -> list[str]:
    """What got worse, in words, by operation."""
    found = []
    if now["compilations"] > was["compilations"]:
        found.append(f"a second compile: a run calls it with {now['compilations']} different sets of arguments")
    if now["memory"]["alias"] < was["memory"]["alias"]:
        lost = was["memory"]["alias"] - now["memory"]["alias"]
        found.append(f"a lost donation: {lost:,} bytes of the state are no longer updated in place")
    if (n := now["convolutions"]["grouped"] - was["convolutions"]["grouped"]) > 0:
        found.append(f"grouped convolutions: {n} more (vmap over members makes them)")
    for kind in sorted({*was["collectives"], *now["collectives"]}):
        if (n := _count(now["collectives"], kind) - _count(was["collectives"], kind)) > 0:
            found.append(f"{n} more collective{'s' * (n > 1)}: {kind}")
    return found + _name_upcasts(was, now)


def find_broken(figures: Figures) -> list[str]:
    """Rules that hold whatever the budget: one compile, the state in place, nothing grouped, no word between folds."""
    found = []
    if figures["compilations"] != 1:
        found.append(f"compiled {figures['compilations']} times")
    if figures["memory"]["alias"] != figures["state_bytes"]:
        found.append(f"alias bytes {figures['memory']['alias']:,}, state {figures['state_bytes']:,}")
    if figures["convolutions"]["grouped"]:
        found.append(f"{figures['convolutions']['grouped']} grouped convolutions")
    if _count(figures["collectives"], "across folds"):
        found.append(f"{_count(figures['collectives'], 'across folds')} collectives across folds")
    return found


def _name_upcasts(was: Figures, now: Figures) -> list[str]:
    """Feature maps that were not float32 before: where they are written, or, fused away, by which operation made."""
    written, lowered = "float32 feature maps", "float32 feature maps in StableHLO"
    places = {place: _count(now[written], place) - _count(was[written], place) for place in now[written]}
    found = [f"float32 upcast of an activation: {n} more float32 feature maps written in {place}"
             for place, n in places.items() if n > 0]  # fmt: skip
    traced = {name: n - was[lowered].get(name, 0) for name, n in now[lowered].items()}
    if more := {name: n for name, n in traced.items() if n > 0}:
        told = ", ".join(f"{n} by {name}" for name, n in more.items())
        found.append(f"float32 upcast of an activation: more feature maps computed in float32, {told}")
    return found


def _count(rows: dict[str, dict[str, int]], name: str) -> int:
    return rows.get(name, {}).get("count", 0)


def _flatten(figures: Figures, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _flatten(value, (*path, name))
        else:
            yield (*path, name), value
