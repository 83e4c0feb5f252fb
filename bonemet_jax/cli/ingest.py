"""`bonemet ingest`: real CT and clinical data -> cohort directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bonemet_jax import artifacts, schema
from bonemet_jax.cli.measured import describe_agreement, describe_slices, describe_written
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport, WaitArgs
from bonemet_jax.errors import InputDataError
from bonemet_jax.study.lock import lock_output


@dataclass(frozen=True)
class ReadingArgs(CommonArgs):
    """How images and tables are read, and which slice is meant."""

    masks: Path | None = None
    """Label map, DICOM SEG, RTSTRUCT or folder of masks on the image's grid; of many patients, a folder of
    <patient_id>[.nii.gz, .nii, .dcm]."""
    label_table: str | None = None
    """Numbering of the label map: its name (totalsegmentator-1, verse, ...) or a CSV with the header label,name.
    If omitted, the numbering is identified from the map."""
    rois: Path | None = None
    """ImageJ regions drawn by readers: a folder of <reader>/<patient_id>.zip, or of <patient_id>.zip for one
    reader, or, of one patient, a zip."""
    clinical: Path | None = None
    """CSV with a patient_id column; patient_id is the name of the patient's folder or file."""
    missing: tuple[str, ...] = ()
    """Codes that mean unknown in the CSV: 999 in every column, or lvi=9 in one."""
    level: str = "T11"
    """Vertebra whose largest slice is taken from the label map: T11, t12, L1."""
    slice_z: float | None = None
    """Position along the slice normal, mm; wins over --level."""
    slice_index: int | None = None
    """Slice number, 0 the lowest; wins over --level."""
    series: int | None = None
    """Series number to use (as listed in the error) when a folder contains several."""
    acquisition: int | None = None
    """Acquisition number to use (as listed in the error) when a series contains several."""
    trust_geometry: bool = False
    """Measure, with a warning, even if the header's position and pixel size are placeholders, or if the spine is not
    at the back according to the header."""
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
    """Time one patient may take, s; large volumes get one second more per 20 MB."""
    memory_gib: float = 0.75
    """Memory one patient may take, GiB."""

    def sources(self, inputs: Sequence[Path]) -> list[Path]:
        """Every path that is read, for the report."""
        table = Path(self.label_table) if self.label_table and Path(self.label_table).is_file() else None
        return [*inputs, *filter(None, (self.masks, self.rois, self.clinical, table))]

    def choice(self) -> dict[str, Any]:
        """The keyword arguments of data_pipelines.ingest and of data_pipelines.checks.verify."""
        from data_pipelines.ingest import Choice
        from data_pipelines.ingest.own_label_table import load_label_table
        from data_pipelines.ingest.picture import Picture

        picture = Picture(self.picture_spacing, self.picture_window)
        table = load_label_table(self.label_table) if self.label_table is not None else None
        choice = Choice(self.level.strip().upper(), self.slice_z, self.slice_index, self.series, self.segment, picture,
                        self.acquisition, self.trust_geometry, table)  # fmt: skip
        return {
            "masks": self.masks, "rois": self.rois, "clinical": self.clinical, "missing": self.missing,
            "choice": choice, "convention": self.hu_convention, "workers": self.workers, "seconds": self.seconds,
            "memory_gib": self.memory_gib,
        }  # fmt: skip


@dataclass(frozen=True)
class PlaceArgs(WaitArgs):
    """Where images come from and results go."""

    input: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["-i"])] = tyro.MISSING
    """One a patient: a folder or zip of DICOM files, a NIfTI volume or a folder with ct.nii.gz, a PNG or JPEG."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = tyro.MISSING
    """Directory to write."""


@dataclass(frozen=True)
class SourceArgs(ReadingArgs, PlaceArgs):
    """Where the images are and which slice is meant."""


@dataclass(frozen=True)
class IngestArgs(SourceArgs):
    """Turn images and a clinical table into a cohort."""


def main(verb: str, argv: list[str]) -> int:
    """Write the cohort directory and print what was found; 8 when an input could not be read."""
    args = parse(IngestArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from data_pipelines import ingest

    with lock_output(args.output, args.wait):
        results = ingest.ingest(list(args.input), args.output, **args.choice())
    slices = _load_slices(args)
    code = exit_code(results)
    told = {"slices": slices, "failed": results["failed"]}
    report.write(told, args.sources(args.input), [args.output], exit_code=code)
    print(*describe_slices(slices, "ingest.json"), *describe_agreement(args.output, list(slices.values())), sep="\n")
    print(describe_written(args.output, "cohort.parquet"))
    return code


def _load_slices(args: SourceArgs) -> dict[str, Any]:
    """slice_id -> facts, in the order of the inputs."""
    from data_pipelines.ingest.patients import name_inputs

    table = artifacts.load_table(args.output / "cohort.parquet").set_index(schema.PATIENT_ID)[schema.SLICE_ID]
    facts = artifacts.load_json(args.output / "ingest.json")
    return {table[one.patient_id]: facts[table[one.patient_id]] for one in name_inputs(args.input)
            if one.patient_id in table.index}


def exit_code(results: Mapping[str, Any]) -> int:
    """0, or 8 when inputs failed: what could be read is written all the same."""
    return InputDataError.exit_code if results["failed"] else 0
