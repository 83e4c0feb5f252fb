"""`bonemet report --runs A B C -o DIR`: several finished runs on one folds.json side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bonemet_jax import artifacts
from bonemet_jax.cli import stamps
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport


@dataclass(frozen=True, kw_only=True)
class JoinedArgs(CommonArgs):
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

    for run in args.runs:
        stamps.check_outputs(run, ("folds", "embed", "fuse", "stats"))
    joined = compute_joined(load_joined(list(args.runs)))
    page = render_joined(joined, _find_cohort(args.runs[0]), args.output)
    report.write(joined, [run / "stats" / "roc.json" for run in args.runs], [page, args.output / "joined.json"])
    print(page)
    return 0


def _find_cohort(run: Path) -> dict[str, object] | None:
    """Facts of the first run's cohort, where it can be found."""
    given = artifacts.load_config_values(run / "config.json").get("cohort_dir")
    manifest = (run / "cohort" if given is None else Path(given)) / artifacts.MANIFEST
    return artifacts.load_json(manifest, artifacts.Manifest)["facts"] if manifest.is_file() else None
