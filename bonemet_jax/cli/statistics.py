"""`bonemet stats roc | cox | lasso-cox | km | table1`: the report's statistics on any CSV."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bonemet_jax.cli.parse import Choice, parse_choice
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport
from bonemet_jax.errors import UsageError
from bonemet_jax.table_cells import parse_codes

if TYPE_CHECKING:
    from bonemet_jax.stats.csv_table import CsvTable


@dataclass(frozen=True, kw_only=True)
class CsvArgs(CommonArgs):
    """Flags of every statistic."""

    csv: Path
    """Table with a header, UTF-8, one row a patient."""
    missing: Literal["refuse", "drop"] = "refuse"
    """Rows with a missing value in a column that is used: refuse them, or leave them out. Missing are empty cells, and
    NA, NaN, null, n/a and a point in a column of numbers; in a column of text, such a word is a value."""
    missing_codes: tuple[str, ...] = ()
    """Codes that mean missing as well: 999 in every column, or lvi=9 in one."""


@dataclass(frozen=True, kw_only=True)
class RocArgs(CsvArgs):
    """AUC with DeLong's and BCa bootstrap intervals (stratified by outcome); DeLong's paired test of every two."""

    label: str
    """Column of 0 and 1."""
    scores: tuple[str, ...]
    """Columns; higher is nearer to 1."""
    id: str | None = None
    """Column of patient ids, where patients have several rows."""
    draws: int = 10_000
    """Bootstrap draws of patients, each outcome class on its own."""
    seed: int = 0
    """Seed of the draws."""


@dataclass(frozen=True, kw_only=True)
class SurvivalArgs(CsvArgs):
    """Flags of the survival statistics."""

    time: str
    """Column of follow-up times, any unit."""
    event: str
    """Column: 1 event, 0 censored."""


@dataclass(frozen=True, kw_only=True)
class CoxArgs(SurvivalArgs):
    """Unpenalised Cox regression: hazard ratios, Wald p, concordance, Schoenfeld's tests of each and of all."""

    covariates: tuple[str, ...]
    """Columns of numbers."""
    ties: Literal["efron", "breslow"] = "efron"
    """How tied event times enter the likelihood."""


@dataclass(frozen=True, kw_only=True)
class LassoArgs(SurvivalArgs):
    """Lasso-Cox path, cross-validated choice, unpenalised refit, selection frequency."""

    covariates: tuple[str, ...]
    """Columns of numbers."""
    lambdas: tuple[float, ...] = ()
    """Penalties as glmnet states them; none: 50 of its own."""
    draws: int = 0
    """Patient bootstraps for the selection frequency; 0: none."""
    seed: int = 0
    """Seed of cross-validation folds and draws."""


@dataclass(frozen=True, kw_only=True)
class KmArgs(SurvivalArgs):
    """Kaplan-Meier curves with log-log intervals, medians, numbers at risk, log-rank test."""

    by: str | None = None
    """Column that makes the groups."""
    cutoff: float | None = None
    """Two groups: --by below it, and from it on."""
    times: tuple[float, ...] = ()
    """Times to tell; none: quartiles of the follow-up."""


@dataclass(frozen=True, kw_only=True)
class Table1Args(CsvArgs):
    """Two groups compared: t, Welch, Wilcoxon; chi-square with and without Yates, Fisher.

    With --missing drop, each column is described over the rows in which it is known.
    """

    by: str
    """Column of two values."""
    columns: tuple[str, ...] = ()
    """Columns to describe; none: all others."""
    categorical: tuple[str, ...] = ()
    """Columns to count although they hold many numbers."""
    continuous: tuple[str, ...] = ()
    """Columns to average although they hold few numbers."""


#: Statistic -> its flags.
KINDS: dict[str, type[CsvArgs]] = {
    "roc": RocArgs, "cox": CoxArgs, "lasso-cox": LassoArgs, "km": KmArgs, "table1": Table1Args,
}


def main(verb: str, argv: list[str]) -> int:
    """Compute one statistic, print it and write it with --report."""
    args = parse_choice(KINDS, verb, argv, "NAME --csv FILE ...", Choice("statistic", "no statistic named", 10))
    report = VerbReport(verb, argv, args.report)
    table, results = _compute(args)
    report.write(results, inputs=[args.csv], table=table.describe_reading())
    print(*map(_show, [*table.list_reading(), *describe(results)]), sep="\n")
    return 0


def _compute(args: CsvArgs) -> tuple["CsvTable", dict[str, Any]]:
    """The rows that were used, and the statistic."""
    from bonemet_jax.stats import csv_results
    from bonemet_jax.stats.csv_table import load_csv

    _check(args)
    table = load_csv(args.csv)
    codes = parse_codes(args.missing_codes)
    if isinstance(args, Table1Args):
        for name in (*args.categorical, *args.continuous):
            table.text(name)
        used = [args.by, *(args.columns or table.cells.columns)]
        known = table.select(used, codes).keep_grouped(args.by, args.missing)
        return known, csv_results.compute_table1(known, args.by, args.columns, args.categorical, args.continuous)
    if isinstance(args, RocArgs):
        used = [args.label, *args.scores, *([args.id] if args.id else [])]
        known = table.select(used, codes).keep_known(args.missing).note_alike_ids(args.id)
        known = known.note_rounding(args.scores)
        return known, csv_results.compute_roc(known, args.label, args.scores, args.id, args.draws, args.seed)
    if isinstance(args, KmArgs):
        used = [args.time, args.event, *([args.by] if args.by else [])]
        known = table.select(used, codes).keep_known(args.missing)
        if args.by is not None and args.cutoff is not None:
            known = known.note_rounding([args.by], args.cutoff)
        return known, csv_results.compute_km(known, args.time, args.event, args.by, args.cutoff, args.times)
    assert isinstance(args, CoxArgs | LassoArgs)
    known = table.select([args.time, args.event, *args.covariates], codes).keep_known(args.missing)
    if isinstance(args, CoxArgs):
        return known, csv_results.compute_cox(known, args.time, args.event, args.covariates, args.ties)
    return known, csv_results.compute_lasso_cox(known, args.time, args.event, args.covariates, args.lambdas, args.draws,
                                                args.seed)


def _check(args: CsvArgs) -> None:
    """Raises: UsageError for values that no table could mend."""
    empty = next((code for code in args.missing_codes if code.endswith("=") or not code), None)
    if empty is not None:
        raise UsageError(f"--missing-codes '{empty}' names no code", "",
                         "use CODE or COLUMN=CODE; empty cells are missing without a code")
    _check_columns(args)
    if isinstance(args, RocArgs | LassoArgs) and not 0 <= args.seed < 2**32:
        raise UsageError(f"--seed {args.seed}", "", f"use 0 to {2**32 - 1}")
    if isinstance(args, RocArgs) and not 100 <= args.draws <= 1_000_000:
        raise UsageError(f"--draws {args.draws}", "", "use 100 to 1000000")
    if isinstance(args, LassoArgs) and not (0 <= args.draws <= 100_000 and all(0 < v < 1e6 for v in args.lambdas)):
        raise UsageError(f"--draws {args.draws} or --lambdas {args.lambdas} out of range", "",
                         "use 0 to 100000 draws and penalties above 0")
    if isinstance(args, KmArgs) and args.cutoff is not None and args.by is None:
        raise UsageError("--cutoff without --by", "", "name the column that it cuts")
    if isinstance(args, KmArgs):
        _check_finite("--times", args.times)
        _check_finite("--cutoff", () if args.cutoff is None else (args.cutoff,))


#: Flags that name columns, of all statistics.
_COLUMN_FLAGS = ("label", "scores", "id", "time", "event", "covariates", "by", "columns")


def _check_columns(args: CsvArgs) -> None:
    """Raises: UsageError for a flag that names no column though it must, and for a column that is named twice."""
    flag_of: dict[str, str] = {}
    for flag in (name for name in _COLUMN_FLAGS if hasattr(args, name)):
        value = getattr(args, flag)
        columns = (value,) if isinstance(value, str) else value or ()
        if not columns and flag in ("scores", "covariates"):
            raise UsageError(f"--{flag} names no column", "", "give one or more")
        for column in columns:
            if column in flag_of:
                where = f"--{flag} twice" if flag_of[column] == flag else f"--{flag_of[column]} and --{flag}"
                raise UsageError(f"column '{column}' is given as {where}", "", "give every column once")
            flag_of[column] = flag


def _check_finite(option: str, values: Sequence[float]) -> None:
    """Raises: UsageError naming the option and its first value that is not a finite number."""
    odd = next((value for value in values if not math.isfinite(value)), None)
    if odd is not None:
        raise UsageError(f"{option} {odd}", "", "give a finite number")


# --- On the terminal ---------------------------------------------------------------------------------------


def describe(results: Mapping[str, Any]) -> list[str]:
    """Results as aligned lines: a list of records, or a mapping to records, becomes a table, the rest `name: value`."""
    lines: list[str] = []
    for name, value in results.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"{name}:", *_lay_out(value)]
        elif isinstance(value, Mapping):
            lines += [f"{name}:", *(f"  {key}: {_format(item)}" for key, item in value.items())]
        else:
            lines.append(f"{name}: {_format(value)}")
    return lines


def _show(line: str) -> str:
    """The line with signs that move a terminal's cursor spelled out: names come from the user's table."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def _lay_out(records: Sequence[Mapping[str, Any]]) -> list[str]:
    header = list(records[0])
    rows = [header, *([_format(record[name]) for name in header] for record in records)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows]


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_format, value))}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_format(item)}" for key, item in value.items())
    return str(value)
