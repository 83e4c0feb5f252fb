"""One patient's images -> one canonical slice. The only place where image files of others are parsed."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from bonemet_jax import schema
from bonemet_jax.errors import UsageError
from data_pipelines.bodycomp.padding import count_padding
from data_pipelines.bodycomp.slice import MeasuredSlice, make_slice
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest import nifti, picture
from data_pipelines.ingest.dicom import load_dicom
from data_pipelines.ingest.files import InputFile, find_files
from data_pipelines.ingest.grid import UPRIGHT, Axes, Stack, turn
from data_pipelines.ingest.label_tables import VERTEBRAE, LabelTable
from data_pipelines.ingest.level import choose_slice
from data_pipelines.ingest.masks import Masks, load_masks
from data_pipelines.ingest.picture import Picture
from data_pipelines.ingest.roi import load_rois
from data_pipelines.ingest.subfolders import check_one_folder, get_folder, refuse_folders

#: How tissue is told apart where no mask does: by Hounsfield units, not at all, or by TotalSegmentator's masks first.
Segmentation = Literal["hu", "none", "totalsegmentator"]
LevelSource = Literal["labels", "given"]
#: Who outlined a tissue: a reader, a mask given, or Hounsfield units alone.
Origin = Literal["reader", "mask", "hu"]
#: Kind of images -> code of a placeholder geometry that is refused, and of one that is trusted.
_PLACEHOLDER_CODES = {
    "nifti": ("nifti-placeholder-affine", "nifti-placeholder-trusted"),
    "dicom": ("dicom-placeholder", "dicom-placeholder-trusted"),
}
_ENDINGS = (*nifti.SUFFIXES, *picture.SUFFIXES, ".dcm", ".zip")

Mask = Bool[np.ndarray, "height width"]


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
    segment: Segmentation = "hu"
    """How fat is told apart where no mask does. With totalsegmentator, its masks are made before (segment_volume) and
    given as masks; by Hounsfield units what they lack."""
    picture: Picture | None = None
    """Spacing and window of a PNG or JPEG slice."""
    acquisition: int | None = None
    """Which acquisition of the series, counted from 1 as the refusal lists them, where they are interleaved."""
    trust_geometry: bool = False
    """Measure in spite of a placeholder geometry, or a spine that is not posterior by the header: with a warning."""
    label_table: LabelTable | None = None
    """Numbering of the label map; None: decided from the map."""

    def __post_init__(self) -> None:
        if self.level not in VERTEBRAE:
            raise UsageError(f"no such vertebra: {self.level}", "--level", "use C1 to C7, T1 to T12, L1 to L5")
        if self.slice_z_mm is not None and self.slice_index is not None:
            raise UsageError("--slice-z and --slice-index are both given", "--slice-z", "give one of them")


@dataclass(frozen=True)
class IngestedSlice:
    """The slice and where it came from."""

    image: CanonicalSlice
    """With readers, the first one's by name."""
    kind: str
    """dicom, nifti or picture."""
    patient_id: str
    """As given: the name of the patient's folder."""
    level: str
    """Vertebra asked for."""
    level_source: LevelSource
    """Who says that the slice lies there: a label map, or only whoever chose it (or gave no other slice)."""
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
    axes: Axes = UPRIGHT
    """How the stored picture was turned."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Area column -> who outlined the tissue."""
    drawn: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Reader -> area columns whose tissue that reader drew: the others are not the reader's."""
    has_masks: bool = False
    """Whether masks were read: those given, or the folder `masks` next to the image."""
    label_numbering: str = ""
    """Numbering of the label map; "names" of masks whose structures are named; empty without masks."""


def read_source(
    path: Path,
    masks: Path | None = None,
    choice: Choice | None = None,
    rois: Mapping[str, Path] | None = None,
) -> IngestedSlice:
    """Read a patient's images and take one slice.

    Args:
        path: DICOM folder or zip, NIfTI volume, folder with ct.nii.gz, or PNG/JPEG slice.
        masks: folder of masks or label map on the image's grid; None: the folder `masks` beside ct.nii.gz, if any.
        choice: which slice and how.
        rois: reader -> ImageJ regions (.roi, zip or folder); what a reader drew wins over the masks.

    Raises: InputDataError for whatever is not understood.
    """
    path, choice = Path(path), choice or Choice()
    stack, masks = _load_stack(path, masks, choice)
    labels = load_masks(masks, stack.grid, choice.label_table, stack) if masks is not None else Masks()
    vertebra_px = labels.count_vertebrae(choice.level)
    index, notes = choose_slice(
        stack.grid, choice.level, choice.slice_z_mm, choice.slice_index, vertebra_px, path,
        labels.numbering if labels.is_map else "", labels.list_levels(),
    )  # fmt: skip
    is_labelled = bool(vertebra_px) and not any(note.code == "level-differs" for note in notes)
    geometry = [*_find_unused(stack, labels, choice, path), *_judge_placeholder(stack, path, choice)]
    hu, more = stack.load_hu(index)
    regions, of_masks = labels.on_slice(index)
    vertebra = labels.load_vertebra(choice.level, index)
    drawn, of_rois = _load_readers(rois or {}, stack, index)

    def measure(regions: Mapping[int, Mask], where: Path) -> MeasuredSlice:
        return make_slice(
            hu, stack.grid.spacing_mm, regions, where, vertebra=vertebra, tilt_deg=stack.tilt_deg, is_hu=stack.is_hu,
            segment="hu" if stack.holds_fat and choice.segment != "none" else "none",
            trust_geometry=choice.trust_geometry,
        )  # fmt: skip

    readers = {reader: measure({**regions, **own}, (rois or {})[reader]) for reader, own in drawn.items()}
    measured = list(readers.values()) or [measure(regions, path)]
    origins = _find_origins(measured[0].image, regions, {code for own in drawn.values() for code in own})
    return IngestedSlice(
        measured[0].image, stack.kind, make_patient_id(path), choice.level, "labels" if is_labelled else "given",
        stack.grid.z_mm[index], index, len(stack.grid.z_mm),
        (*geometry, *stack.findings, *labels.findings, *_correct_half((*of_masks, *of_rois), origins), *notes, *more,
         *_join_findings(measured), *_judge_padding(stack, measured[0].image, path)),
        frozenset().union(*(one.incomplete for one in measured)),
        {reader: one.image for reader, one in readers.items()}, stack.axes,
        origins,
        {reader: frozenset(area for area, code in schema.AREA_CODES.items() if code in own)
         for reader, own in drawn.items()},
        has_masks=masks is not None, label_numbering=labels.numbering,
    )  # fmt: skip


def _find_unused(stack: Stack, labels: Masks, choice: Choice, path: Path) -> list[Finding]:
    """A warning of options that do not apply to this input."""
    is_dicom = stack.kind == "dicom"
    unused = [flag for flag, is_given, applies in (
        ("--series", choice.series is not None, is_dicom),
        ("--acquisition", choice.acquisition is not None, is_dicom),
        ("--label-table", choice.label_table is not None, labels.is_map),
    ) if is_given and not applies]  # fmt: skip
    return [find("file-option-unused", fact=", ".join(unused), where=path)] if unused else []


def _judge_placeholder(stack: Stack, path: Path, choice: Choice) -> list[Finding]:
    """A warning of a placeholder geometry. Raises: InputDataError unless it is trusted."""
    if not stack.placeholder:
        return []
    refused, trusted = _PLACEHOLDER_CODES[stack.kind]
    if not choice.trust_geometry:
        raise refusal(refused, path, fact=stack.placeholder)
    return [find(trusted, fact=stack.placeholder, where=path)]


def _judge_padding(stack: Stack, image: CanonicalSlice, path: Path) -> list[Finding]:
    """A warning of padding in the trunk; a picture's black is air as well."""
    if stack.kind == "picture":
        return []
    n = count_padding(image.hu, image.spacing_mm)
    return [find("slice-padding", fact=f"{n} pixels", where=path)] if n else []


def _find_origins(image: CanonicalSlice, masks: Collection[int], drawn: Collection[int]) -> dict[str, Origin]:
    """Area column -> origin, of the tissues that the slice has."""
    present = {area: code for area, code in schema.AREA_CODES.items() if (image.tissue == code).any()}
    return {area: "reader" if code in drawn else "mask" if code in masks else "hu" for area, code in present.items()}


def _correct_half(notes: Iterable[Finding], origins: Mapping[str, Origin]) -> Iterator[Finding]:
    """The findings; a muscle of which one source has a part only is not called unsegmented where another has it."""
    whole = {schema.TISSUE_NAMES[code]: origins[area] for area, code in schema.AREA_CODES.items() if area in origins}
    for note in notes:
        origin = next((origin for name, origin in whole.items() if name in note.fact), None)
        if note.code == "mask-half" and origin is not None:
            note = replace(note, what=f"a source holds only a part of a muscle: the {origin}'s region is used")
        yield note


def make_patient_id(path: Path) -> str:
    """Name of the patient's folder; of a file the name without its ending, of ct.nii.gz its folder's.

    The name given, also where it is a link to another.
    """
    path = path.resolve() if path.name in ("", "..") else path
    if path.is_dir():
        return path.name
    ending = next((end for end in _ENDINGS if path.name.lower().endswith(end)), "")
    stem = path.name[: len(path.name) - len(ending)]
    return path.absolute().parent.name if stem == "ct" and ending in nifti.SUFFIXES else stem


def _load_stack(path: Path, masks: Path | None, choice: Choice) -> tuple[Stack, Path | None]:
    """The images, and the masks that belong to them."""
    files = find_files(path)
    one = picture.find_picture(files)
    if one is not None:
        return picture.load_picture(one, choice.picture), masks
    volume = _find_volume(files, path)
    beside = path / "masks"
    if volume is not None and masks is None and beside.is_dir():
        masks = beside
    if choice.segment == "totalsegmentator" and masks is None:
        raise refusal("mask-missing", path, "TotalSegmentator has left no masks", mend="run it and give --masks")
    if volume is not None:
        return nifti.load_nifti(volume), masks
    return load_dicom(files, path, choice.series, choice.acquisition), masks


def _find_volume(files: Sequence[InputFile], path: Path) -> InputFile | None:
    """The NIfTI volume to read; None for none. Raises: InputDataError where other subfolders hold images as well."""
    named = [file for file in files if nifti.is_named_ct(file)]
    if len({get_folder(file) for file in named}) > 1:
        raise refuse_folders(named, path)
    volume = nifti.find_nifti(files)
    if volume is not None:
        check_one_folder(volume, files, path)
    return volume


def _load_readers(
    rois: Mapping[str, Path], stack: Stack, k: int
) -> tuple[dict[str, dict[int, Mask]], list[Finding]]:
    """Reader, in the order of names -> regions in anatomical order; and warnings, which call readers by number."""
    upright = (stack.grid.height, stack.grid.width)
    shape = upright[::-1] if stack.axes[0] else upright
    drawn, notes = {}, []
    for number, (reader, path) in enumerate(sorted(rois.items()), start=1):
        regions, more = load_rois(path, shape, k, len(stack.grid.z_mm))
        drawn[reader] = {code: turn(region, stack.axes) for code, region in regions.items()}
        notes += [_of_reader(note, number) if len(rois) > 1 else note for note in more]
    if rois and stack.kind == "nifti":
        notes.append(find("roi-on-nifti"))
    return drawn, notes


def _join_findings(measured: list[MeasuredSlice]) -> list[Finding]:
    """Findings of one slice, or of every reader's: what all share is told once."""
    first = measured[0].findings
    shared = [note for note in first if all(note in one.findings for one in measured)]
    own = [(n, note) for n, one in enumerate(measured, start=1) for note in one.findings if note not in shared]
    return [*shared, *(_of_reader(note, n) for n, note in own)]


def _of_reader(note: Finding, number: int) -> Finding:
    # A number, not the name: a reader is a person too.
    return replace(note, what=f"reader {number}: {note.what}")
