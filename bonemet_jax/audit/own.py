"""A run's own tables, stats/*.json (shapes: docs/contracts.md), as a file of published tables would hold them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from bonemet_jax.audit.tables import MEASURES
from bonemet_jax.errors import InputDataError
from bonemet_jax.stats.intervals import Z95

Json = Mapping[str, Any]
Row = dict[str, Any]
#: Bounds of a hazard ratio are printed so finely that rounding moves log HR by at most this share of its SE.
_SHARE_OF_SE = 0.005
_MOST_DECIMALS = 12
#: Files of stats/ that are audited.
PARTS = ("table1", "table2", "roc", "km")


def load_own(run_dir: Path) -> Row:
    """The tables of a run directory. Raises: InputDataError, CorruptFileError."""
    stats = Path(run_dir) / "stats"
    if not stats.is_dir():
        raise InputDataError("a folder without stats/: no finished run", run_dir,
                             "give a file of tables, or a run whose report is written")
    return make_tables(*(artifacts.load_json(stats / f"{part}.json") for part in PARTS))


def make_tables(table1: Json, table2: Json, roc: Json, km: Json) -> Row:
    """Tables in the shape that audit reads, every number rounded as it is printed (text with its decimals).

    Args:
        table1, table2, roc, km: contents of stats/*.json.

    Returns: the mapping of audit/tables.py. HRs are the refit's; their bounds get the decimals they need.
    """
    groups = {group["label"]: group["n"] for group in table1["groups"]}
    rows = table1["variables"]
    return {
        "source": "the tables of a run",
        "groups": {name: str(n) for name, n in groups.items()},
        "table1_continuous": {r["name"]: _continuous(r, list(groups)) for r in rows if r["kind"] == "continuous"},
        "table1_counts": {r["name"]: _counted(r, list(groups)) for r in rows if r["kind"] == "category"},
        "table2": _table2(table2),
        "table4": _models(roc["rows"]),
        "denominators": _denominators(roc["rows"], list(groups)),
        **{f"{cutoff['source']}_cutoff": _cutoff(km["variable"], cutoff, list(groups))
           for cutoff in km["cutoffs"] if cutoff["cutoff"] is not None and cutoff["sens"]["n"] and cutoff["spec"]["n"]},
    }


def _number(value: float | None, decimals: int) -> str | None:
    return None if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def _p(value: float | None) -> str | None:
    return "<0.001" if value is not None and value < 0.001 else _number(value, 3)


def _sizes(n: Sequence[int], groups: Sequence[str]) -> dict[str, str]:
    """Of groups with nobody known nothing is printed that could be checked: the whole group stands."""
    return {group: str(size) for group, size in zip(groups, n, strict=True) if size}


# --- Table 1 --------------------------------------------------------------------------------------


def _continuous(row: Json, groups: Sequence[str]) -> Row:
    values = zip(groups, row["mean"], row["sd"], row["quartiles"], strict=True)
    return {
        **{group: _statistics(mean, sd, quartiles) for group, mean, sd, quartiles in values},
        "p": _p(row["student_p"]), "test": "student", "n": _sizes(row["n"], groups),
    }


def _statistics(mean: float | None, sd: float | None, quartiles: Sequence[float] | None) -> list[str | None]:
    low, q1, median, q3, high = quartiles or [None] * 5
    return [_number(value, 1) for value in (mean, sd, low, high, median, q1, q3)]


def _counted(row: Json, groups: Sequence[str]) -> Row:
    levels = {
        level: {group: [str(row["counts"][g][i]), _number(row["percent"][g][i], 1)] for g, group in enumerate(groups)}
        for i, level in enumerate(row["levels"])
    }
    return {"levels": levels, "p": _p(row["chisq_p"]), "test": "chisq", "n": _sizes(row["n"], groups)}


# --- Table 2 --------------------------------------------------------------------------------------


def _table2(stats: Json) -> Row:
    chosen = {term["name"]: _hazard(term) for term in stats["terms"] if term["lasso_coef"]}
    return {**chosen, "hr_is": "refit", "listed": [term["name"] for term in stats["terms"]]}


def _hazard(term: Json) -> list[str | None]:
    numbers = [term["hr"], *(term["ci95"] or (None, None))]
    decimals = _choose_decimals(numbers)
    return [_number(term["lasso_coef"], 4), *(_number(number, decimals) for number in numbers), _p(term["p"])]


def _choose_decimals(numbers: Sequence[float | None]) -> int:
    """Three, or as many as the interval of a small log HR needs."""
    known = [number for number in numbers if number is not None and math.isfinite(number) and number > 0]
    if len(known) < 3 or known[2] <= known[1]:
        return 3
    se = math.log(known[2] / known[1]) / (2 * Z95)
    wanted = -math.log10(2 * _SHARE_OF_SE * se * min(known))
    return min(max(3, math.ceil(wanted)), _MOST_DECIMALS)


# --- Models and cut-offs --------------------------------------------------------------------------------


def _models(rows: Sequence[Json]) -> Row:
    models: dict[str, Row] = {}
    for row in rows:
        interval = row["auc_ci95_delong"] or row["auc_ci95_bootstrap"]
        values = [_estimate(row["auc"], interval, 1, 3),
                  *(_estimate(row[m]["value"], row[m]["ci95"], 100, 1) for m in MEASURES[1:])]
        models.setdefault(f"{row['classifier']}_{row['feature_set']}", {})[row["split"]] = values
    return models


def _estimate(
    value: float | None, interval: Sequence[float] | None, scale: int, decimals: int
) -> list[str | None] | None:
    numbers = [value, *(interval or (None, None))]
    return None if value is None else [_number(None if x is None else scale * x, decimals) for x in numbers]


def _denominators(rows: Sequence[Json], groups: Sequence[str]) -> Row:
    """Rows behind specificity and sensitivity, by split; splits whose models differ in them are left out."""
    found: dict[str, set[tuple[int, int]]] = {}
    for row in rows:
        found.setdefault(row["split"], set()).add((row["spec"]["n"], row["sens"]["n"]))
    return {split: _sizes(next(iter(sizes)), groups) for split, sizes in found.items() if len(sizes) == 1}


def _cutoff(variable: str, cutoff: Json, groups: Sequence[str]) -> Row:
    shares = {m: _estimate(cutoff[m]["value"], cutoff[m]["ci95"], 1, 3) for m in ("sens", "spec")}
    return {"variable": variable, "positive": "low", "value": _number(cutoff["cutoff"], 1), **shares,
            "n": _sizes((cutoff["spec"]["n"], cutoff["sens"]["n"]), groups)}
