"""`bonemet cv`, `embed`, `fuse`, `report`: single stages of a run."""

from dataclasses import dataclass

from bonemet_jax import hosts
from bonemet_jax.cli.run import NetworkArgs, StageArgs, TrainArgs, lock, open_run, parse_run
from bonemet_jax.cli.variants import print_table, train_variants
from bonemet_jax.cli.verb_report import VerbReport, choose_device, require_device
from bonemet_jax.study.run import Run
from bonemet_jax.study.runner import run_stages
from bonemet_jax.study.stages import BY_NAME

_STAGES_OF_VERB = {
    "cv": ("cohort", "build", "near_duplicates", "folds", "cv", "cross"), "embed": ("embed", "gradcam"),
    "fuse": ("fuse",), "report": ("stats", "report"),
}


@dataclass(frozen=True)
class CvArgs(TrainArgs):
    """CONFIG -o RUN [--seeds 0 1 2] [--lrs 1e-3 1e-4] [--optim.lr 1e-3 ...]: CONFIG is the name of a packaged config
    (`bonemet configs list`) or a file; every field of it is a flag."""

    seeds: tuple[int, ...] = ()
    """Train every fold with each of these seeds too, side by side as engine.folds says, into RUN/variants."""
    lrs: tuple[float, ...] = ()
    """The same for learning rates; with --seeds every pair of the two."""


_ARGS: dict[str, type[StageArgs]] = {"cv": CvArgs, "embed": NetworkArgs}


def main(verb: str, argv: list[str]) -> int:
    """Do the verb's stages; `report --runs` joins runs instead.

    `cv` makes the cohort and the records where they are missing; the others refuse when an earlier stage is not done.
    """
    if verb == "report" and any(flag.partition("=")[0] == "--runs" for flag in argv):
        from bonemet_jax.cli import joined

        return joined.main(verb, argv)
    args = parse_run(_ARGS.get(verb, StageArgs), verb, argv)
    report = VerbReport(verb, argv, args.report)
    run = open_run(args)
    choose_device(args.device)
    with hosts.joined(args.distributed if isinstance(args, NetworkArgs) else "off"), lock(run, args):
        require_device(args.device)
        _do(run, verb, args, report)
    return 0


def _do(run: Run, verb: str, args: StageArgs, report: VerbReport) -> None:
    names = _STAGES_OF_VERB[verb]
    report.phases = run_stages(run, names)
    table: list[dict[str, object]] = []
    results: dict[str, object] = {"stages": list(names), "stages_done_now": list(report.phases)}
    if isinstance(args, CvArgs) and (args.seeds or args.lrs):
        results["variants"] = table = train_variants(run, args.seeds, args.lrs)
    report.write(
        results, outputs=[path for name in names for path in BY_NAME[name].outputs(run)], config=args.config,
    )
    if not hosts.is_writer():
        return
    if table:
        print_table(table)
    print(run.directory / "report.html" if verb == "report" else run.directory)
