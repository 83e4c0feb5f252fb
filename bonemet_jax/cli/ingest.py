"""`bonemet ingest`: real CT and clinical data -> cohort directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bonemet_jax import artifacts, schema
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport
from bonemet_jax.errors import InputDataError

_AREAS = {
    "SFA": "sfa_cm2",
    "VFA": "vfa_cm2",
    "ESMA": "esma_cm2",
    "all fat of the trunk": "trunk_fat_cm2",
}


@dataclass(frozen=True)
class ReadingArgs(CommonArgs):
    """How images and tables are read, and which slice is meant."""

    masks: Path | None = None
    """Label map or folder of masks on the image's grid; of many patients, a folder of <patient_id>[.nii.gz]."""
    rois: Path | None = None
    """ImageJ regions drawn by readers: a folder of <reader>/<patient_id>.zip, or of <patient_id>.zip for one reader."""
    clinical: Path | None = None
    """CSV with a patient_id column; patient_id is the name of the patient's folder or file."""
    missing: tuple[str, ...] = ()
    """Codes that mean unknown in the CSV: 999 in every column, or lvi=9 in one."""
    level: str = "T11"
    """Vertebra whose largest slice is taken from the label map."""
    slice_z: float | None = None
    """Position along the slice normal, mm; wins over --level."""
    slice_index: int | None = None
    """Slice number, 0 the lowest; wins over --level."""
    series: int | None = None
    """Which series, as the refusal counts them, where a folder holds several."""
    segment: Literal["hu", "none", "totalsegmentator"] = "hu"
    """How tissue is told apart where no mask does; totalsegmentator, if installed, finds level and muscle."""
    hu_convention: Literal["paper", "boa"] = "paper"
    """Hounsfield ranges that count as fat and muscle: the paper's, or those of Body-and-Organ-Analysis."""
    picture_window: tuple[float, float] | None = None
    """Of a PNG or JPEG slice: Hounsfield units of black and of white. Left out: unknown, no thresholds."""
    picture_spacing: tuple[float, float] | None = None
    """Of a PNG or JPEG slice: row and column spacing, mm."""
    workers: int | None = None
    """Processes that read images; left out: one a core."""
    seconds: float = 10.0
    """Time one patient may take, s."""
    memory_gib: float = 0.75
    """Memory one patient may take, GiB."""

    def choice(self) -> dict[str, Any]:
        """The keyword arguments of data_pipelines.ingest and of data_pipelines.checks.verify."""
        from data_pipelines.ingest import Choice
        from data_pipelines.ingest.picture import Picture

        picture = Picture(self.picture_spacing, self.picture_window)
        choice = Choice(self.level, self.slice_z, self.slice_index, self.series, self.segment, picture)
        return {
            "masks": self.masks, "rois": self.rois, "clinical": self.clinical, "missing": self.missing,
            "choice": choice, "convention": self.hu_convention, "workers": self.workers, "seconds": self.seconds,
            "memory_gib": self.memory_gib,
        }  # fmt: skip


@dataclass(frozen=True)
class PlaceArgs(CommonArgs):
    """Where images come from and results go."""

    input: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["-i"])] = tyro.MISSING
    """One folder, zip or file a patient: DICOM files, or ct.nii.gz."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = tyro.MISSING
    """Directory to write."""


@dataclass(frozen=True)
class SourceArgs(ReadingArgs, PlaceArgs):
    """Where the images are and which slice is meant."""


def main(verb: str, argv: list[str]) -> int:
    """Write the cohort directory and print what was found; 8 when an input could not be read."""
    args = parse(SourceArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines import ingest

    results = ingest.ingest(list(args.input), args.output, **args.choice())
    slices = artifacts.load_json(args.output / "ingest.json")
    for slice_id, facts in slices.items():
        print(f"{slice_id}: {describe_areas(facts)}; {facts['level']}, z {facts['z_mm']:.1f} mm")
    print(args.output)
    report.write({"slices": slices, "failed": results["failed"]}, outputs=[args.output])
    return exit_code(results)


def exit_code(results: Mapping[str, Any]) -> int:
    """0, or 8 when inputs failed: what could be read is written all the same."""
    return InputDataError.exit_code if results["failed"] else 0


def describe_areas(facts: Mapping[str, Any]) -> str:
    """Fat and muscle areas for the terminal, cm2; what was not segmented is not shown as zero."""
    told = [text for name, key in _AREAS.items() if (text := _describe_area(name, key, facts))]
    return ", ".join(told) or "no tissue segmented"


def _describe_area(name: str, key: str, facts: Mapping[str, Any]) -> str:
    """One area, or the part of it that is in view; empty where there is none."""
    area_cm2, visible_cm2 = facts.get(key), facts.get(key.replace("_cm2", "_visible_cm2"))
    if area_cm2 is not None:
        index = next((facts.get(index) for index, area in schema.INDEX_OF_AREA.items() if area == key), None)
        return f"{name} {area_cm2:.1f} cm2" + (f" ({index:.1f} cm2/m2)" if index is not None else "")
    if visible_cm2 is not None:
        return f"{name} visible part {visible_cm2:.1f} cm2 (field of view cuts it)"
    return ""
