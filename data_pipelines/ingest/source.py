"""One patient's images -> one canonical slice. The only place where image files of others are parsed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bonemet_jax.errors import UsageError
from data_pipelines.bodycomp.slice import Segmenter, make_slice
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import Finding
from data_pipelines.ingest import nifti
from data_pipelines.ingest.dicom import load_dicom
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.grid import Stack
from data_pipelines.ingest.level import choose_slice


@dataclass(frozen=True)
class Choice:
    """Which slice of a patient is meant, and how it is read."""

    level: str = "T11"
    """Vertebra, C1 to L5: the slice where its label is largest."""
    slice_z_mm: float | None = None
    """Slice position, mm; wins over the level."""
    slice_index: int | None = None
    """Slice number, 0 the lowest; wins over the level."""
    series: int | None = None
    """Which series, counted from 1 as the refusal lists them, where a folder holds several."""
    segment: Segmenter = "hu"
    """How fat is told apart where no mask does: by Hounsfield units, or not at all."""


@dataclass(frozen=True)
class IngestedSlice:
    """The slice and where it came from."""

    image: CanonicalSlice
    kind: str
    """dicom, nifti or picture."""
    patient_id: str
    """As given: the name of the patient's folder."""
    level: str
    """Vertebra asked for."""
    z_mm: float
    """Position towards the head in patient coordinates, mm."""
    index: int
    """Slice number, 0 the lowest."""
    n_slices: int
    """Slices of the stack."""
    findings: tuple[Finding, ...]
    """What the user should know."""
    incomplete: frozenset[str] = frozenset()
    """Area columns of which only a part is in view."""
    readers: Mapping[str, CanonicalSlice] = field(default_factory=dict)
    """Reader -> the same slice with that reader's tissues; empty where no reader drew."""


def read_source(path: Path, masks: Path | None = None, choice: Choice | None = None) -> IngestedSlice:
    """Read a DICOM folder or zip, or a folder with ct.nii.gz (masks, if any, in its folder masks), and take one slice.

    Args:
        path: folder, zip or file.
        masks: folder of masks or label map on the image's grid; None: the folder `masks` beside ct.nii.gz, if any.
        choice: which slice and how.

    Raises: InputDataError for whatever is not understood, UsageError for a level that does not exist.
    """
    path, choice = Path(path), choice or Choice()
    if choice.level not in nifti.LABEL_OF_VERTEBRA:
        raise UsageError(f"no such vertebra: {choice.level}", "--level", "use C1 to C7, T1 to T12, L1 to L5")
    stack, masks = _load_stack(path, masks, choice)
    labels = nifti.load_masks(masks, stack.grid) if masks is not None else nifti.Masks()
    index, notes = choose_slice(
        stack.grid, choice.level, choice.slice_z_mm, choice.slice_index, labels.vertebra_px, path
    )
    hu, more = stack.load_hu(index)
    measured = make_slice(
        hu, stack.grid.spacing_mm, labels.on_slice(index), path,
        tilt_deg=stack.tilt_deg, is_hu=stack.is_hu, segment=choice.segment,
    )  # fmt: skip
    return IngestedSlice(
        measured.image, stack.kind, make_patient_id(path), choice.level,
        stack.grid.z_mm[index], index, len(stack.grid.z_mm),
        (*stack.findings, *labels.findings, *notes, *more, *measured.findings), measured.incomplete,
    )  # fmt: skip


def make_patient_id(path: Path) -> str:
    """Name of the patient's folder; of a file the name without its ending, of ct.nii.gz its folder's."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    ending = next((end for end in (*nifti.SUFFIXES, ".dcm", ".zip") if path.name.endswith(end)), "")
    stem = path.name.removesuffix(ending)
    return path.parent.name if stem == "ct" else stem


def _load_stack(path: Path, masks: Path | None, choice: Choice) -> tuple[Stack, Path | None]:
    """The images, and the masks that belong to them."""
    files = find_files(path)
    volume = nifti.find_nifti(files)
    if volume is None:
        return load_dicom(files, path, choice.series), masks
    beside = path / "masks"
    return nifti.load_nifti(volume), masks if masks is not None or not beside.is_dir() else beside
