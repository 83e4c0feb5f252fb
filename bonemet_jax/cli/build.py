"""`bonemet build`: cohort -> channels -> sharded records."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from bonemet_jax import artifacts
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import VerbReport, WaitArgs
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import InputDataError
from bonemet_jax.study.lock import lock_output


@dataclass(frozen=True)
class BuildArgs(WaitArgs):
    """Compute the channels of every slice of a cohort and write sharded records."""

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])] = tyro.MISSING
    """Cohort directory (from `ingest` or `phantom`)."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = tyro.MISSING
    """Directory to write the data set under."""
    name: str = "cohort"
    """Name of the data-set config."""
    beam_option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Beam pipeline option, passed through as it is, e.g. `--beam-option=--runner=FlinkRunner`; may be repeated."""
    records: Annotated[RecordsConfig, tyro.conf.arg(name="")] = field(default_factory=RecordsConfig)
    """Geometry and format."""


def main(verb: str, argv: list[str]) -> int:
    """Write the records and print their directory."""
    args = parse(BuildArgs, verb, argv, repeatable=("--beam-option",))
    report = VerbReport(verb, argv, args.report)
    if not (args.input / "cohort.parquet").is_file():
        raise InputDataError("no cohort.parquet in this folder", args.input, "run `bonemet ingest` or `phantom` first")
    from data_pipelines.bonemet_ct.build import build_records

    with lock_output(args.output, args.wait):
        directory = build_records(args.input, args.output, args.records, args.name, args.beam_option)
    facts = artifacts.load_json(directory / artifacts.MANIFEST)["facts"]
    report.write({"facts": facts}, inputs=[args.input / artifacts.MANIFEST], outputs=[directory], config=args.records)
    print(directory)
    return 0
