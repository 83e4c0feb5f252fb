"""`bonemet measure`: areas and indices of real slices, no training."""

from pathlib import Path

from bonemet_jax.cli.ingest import SourceArgs, describe_areas, exit_code
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import VerbReport


def main(verb: str, argv: list[str]) -> int:
    """Write areas.csv, areas.json and overlays, and print a line a patient; 8 when an input could not be read."""
    args = parse(SourceArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines import ingest

    results = ingest.measure(list(args.input), args.output, **args.choice())
    for patient in sorted(results["patients"], key=lambda patient: patient["overlay"]):
        number = int(Path(patient["overlay"]).stem)
        print(f"input {number}: {describe_areas(patient)}; {patient['level']}, z {patient['z_mm']:.1f} mm")
    print(args.output)
    report.write(results, outputs=[args.output])
    return exit_code(results)
