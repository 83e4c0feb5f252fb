"""`bonemet verify`: every data check; nothing is changed, every problem is named with its remedy."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bonemet_jax.cli.ingest import ReadingArgs
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import VerbReport, WaitArgs
from bonemet_jax.errors import InputDataError
from bonemet_jax.study.lock import lock_output

if TYPE_CHECKING:
    from data_pipelines.check_codes import Severity
    from data_pipelines.checks.verify import Verification

_WIDTH = 100


@dataclass(frozen=True)
class CheckedArgs(WaitArgs):
    """What is checked and where the findings go."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The same as -i."""
    input: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["-i"])] = ()
    """One cohort directory, or one folder, zip or file per patient."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Directory to write: findings.json, findings.csv, datacard.md, datacard.json, contact sheets."""
    strict: bool = False
    """Warnings end with exit code 8 too."""

    @property
    def inputs(self) -> list[Path]:
        """Paths given with and without -i."""
        return [*self.paths, *self.input]


@dataclass(frozen=True)
class VerifyArgs(ReadingArgs, CheckedArgs):
    """Check a cohort directory, patients' images, or a clinical table alone (--clinical without -i)."""


def main(verb: str, argv: list[str]) -> int:
    """Print the findings, write them with -o, and return 8 when there is an error."""
    args = parse(VerifyArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines.checks import listing, verify
    from data_pipelines.checks.verify import check_out, save_verification

    if args.output is not None:
        check_out(args.output, args.sources(args.inputs))
    result = verify(args.inputs, with_overlays=args.output is not None, **args.choice())
    if args.output is not None:
        with lock_output(args.output, args.wait):
            save_verification(result, args.output, args.sources(args.inputs))
    n_errors, n_warnings = result.count("error"), result.count("warning")
    code = InputDataError.exit_code if n_errors or (args.strict and n_warnings) else 0
    report.write({"subject": result.subject, "n": result.n, "verdict": _verdict(n_errors, n_warnings),
                  "strict": args.strict, **listing.make_json(result.findings)},
                 args.sources(args.inputs), [args.output] if args.output is not None else [], exit_code=code)
    print_findings(result)
    verdict = describe_verdict(result.subject, result.n, n_errors, n_warnings)
    print(f"{verdict}; --strict: warnings count as errors" if args.strict and n_warnings and not n_errors else verdict)
    if args.output is not None:
        print(args.output)
    return code


def describe_verdict(subject: str, n: int, n_errors: int, n_warnings: int) -> str:
    """The last line: what was looked at, how much was found, whether it can be used."""
    unit = {"cohort": "patient", "images": "input", "table": "usable row"}[subject]
    found = f"{_plural(n_errors, 'error')}, {_plural(n_warnings, 'warning')} in {_plural(n, unit)}"
    return f"verdict: {_verdict(n_errors, n_warnings)}: {found}"


def _verdict(n_errors: int, n_warnings: int) -> str:
    if n_errors:
        return "not usable as it is"
    return "usable, look at the warnings" if n_warnings else "good"


def _plural(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def print_findings(result: "Verification") -> None:
    """A table a severity, errors first: where, what, remedy; at most 100 columns wide."""
    from rich.console import Console

    console = Console(highlight=False)
    console.width = min(_WIDTH, console.width) if sys.stdout.isatty() else _WIDTH
    severities: tuple[Severity, ...] = ("error", "warning")
    for severity in severities:
        if result.count(severity):
            with console.capture() as captured:
                console.print(_make_table(result, severity))
            print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _make_table(result: "Verification", severity: "Severity") -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from data_pipelines.checks import listing

    title = Text(_plural(result.count(severity), severity), "bold red" if severity == "error" else "bold yellow")
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", expand=True)
    for header, ratio in (("where", 4), ("what", 6), ("what to do", 5)):
        table.add_column(header, ratio=ratio, overflow="fold")
    for line in listing.make_lines(result.findings, severity, result.numbers):
        table.add_row(*(Text(text) for text in (line.place, line.text, line.mend)))
    return table
