"""`bonemet measure`: areas and indices of real slices, no training."""

from dataclasses import dataclass
from pathlib import Path

from bonemet_jax.cli.ingest import SourceArgs, exit_code
from bonemet_jax.cli.measured import describe_agreement, describe_slices, describe_written
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import VerbReport
from bonemet_jax.study.lock import lock_output


@dataclass(frozen=True)
class MeasureArgs(SourceArgs):
    """Areas, indices and overlays of real slices; nothing is trained."""


def main(verb: str, argv: list[str]) -> int:
    """Write areas.csv, areas.json and overlays, and print a line a patient; 8 when an input could not be read."""
    args = parse(MeasureArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines import ingest

    with lock_output(args.output, args.wait):
        results = ingest.measure(list(args.input), args.output, **args.choice())
    code = exit_code(results)
    report.write(results, args.sources(args.input), [args.output], exit_code=code)
    patients = sorted(results["patients"], key=lambda patient: patient["overlay"])
    slices = {f"input {int(Path(patient['overlay']).stem)}": patient for patient in patients}
    print(*describe_slices(slices, "areas.csv"), *describe_agreement(args.output, patients), sep="\n")
    print(describe_written(args.output, "areas.csv"))
    return code
