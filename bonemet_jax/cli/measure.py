"""`bonemet measure`: areas and indices of real slices, no training."""

from bonemet_jax.cli.ingest import SourceArgs, exit_code
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import VerbReport


def main(verb: str, argv: list[str]) -> int:
    """Write areas.csv, areas.json and overlays, and print the table; 8 when an input could not be read."""
    args = parse(SourceArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines import ingest

    results = ingest.measure(list(args.input), args.output, **args.choice())
    print((args.output / "areas.csv").read_text(), end="")
    print(args.output)
    report.write(results, outputs=[args.output])
    return exit_code(results)
