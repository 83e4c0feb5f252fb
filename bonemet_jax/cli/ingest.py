"""`bonemet ingest`: real CT and clinical data -> cohort directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bonemet_jax import artifacts
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport

_AREAS = {
    "SFA": "sfa_cm2",
    "VFA": "vfa_cm2",
    "ESMA": "esma_cm2",
    "fat of the trunk, unsegmented (visceral fat included)": "fat_unsegmented_cm2",
}


@dataclass(frozen=True)
class SourceArgs(CommonArgs):
    """Where the images are and which slice is meant."""

    input: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["-i"])] = tyro.MISSING
    """One folder a patient: DICOM files, or ct.nii.gz."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = tyro.MISSING
    """Directory to write."""
    masks: Path | None = None
    """Folder with masks, or a label map, on the grid of the image."""
    level: str = "T11"
    """Vertebra whose largest slice is taken from the label map."""
    slice_z: float | None = None
    """Position along the slice normal, mm; wins over --level."""
    slice_index: int | None = None
    """Slice number, 0 the lowest; wins over --level."""
    series: int | None = None
    """Which series, as the refusal counts them, where a folder holds several."""
    segment: Literal["hu", "none"] = "hu"
    """How fat is told apart where no mask does: by Hounsfield units, or not at all."""
    clinical: Path | None = None
    """CSV with a patient_id column; patient_id is the name of the patient's folder."""

    def choice(self) -> dict[str, Any]:
        """Which slice, masks and clinical rows: the keyword arguments of data_pipelines.ingest."""
        from data_pipelines.ingest import Choice

        choice = Choice(self.level, self.slice_z, self.slice_index, self.series, self.segment)
        return {"masks": self.masks, "clinical": self.clinical, "choice": choice}


def main(verb: str, argv: list[str]) -> int:
    """Write the cohort directory and print what was found."""
    args = parse(SourceArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines import ingest

    ingest.ingest(list(args.input), args.output, **args.choice())
    slices = artifacts.load_json(args.output / "ingest.json")
    for slice_id, facts in slices.items():
        print(f"{slice_id}: {describe_areas(facts)}; {facts['level']}, z {facts['z_mm']:.1f} mm")
    print(args.output)
    report.write({"slices": slices}, outputs=[args.output])
    return 0


def describe_areas(facts: Mapping[str, Any]) -> str:
    """Fat and muscle areas for the terminal, cm2; what was not segmented is not shown as zero."""
    told = [f"{name} {facts[key]:.1f} cm2" for name, key in _AREAS.items() if facts.get(key) is not None]
    return ", ".join(told) or "no tissue segmented"
