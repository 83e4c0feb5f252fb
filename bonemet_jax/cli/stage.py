"""`bonemet cv`, `embed`, `fuse`, `report`: single stages of a run."""

from bonemet_jax.cli.run import StageArgs, open_run, parse_run
from bonemet_jax.cli.stages import BY_NAME, run_stages
from bonemet_jax.cli.verb_report import VerbReport, require_device

_STAGES_OF_VERB = {"cv": ("near_duplicates", "folds", "cv"), "embed": ("embed",), "fuse": ("fuse",),
                   "report": ("stats", "report")}


def main(verb: str, argv: list[str]) -> int:
    """Do the verb's stages, refusing when the stage before is not done."""
    args = parse_run(StageArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    run = open_run(args)
    require_device(args.device)
    report.phases = run_stages(run, _STAGES_OF_VERB[verb])
    print(run.directory / "report.html" if verb == "report" else run.directory)
    names = _STAGES_OF_VERB[verb]
    report.write(
        {"stages": list(names), "stages_done_now": list(report.phases)},
        outputs=[path for name in names for path in BY_NAME[name].outputs(run)], config=args.config,
    )
    return 0
