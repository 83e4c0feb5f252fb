"""`bonemet predict`: what a finished run says of a new patient's slice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bonemet_jax import artifacts
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.stages import Run
from bonemet_jax.cli.verb_report import DeviceArgs, VerbReport, require_device
from bonemet_jax.config import Config, from_dict
from bonemet_jax.errors import UsageError


@dataclass(frozen=True)
class PredictArgs(DeviceArgs):
    """Score one slice a folder with every fold's network and boosted trees; the mean over folds is the score."""

    run: Path = tyro.MISSING
    """Run directory of a finished run."""
    input: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["-i"])] = tyro.MISSING
    """One folder a patient: DICOM files, or ct.nii.gz."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("prediction")
    """Directory for predictions.json and overlays."""
    masks: Path | None = None
    """Folder with masks, or a label map, on the grid of the image."""
    level: str = "T11"
    """Vertebra whose largest slice is taken from the label map."""
    slice_z: float | None = None
    """Position along the slice normal, mm; wins over --level."""
    clinical: Path | None = None
    """CSV with a patient_id column: adds the score from imaging and clinical data together."""


def main(verb: str, argv: list[str]) -> int:
    """Write predictions.json and overlays; print the areas and the scores."""
    args = parse(PredictArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    run = _open(args.run)
    require_device(args.device)
    results = predict(run, args)
    artifacts.write_json(args.output / "predictions.json", results)
    for patient, facts in results["patients"].items():
        print(_line(patient, facts))
    print(f"{args.output}  ({results['warning']})")
    report.write(results, inputs=[args.run / "config.json"], outputs=[args.output], config=run.config)
    return 0


def _open(directory: Path) -> Run:
    if not (directory / "config.json").is_file():
        raise UsageError("not a run directory: it holds no config.json", directory, "run `bonemet run` first")
    config: Config = from_dict(Config, artifacts.load_json(directory / "config.json")["config"])
    if not (directory / "models").is_dir():
        raise UsageError("the run is not finished: it holds no models", directory, "run the same `bonemet run` again")
    return Run(directory, config)
