"""Findings as JSON, as CSV and as rows for the terminal."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_pipelines.findings import Finding, Severity

#: Findings of one code that the terminal shows one by one; the files hold all.
SHOWN = 5
_FIELDS = ("severity", "code", "patient_id", "where", "row", "column", "what", "fact", "mend")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Line:
    """One row of the terminal's table."""

    code: str
    place: str
    text: str
    mend: str


def make_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Counts and every finding."""
    return {"n_errors": count(findings, "error"), "n_warnings": count(findings, "warning"),
            "findings": [_values(finding) for finding in findings]}


def make_csv(findings: Iterable[Finding]) -> str:
    """One row a finding; no cell starts a formula in a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in _values(f).items()} for f in findings)
    return text.getvalue()


def count(findings: Iterable[Finding], severity: Severity) -> int:
    """Findings of a severity."""
    return sum(finding.severity == severity for finding in findings)


def make_lines(findings: Sequence[Finding], severity: Severity, numbers: Mapping[str, int]) -> list[Line]:
    """Rows for the terminal, equal codes together: at most SHOWN of a code, then how many more there are.

    Args:
        numbers: patient_id -> number of its input, shown instead of the id.
    """
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity == severity:
            by_code.setdefault(finding.code, []).append(finding)
    lines = []
    for code, found in by_code.items():
        shown = found if len(found) <= SHOWN + 1 else found[:SHOWN]
        lines += [Line(code, _place(f, numbers), str(f), f.mend) for f in shown]
        if len(shown) < len(found):
            lines.append(Line(code, f"and {len(found) - len(shown)} more", "of this kind", "-o DIR lists them all"))
    return lines


def _place(finding: Finding, numbers: Mapping[str, int]) -> str:
    """Where to look: input number, else the row; column; file."""
    number = numbers.get(finding.patient)
    parts = [f"input {number}" if number else "", f"row {finding.row}" if finding.row else "", finding.column,
             finding.where]
    return ", ".join(part for part in parts if part)


def _values(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity, "code": finding.code, "patient_id": finding.patient, "where": finding.where,
        "row": finding.row, "column": finding.column, "what": finding.what, "fact": finding.fact, "mend": finding.mend,
    }  # fmt: skip


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
