"""`bonemet report --runs A B C -o DIR`: several finished runs on one folds.json side by side."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import VerbReport, WaitArgs
from bonemet_jax.study.finished import load_cohort_facts, open_finished
from bonemet_jax.study.lock import lock_output


@dataclass(frozen=True, kw_only=True)
class JoinedArgs(WaitArgs):
    """Table 3 and the ablation: runs on the same folds, with paired tests."""

    runs: tuple[Path, ...]
    """Run directories, the first one first."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for joined.html and joined.json."""


def main(verb: str, argv: list[str]) -> int:
    """Join the runs and print the page's path; 7 when their folds differ."""
    args = parse(JoinedArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from bonemet_jax.report.joined import render_joined
    from bonemet_jax.stats.joined_results import compute_joined, load_joined

    runs = [open_finished(directory, ("folds", "embed", "fuse", "stats")) for directory in args.runs]
    with contextlib.ExitStack() as reading:
        for run in runs:
            reading.enter_context(run.unchanged())
        joined, facts = compute_joined(load_joined(list(args.runs))), load_cohort_facts(runs[0])
    with lock_output(args.output, args.wait):
        page = render_joined(joined, facts, args.output)
    report.write(joined, [run / "stats" / "roc.json" for run in args.runs], [page, args.output / "joined.json"])
    print(page)
    return 0
