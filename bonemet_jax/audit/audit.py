"""The audit of a file: every rule on every place it applies to."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import published
from bonemet_jax.audit.finding import Finding, Severity
from bonemet_jax.audit.own import load_own
from bonemet_jax.audit.read import load_tables, parse_tables
from bonemet_jax.audit.rules import RULES
from bonemet_jax.audit.tables import Tables

#: The published tables this project set out from, in the shape every file has.
EXAMPLE = published.PATH


@dataclass(frozen=True)
class Audit:
    """Findings, errors first, then by place; and how many comparisons each rule made."""

    findings: tuple[Finding, ...]
    n_checked: dict[str, int]

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """n_errors, n_warnings, findings, n_checked."""
        return {"n_errors": self.count("error"), "n_warnings": self.count("warning"),
                "findings": [asdict(finding) for finding in self.findings], "n_checked": self.n_checked}


def audit(path: Path | str) -> list[Finding]:
    """Contradictions of a file's tables, errors first. Raises: InputDataError for a file that cannot be read."""
    return list(audit_path(path).findings)


def audit_path(path: Path | str) -> Audit:
    """Audit a file of tables, or the tables of a run directory. Raises: InputDataError, CorruptFileError."""
    is_run = Path(path).is_dir()
    return audit_tables(parse_tables(load_own(Path(path)), str(path)) if is_run else load_tables(path))


def audit_tables(tables: Tables) -> Audit:
    """Apply every rule."""
    findings, n_checked = [], {}
    for name, rule in RULES.items():
        outcomes = list(rule.check(tables))
        n_checked[name] = len(outcomes)
        findings += [Finding(name, rule.severity, *outcome) for outcome in outcomes if outcome is not None]
    findings.sort(key=lambda f: (f.severity, f.where, f.rule, f.printed, f.expected, f.what))
    return Audit(tuple(findings), n_checked)
