"""Seeds and learning rates beside the config's own: every fold of each, and how they compare (docs/contracts.md)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypedDict

from bonemet_jax import artifacts, hosts
from bonemet_jax.config import Config
from bonemet_jax.study.run import Run

_NUMBERS = ("val_auc", "val_loss")


class _Line(TypedDict):
    """What is compared of a line of metrics.jsonl."""

    val_auc: float | None
    val_loss: float


def train_variants(run: Run, seeds: Sequence[int], lrs: Sequence[float]) -> list[dict[str, Any]]:
    """Train every fold with each pair of seed and rate, or go on; then compare them in variants/table.json.

    The config's own pair is the run itself, trained before. An empty list stands for the config's own value.

    Returns: the table, one entry a variant.

    Raises: as `train_members`.
    """
    from bonemet_jax.cohort.folds import load_folds
    from bonemet_jax.input_pipeline.records import open_records
    from bonemet_jax.train.loop import train_members
    from bonemet_jax.train.members import Member

    configs = make_configs(run.config, seeds, lrs)
    members = [
        Member(fold, config, find_directory(run, config) / f"fold_{fold}", describe(config))
        for config in configs if config != run.config for fold in range(config.folds.n_folds)
    ]
    if members:
        train_members(open_records(run.records_dir), load_folds(run.directory / "folds.json"), members)
    return hosts.once(lambda: _compare(run, configs))


def _compare(run: Run, configs: Sequence[Config]) -> list[dict[str, Any]]:
    """The table of these variants, written too."""
    table = [summarize(run, config) for config in configs]
    artifacts.write_json(run.directory / "variants" / "table.json", {"variants": table})
    return table


def make_configs(config: Config, seeds: Sequence[int], lrs: Sequence[float]) -> list[Config]:
    """The config's own, then one a pair of seed and rate, none twice. Raises: UsageError for a value out of range."""
    pairs = product(seeds or (config.train.seed,), lrs or (config.optim.lr,))
    made = [
        replace(config, train=replace(config.train, seed=seed), optim=replace(config.optim, lr=lr))
        for seed, lr in pairs
    ]
    return list(dict.fromkeys([config, *made]))


def find_directory(run: Run, config: Config) -> Path:
    """Where the folds of a variant lie; the run's own in the run itself."""
    own = config == run.config
    return run.directory if own else run.directory / "variants" / f"seed_{config.train.seed}-lr_{config.optim.lr!r}"


def describe(config: Config) -> str:
    """A variant as the person watching sees it."""
    return f"seed {config.train.seed} lr {config.optim.lr!r}"


def summarize(run: Run, config: Config) -> dict[str, Any]:
    """Validation AUC and loss of a variant, mean and SD over folds: at each fold's last epoch and at its best."""
    directory = find_directory(run, config)
    folds = [
        artifacts.load_json_lines(directory / f"fold_{k}" / "metrics.jsonl", _Line)
        for k in range(config.folds.n_folds)
    ]
    epochs = {"last": [lines[-1] for lines in folds], "best": [max(lines, key=_rank) for lines in folds]}
    return {
        "seed": config.train.seed, "lr": config.optim.lr, "directory": str(directory.relative_to(run.directory)),
        "n_folds": len(folds),
        **{which: {name: _mean_sd(line[name] for line in lines) for name in _NUMBERS}
           for which, lines in epochs.items()},
    }  # fmt: skip


def _rank(line: dict[str, Any]) -> tuple[float, float]:
    """The best epoch is of highest validation AUC, of equal ones that of lowest loss."""
    return (-1.0 if line["val_auc"] is None else line["val_auc"]), -line["val_loss"]


def _mean_sd(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean and sample SD; null where a value is missing, the SD of one value too."""
    found = list(values)
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return {"mean": None, "sd": None}
    return {"mean": fmean(known), "sd": stdev(known) if len(known) > 1 else None}


def print_table(table: Sequence[dict[str, Any]]) -> None:
    """One line a variant on standard output."""
    print(f"{'seed':>6} {'lr':>9}  " + "  ".join(
        f"{f'{name} {which}':>19}" for which in ("last", "best") for name in _NUMBERS))
    for row in table:
        cells = [_cell(row[which][name]) for which in ("last", "best") for name in _NUMBERS]
        print(f"{row['seed']:>6} {row['lr']:>9.3g}  " + "  ".join(f"{cell:>19}" for cell in cells))


def _cell(number: dict[str, float | None]) -> str:
    mean, sd = number["mean"], number["sd"]
    return "-" if mean is None else f"{mean:.3f}" + ("" if sd is None else f" (SD {sd:.3f})")
