"""The audit of the run's own tables on the page: what `bonemet audit RUN` says of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from bonemet_jax.audit.audit import audit_tables
from bonemet_jax.audit.own import PARTS, make_tables
from bonemet_jax.audit.read import parse_tables
from bonemet_jax.errors import InputDataError
from bonemet_jax.report.tables import Cell, Table

Json = Mapping[str, Any]
_SEVERITIES = {
    "error": "Errors: no values that round to the printed ones agree",
    "warning": "Warnings: they agree only under an assumption that the tables do not state",
}


def audit_stats(stats: Json) -> tuple[dict[str, Any] | None, str]:
    """Audit the contents of stats/*.json by name.

    Returns: results as `bonemet audit` reports them (docs/contracts.md), or None and why not.
    """
    missing = [f"{part}.json" for part in PARTS if part not in stats]
    if missing:
        return None, f"not available: {', '.join(missing)} missing, the stage “stats” has not written what is compared"
    try:
        result = audit_tables(parse_tables(make_tables(*(stats[part] for part in PARTS)), "stats"))
    except InputDataError as error:
        return None, f"not available: {error.what}, {error.where}"
    return result.to_json(), ""


def describe_own_audit(own: Json) -> str:
    """The verdict, with how many comparisons stand behind it."""
    n, n_rules = sum(own["n_checked"].values()), sum(count > 0 for count in own["n_checked"].values())
    n_errors, n_warnings = own["n_errors"], own["n_warnings"]
    verdict = f"{_count(n_errors, 'error')}, {_count(n_warnings, 'warning')}" if own["findings"] else "no contradiction"
    return (f"Own tables: {_count(n, 'comparison')} by {_count(n_rules, 'rule')}, {verdict}. As bonemet audit does "
            "with published tables, the numbers of Tables 1 to 4 and of the cut-offs, rounded as a paper prints them, "
            "are recomputed from each other; a number stands for every value that rounds to it.")


def _count(n: int, name: str) -> str:
    return f"{n} {name}{'' if n == 1 else 's'}"


def make_findings_tables(own: Json) -> tuple[Table, ...]:
    """One table of every contradiction, errors first; none where there is none."""
    rows = tuple(_finding_rows(own))
    header = ("Place, rule", "What contradicts")
    return (Table("Contradictions among the run's own tables", header, rows, may_break=True),) if rows else ()


def _finding_rows(own: Json) -> Iterator[tuple[Cell, ...]]:
    for severity, heading in _SEVERITIES.items():
        found = [finding for finding in own["findings"] if finding["severity"] == severity]
        if found:
            yield (Cell(heading),)
        for finding in found:
            told = f"printed {finding['printed']}, expected {finding['expected']}"
            yield Cell(finding["where"], finding["rule"]), Cell(finding["what"], told)
