"""`bonemet audit`: a paper's printed tables in, every arithmetical contradiction among them out.

Exit codes: 0 nothing contradicts (warnings may stand), 8 contradictions, or a file that cannot be read.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport
from bonemet_jax.errors import InputDataError, UsageError
from bonemet_jax.study.finished import open_finished

if TYPE_CHECKING:
    from bonemet_jax.audit.audit import Audit
    from bonemet_jax.audit.finding import Finding


@dataclass(frozen=True)
class AuditArgs(CommonArgs):
    """Recompute what printed tables say of each other. Exit code 8 where they contradict themselves."""

    file: tyro.conf.Positional[Path | None] = None
    """A YAML file of tables, or a run directory for its own."""
    example: bool = False
    """Audit the published tables that come along; their path, told at the end, is a file to copy."""


def main(verb: str, argv: list[str]) -> int:
    """Print a line a finding and a count; 8 when there is an error."""
    args = parse(AuditArgs, verb, argv)
    if (args.file is None) != args.example:
        raise UsageError("give either FILE or --example", "", f"see `bonemet {verb} --help`")
    report = VerbReport(verb, argv, args.report)
    from bonemet_jax.audit.audit import EXAMPLE, audit_path

    path = args.file or EXAMPLE
    is_run = (path / "stats").is_dir()
    with open_finished(path, ("stats",)).unchanged() if is_run else contextlib.nullcontext():
        result = audit_path(path)
    code = InputDataError.exit_code if result.count("error") else 0
    report.write(result.to_json(), [path], exit_code=code)
    print(*map(describe, result.findings), describe_verdict(path, result), sep="\n")
    return code


def describe(finding: "Finding") -> str:
    """A finding in one line."""
    return (f"{finding.severity}: {finding.where}: {finding.what}; printed {finding.printed}, "
            f"expected {finding.expected} [{finding.rule}]")


def describe_verdict(path: Path, result: "Audit") -> str:
    """The last line: how much was found in how many comparisons."""
    n_errors, n_warnings, n = result.count("error"), result.count("warning"), sum(result.n_checked.values())
    verdict = "contradicts itself" if n_errors else "no contradiction" if n else "nothing to compare"
    return (f"verdict: {verdict}: {n_errors} error{'' if n_errors == 1 else 's'}, "
            f"{n_warnings} warning{'' if n_warnings == 1 else 's'} in {n} comparisons; {path}")
