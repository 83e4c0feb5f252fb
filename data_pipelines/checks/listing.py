"""Findings as JSON, as CSV and as rows for the terminal."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from data_pipelines.findings import Finding, Severity

#: Findings of one code that the terminal shows one by one; the files hold all.
SHOWN = 5
_FIELDS = ("severity", "code", "patient_id", "where", "row", "column", "what", "fact", "mend")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Line:
    """One row of the terminal's table."""

    place: str
    text: str
    mend: str
    """Empty where it is that of the row above."""


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
    return [line for code, found in by_code.items() for line in _make_group(code, found, numbers)]


def _make_group(code: str, found: list[Finding], numbers: Mapping[str, int]) -> Iterator[Line]:
    """Rows of one code: what the row above has said already is not said again."""
    shown = found if len(found) <= SHOWN + 1 else found[:SHOWN]
    above = Line("", "", "")
    for i, finding in enumerate(shown):
        line = Line(_place(finding, numbers), str(finding), finding.mend)
        text = f"{line.text} [{code}]" if i == 0 else "the same" if line.text == above.text else line.text
        yield Line(line.place, text, "" if line.mend == above.mend else line.mend)
        above = line
    if len(shown) < len(found):
        yield Line(f"and {len(found) - len(shown)} more", "of this kind; -o DIR lists them all", "")


def _place(finding: Finding, numbers: Mapping[str, int]) -> str:
    """Where to look: input number; row and column unless the words name them; file, of a path its end."""
    number = numbers.get(finding.patient)
    parts = [f"input {number}" if number else "", _unless_told(finding, f"row {finding.row}" if finding.row else ""),
             _unless_told(finding, f"column {finding.column}" if finding.column else ""), PurePath(finding.where).name]
    return ", ".join(part for part in parts if part)


def _unless_told(finding: Finding, place: str) -> str:
    return "" if re.search(rf"\b{re.escape(place)}(?!\w)", finding.what) else place


def _values(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity, "code": finding.code, "patient_id": finding.patient, "where": finding.where,
        "row": finding.row, "column": finding.column, "what": finding.what, "fact": finding.fact, "mend": finding.mend,
    }  # fmt: skip


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
