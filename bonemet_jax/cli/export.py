"""`bonemet export`: a finished run's networks as safetensors and one StableHLO program."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import DeviceArgs, VerbReport, WaitArgs, require_device
from bonemet_jax.errors import UsageError
from bonemet_jax.study.finished import open_finished
from bonemet_jax.study.lock import lock_output


@dataclass(frozen=True, kw_only=True)
class ExportArgs(DeviceArgs, WaitArgs):
    """Write weights of each fold (safetensors) and the program that scores patients with them (StableHLO).

    Using them takes jax, flatbuffers, numpy and safetensors alone.
    """

    run: tyro.conf.Positional[Path]
    """Run directory of a finished run."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write; an earlier export there is replaced."""
    fold: int | None = None
    """Only this fold's network; none: every fold's."""
    batch: int | Literal["symbolic"] = "symbolic"
    """Patients that a call of the program takes; symbolic: any number."""


def main(verb: str, argv: list[str]) -> int:
    """Export the networks and print what was written."""
    args = parse(ExportArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    run = open_finished(args.run)
    folds = choose_folds(args.fold, run.config.folds.n_folds)
    batch = None if args.batch == "symbolic" else args.batch
    if batch is not None and batch < 1:
        raise UsageError(f"--batch is {batch}", "", "use a whole number from 1, or symbolic")
    require_device(args.device)
    from bonemet_jax.readout.export import export_run

    with lock_output(args.output, args.wait):
        facts = export_run(run.config, args.run, folds, args.output, batch, run.unchanged())
    report.write(facts, [args.run / "config.json"], [args.output], run.config)
    program = facts["program"]
    print(f"{facts['network']} of {len(folds)} fold{'s' * (len(folds) > 1)}, {program['n_weights']} tensors each; "
          f"{program['file']} for {', '.join(program['platforms'])}, {batch or 'any number of'} patients a call")
    print(f"{args.output}; {facts['warning']}")
    return 0


def choose_folds(fold: int | None, n_folds: int) -> list[int]:
    """Folds to export. Raises: UsageError when the run has no such fold."""
    if fold is None:
        return list(range(n_folds))
    if not 0 <= fold < n_folds:
        raise UsageError(f"--fold is {fold}", "", f"the run has folds 0 to {n_folds - 1}")
    return [fold]
