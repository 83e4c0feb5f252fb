"""`bonemet phantom`: a synthetic cohort with planted truth."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from bonemet_jax import artifacts
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import VerbReport, WaitArgs
from bonemet_jax.config import PhantomConfig
from bonemet_jax.output_paths import check_output_folder
from bonemet_jax.study.lock import lock_output


@dataclass(frozen=True)
class PhantomArgs(WaitArgs):
    """Make a synthetic cohort: one T11-like CT slice a patient, clinical data, and truth.json beside it."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = tyro.MISSING
    """Cohort directory to write."""
    dicom: Path | None = None
    """Write the slices as DICOM here too, a folder a patient, with clinical.csv: input for `bonemet ingest`."""
    phantom: Annotated[PhantomConfig, tyro.conf.arg(name="")] = field(default_factory=PhantomConfig)
    """What to make."""


def main(verb: str, argv: list[str]) -> int:
    """Write the cohort directory and print where it is."""
    args = parse(PhantomArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines.phantom import make_cohort

    outputs = [args.output, *([args.dicom] if args.dicom is not None else [])]
    with contextlib.ExitStack() as locks:
        for output in outputs:
            locks.enter_context(lock_output(output, args.wait))
        check_output_folder(args.output, "synthetic", [])
        if args.dicom is not None:
            check_output_folder(args.dicom, "synthetic-dicom", [])
        make_cohort(args.phantom, args.output)
        if args.dicom is not None:
            from data_pipelines.phantom.dicom import save_dicom_cohort

            save_dicom_cohort(args.output, args.dicom)
    truth = artifacts.load_json(args.output / "truth.json")
    report.write({"bayes_auc": truth["bayes_auc"]}, outputs=outputs, config=args.phantom)
    print("Bayes-optimal AUC: " + ", ".join(f"{name} {_describe_auc(auc)}" for name, auc in truth["bayes_auc"].items()))
    print(*outputs, sep="\n")
    return 0


def _describe_auc(auc: float) -> str:
    """Three decimals, as papers print it: .844."""
    return f"{auc:.3f}".removeprefix("0")
