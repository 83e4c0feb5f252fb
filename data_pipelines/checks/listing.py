"""Findings as JSON, as CSV and as rows for the terminal."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from data_pipelines.check_codes import VERDICTS, Severity
from data_pipelines.findings import Finding
from data_pipelines.ingest.cohort import make_cell

#: Findings of one code that the terminal shows one by one; the files hold all.
SHOWN = 5
#: Readings told once a column: on the terminal one line names the columns.
_BY_COLUMN = ("csv-decimal-comma-read",)
_FIELDS = ("severity", "code", "patient_id", "where", "row", "column", "what", "fact", "mend")


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
    writer.writerows({name: make_cell(value) for name, value in _values(f).items()} for f in findings)
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
    if code in _BY_COLUMN and len(found) > 1:
        columns = ", ".join(finding.column for finding in found)
        text = f"{VERDICTS[code].meaning} in {len(found)} columns: {columns} [{code}]"
        yield Line(PurePath(found[0].where).name, text, found[0].mend)
        return
    shown = found if len(found) <= SHOWN + 1 else found[:SHOWN]
    above: tuple[str, str, str] | None = None
    for finding in shown:
        spot, file = _find_spot(finding, numbers), PurePath(finding.where).name
        text, mend = _cut_place(finding, finding.line), finding.mend
        this = (finding.where, text, mend)
        if above is None:
            text = f"{text} [{code}]"
        else:
            file = "" if spot and above[0] == finding.where else file
            text = "the same" if text == above[1] else text
            mend = "" if mend == above[2] else mend
        yield Line(", ".join(part for part in (spot, file) if part), text, mend)
        above = this
    if len(shown) < len(found):
        yield Line(f"and {len(found) - len(shown)} more", "of this kind; -o DIR lists them all", "")


def _find_spot(finding: Finding, numbers: Mapping[str, int]) -> str:
    """Input number, row, column."""
    number = numbers.get(finding.patient)
    parts = [f"input {number}" if number else "", "" if finding.row is None else f"row {finding.row}", finding.column]
    return ", ".join(part for part in parts if part)


def _cut_place(finding: Finding, text: str) -> str:
    """The text without the row and column that it begins with: they stand beside it."""
    told = [f"row {finding.row}", f"column {finding.column}"]
    prefixes = [f"{', '.join(told)}: ", *(f"{part}: " for part in told)]
    return next((text.removeprefix(prefix) for prefix in prefixes if text.startswith(prefix)), text)


def _values(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity, "code": finding.code, "patient_id": finding.patient, "where": finding.where,
        "row": finding.row, "column": finding.column,
        "what": _cut_place(finding, replace(finding, fact="").line),
        "fact": finding.fact, "mend": finding.mend,
    }  # fmt: skip
