"""Masks of others on an image's grid: label maps, folders of masks, DICOM SEG and RTSTRUCT; read where needed."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from bonemet_jax import schema
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.anatomy_rules import find_order_fault
from data_pipelines.ingest.dicom_masks import load_dicom_masks
from data_pipelines.ingest.files import InputFile, find_files
from data_pipelines.ingest.formats import find_format
from data_pipelines.ingest.grid import Grid, Stack
from data_pipelines.ingest.label_numbering import find_fault, identify
from data_pipelines.ingest.label_picture import Look, Sample
from data_pipelines.ingest.label_tables import KNOWN, TOTALSEGMENTATOR_2, VERTEBRAE, LabelTable
from data_pipelines.ingest.nifti import SUFFIXES, load_label_names
from data_pipelines.ingest.structures import (
    FileStructure,
    LabelMap,
    LabelStructure,
    Structure,
    Tissue,
    make_tissues,
    make_vertebrae,
)

#: Level -> label of TotalSegmentator's task `total`, version 2.
LABEL_OF_VERTEBRA: dict[str, int] = TOTALSEGMENTATOR_2.vertebrae
#: Body-and-Organ-Analysis 1.0 writes total.nii.gz in TotalSegmentator's numbers, and these label maps, in its source
#: spelt with - or _. Regions come first: they hold every pixel, tissues only those in BOA's own HU ranges.
BOA_LABELS: dict[str, dict[int, int]] = {
    "body-regions": {schema.TISSUE_SAT: 1, schema.TISSUE_VAT: 3},
    "tissues": {schema.TISSUE_SAT: 3, schema.TISSUE_VAT: 4},
}
#: Name of a file that holds a label map, whatever other files a folder has.
_TOTAL = "total"
#: Numbering of masks whose structures are named: one file, segment or contour each.
_NAMED = "names"


@dataclass(frozen=True)
class Masks:
    """Structures on an image's grid. Files are opened when asked for, and only those that are."""

    vertebrae: Mapping[str, Structure] = field(default_factory=dict)
    """Level -> structure."""
    tissues: Mapping[int, Tissue] = field(default_factory=dict)
    """Tissue code -> its parts, as many as were found."""
    numbering: str = ""
    """Title of the numbering of a label map; "names" where structures are named; empty without masks."""
    findings: tuple[Finding, ...] = ()
    """What the user should know of the masks as a whole."""

    @property
    def is_map(self) -> bool:
        """True where labels are numbers, not names."""
        return self.numbering not in ("", _NAMED)

    def list_levels(self) -> tuple[str, ...]:
        """Levels with a pixel in the label map; empty where structures are named. Raises: as count_vertebrae."""
        return tuple(name for name in VERTEBRAE if self.is_map and name in self.vertebrae
                     and self.vertebrae[name].count().any())

    def count_vertebrae(self, level: str) -> dict[str, Int[np.ndarray, " slice"]]:
        """Pixels of a vertebra and of its neighbours on every slice.

        Raises: InputDataError for another grid, values that are no labels, or vertebrae in the wrong order.
        """
        if not self.vertebrae:
            return {}
        at = VERTEBRAE.index(level)
        names = [name for name in VERTEBRAE[max(0, at - 1) : at + 2] if name in self.vertebrae]
        counts = {name: self.vertebrae[name].count() for name in names}
        _check_order(counts, self.vertebrae)
        if level in counts:
            return counts
        any_px = next(iter(counts.values()), None)
        n = len(next(iter(self.vertebrae.values())).count() if any_px is None else any_px)
        return {level: np.zeros(n, np.int64), **counts}

    def load_vertebra(self, level: str, k: int) -> Bool[np.ndarray, "height width"] | None:
        """The vertebra on slice k; None where the masks do not have it. Raises: as count_vertebrae."""
        return self.vertebrae[level].load(k) if level in self.vertebrae else None

    def on_slice(self, k: int) -> tuple[dict[int, Bool[np.ndarray, "height width"]], tuple[Finding, ...]]:
        """Regions of every tissue that has all its parts on slice k, and warnings: half a muscle is no measurement.

        Raises: as count_vertebrae.
        """
        regions, notes = {}, []
        for code, tissue in self.tissues.items():
            present = [part.load(k) for part in tissue.parts]
            n, n_filled = tissue.n_needed, sum(bool(part.any()) for part in present)
            n_found = n_filled if tissue.is_in_map else len(present)
            if n_found == n and n_filled in (0, n):
                regions[code] = np.logical_or.reduce(present)
            elif n_found:
                name = schema.TISSUE_NAMES[code]
                where = tissue.parts[0].where
                notes.append(find("mask-half", fact=f"{n_filled} of {n} parts of {name}", where=where))
        return regions, tuple(notes)


def load_masks(path: Path, image: Grid, table: LabelTable | None = None, stack: Stack | None = None) -> Masks:
    """Find what a label map, or a folder or zip of masks, offers for an image.

    Args:
        path: label map, DICOM SEG, RTSTRUCT, or a folder or zip of masks.
        image: the image's grid.
        table: numbering of the label map; None: decided from the map.
        stack: the image, which is looked at where the labels do not decide; None: it is not.

    Raises: InputDataError for a path with no masks in it, or a label map whose numbering is not known.
    """
    if not path.exists():
        raise refusal("mask-missing", path)
    files = find_files(path)
    volumes = [f for f in files if f.name.lower().endswith(SUFFIXES)]
    named = {_stem(f): f for f in volumes}
    if len(named) < len(volumes):
        raise refusal("mask-twice", path, fact=f"{len(volumes)} files, {len(named)} names")
    of_dicom = load_dicom_masks([f for f in files if f not in volumes], image, stack)
    structures: dict[str, Structure] = dict(of_dicom)
    for name, file in named.items():
        key = f"vertebrae_{name}" if name in VERTEBRAE else name
        if key in structures:
            raise refusal("mask-twice", path, "several masks of one structure", fact=key)
        structures[key] = FileStructure(file, image)
    vertebrae, tissues = make_vertebrae(structures), _find_boa(named, image) | make_tissues(structures)
    label_map = named.get(_TOTAL)
    # In a folder, a file of any other name may be another patient's.
    if path.is_file() and len(named) == 1 and not (vertebrae or tissues):
        label_map = volumes[0]
    if label_map is not None:
        return _load_map(label_map, image, table, stack, vertebrae, tissues)
    if vertebrae or tissues:
        return Masks(vertebrae, tissues, _NAMED)
    unread = None if volumes else find_format(files)
    if unread is not None:
        raise refusal("mask-missing", path, f"masks of an unsupported format: {unread.name}", mend=unread.remedy)
    mend = "name this patient's label map <patient_id>.nii.gz, or give the file itself" if named else ""
    raise refusal("mask-missing", path, fact=f"{len(named)} NIfTI files, none with a name that is known", mend=mend)


def _load_map(
    file: InputFile, image: Grid, table: LabelTable | None, stack: Stack | None,
    vertebrae: Mapping[str, Structure], tissues: Mapping[int, Tissue],
) -> Masks:  # fmt: skip
    """A label map, and structures with a file each, which win over it."""
    labels = LabelMap(file, image)
    if not labels.stats.px:
        raise refusal("mask-values", file.where, "the label map is empty", mend="segment this very image")
    if table is None:
        table = identify(labels.stats, file.where, load_label_names(file), _make_look(labels, stack))
    else:
        _check_given(table, labels)
    structures = {name: LabelStructure(labels, label) for label, name in table.names.items()}
    notes = () if table is TOTALSEGMENTATOR_2 else (
        find("mask-numbering-read", f"labels are numbered as by {table.title}", where=file.where),)  # fmt: skip
    return Masks(make_vertebrae(structures) | dict(vertebrae), make_tissues(structures, is_in_map=True) | dict(tissues),
                 table.title, notes)  # fmt: skip


def _check_given(table: LabelTable, labels: LabelMap) -> None:
    """Raise InputDataError for a map that cannot be numbered so: by none of the table's labels, by their order, and for
    a known numbering by labels that it has not, or that are no vertebrae there.
    """
    if table.key in KNOWN and (fault := find_fault(table, labels.stats)):
        raise refusal("mask-numbering", labels.file.where, "the labels do not fit the label table given",
                      fact=f"as {table.title}, {fault}", mend="give another --label-table")  # fmt: skip
    wanted = {*table.vertebrae.values(), *(label for parts in table.tissues.values() for label in parts)}
    if not wanted & set(labels.stats.px):
        raise refusal("mask-numbering", labels.file.where, "the map has no vertebra and no tissue of the label table",
                      fact=f"{len(labels.stats.px)} labels from {min(labels.stats.px)} to {max(labels.stats.px)}",
                      mend="give another --label-table")  # fmt: skip
    if fault := find_order_fault(table, labels.stats):
        raise refusal("mask-order", labels.file.where, fact=f"{table.title}: {fault}")


def _make_look(labels: LabelMap, stack: Stack | None) -> Look | None:
    """Loads image and labels of some slices; None without Hounsfield units."""
    if stack is None or not stack.is_hu:
        return None
    image, grid = stack, stack.grid

    def look(slices: Sequence[int]) -> list[Sample]:
        return [Sample(grid.z_mm[k], image.load_hu(k)[0], labels.load_slice(k), grid.spacing_mm) for k in slices]

    return look


def _find_boa(files: Mapping[str, InputFile], image: Grid) -> dict[int, Tissue]:
    """Tissues of BOA's own label maps, known by their file names."""
    tissues: dict[int, Tissue] = {}
    for name, labels in BOA_LABELS.items():
        spelt = [files[key] for key in (name, name.replace("-", "_")) if key in files]
        if len(spelt) > 1 and "-" in name:
            raise refusal("mask-twice", spelt[0].where, "several masks of one structure", fact=name)
        for file in spelt[:1]:
            of_map = LabelMap(file, image)
            tissues = {code: Tissue((LabelStructure(of_map, label),)) for code, label in labels.items()} | tissues
    return tissues


def _check_order(counts: Mapping[str, Int[np.ndarray, " slice"]], vertebrae: Mapping[str, Structure]) -> None:
    """Raise InputDataError where a vertebra is below its lower neighbour: the volume is upside down, or names are."""
    seen = [name for name in VERTEBRAE if name in counts and counts[name].any()]
    middle = {name: float(counts[name] @ np.arange(len(counts[name])) / counts[name].sum()) for name in seen}
    for upper, lower in itertools.pairwise(seen):
        n_slices = len(counts[upper])
        if middle[lower] - middle[upper] > max(1.0, 0.2 * min(n_slices, 20)):
            raise refusal("mask-order", vertebrae[upper].where, fact=f"{upper} is below {lower}")


def _stem(file: InputFile) -> str:
    return file.name.split(".nii")[0]
