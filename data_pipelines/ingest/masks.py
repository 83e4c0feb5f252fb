"""Masks of others on an image's grid: TotalSegmentator's label maps and folders, BOA's folders; read where needed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Shaped

from bonemet_jax import schema
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.files import InputFile, find_files
from data_pipelines.ingest.formats import find_format
from data_pipelines.ingest.grid import Grid, check_same_grid
from data_pipelines.ingest.nifti import SUFFIXES, NiftiStack, load_nifti

#: TotalSegmentator's class numbers (task `total`, version 2).
LABEL_OF_VERTEBRA: dict[str, int] = (
    {f"L{i}": 32 - i for i in range(1, 6)} | {f"T{i}": 44 - i for i in range(1, 13)}
    | {f"C{i}": 51 - i for i in range(1, 8)}
)  # fmt: skip
#: From the head to the feet.
VERTEBRAE = tuple(sorted(LABEL_OF_VERTEBRA, key=lambda name: -LABEL_OF_VERTEBRA[name]))
#: Autochthon (the deep back muscles) stands for the erector spinae.
LABELS_OF_TISSUE: dict[int, tuple[int, ...]] = {schema.TISSUE_ESM: (86, 87)}
#: TotalSegmentator's file names.
# PAPER: visceral fat is drawn by readers; torso_fat, all fat inside the trunk's wall, is the nearest label there is.
FILES_OF_TISSUE: dict[int, tuple[str, ...]] = {
    schema.TISSUE_SAT: ("subcutaneous_fat",),
    schema.TISSUE_VAT: ("torso_fat",),
    schema.TISSUE_ESM: ("autochthon_left", "autochthon_right"),
}
#: Body-and-Organ-Analysis 1.0 writes total.nii.gz in TotalSegmentator's numbers, and these label maps, in its source
#: spelt with - or _. Regions come first: they hold every pixel, tissues only those in BOA's own HU ranges.
BOA_LABELS: dict[str, dict[int, int]] = {
    "body-regions": {schema.TISSUE_SAT: 1, schema.TISSUE_VAT: 3},
    "tissues": {schema.TISSUE_SAT: 3, schema.TISSUE_VAT: 4},
}
#: File that holds a label map in TotalSegmentator's numbers, whatever else lies beside it.
_TOTAL = "total"
#: What version 1 numbered L5 to T10. In version 2: bowel, bladder, prostate, cysts and sacrum, in no such order.
_OLD_SPINE = slice(18, 26)
_OLD_STEP_MM, _OLD_STEPS = (10.0, 60.0), 3


@dataclass(frozen=True)
class Part:
    """Where one structure is: a file, and its label there; None: every value above zero."""

    file: InputFile
    label: int | None = None


@dataclass(frozen=True)
class Masks:
    """Structures on an image's grid. Files are opened when asked for, and only those that are."""

    grid: Grid | None = None
    vertebrae: Mapping[str, Part] = field(default_factory=dict)
    tissues: Mapping[int, tuple[Part, ...]] = field(default_factory=dict)
    """Tissue code -> its parts, as many as were found."""

    def count_vertebrae(self, level: str) -> dict[str, Int[np.ndarray, " slice"]]:
        """Pixels of a vertebra and of those beside it on every slice.

        Raises: InputDataError for another grid, or values that are no labels.
        """
        if self.grid is None or not self.vertebrae:
            return {}
        at = VERTEBRAE.index(level)
        names = [name for name in VERTEBRAE[max(0, at - 1) : at + 2] if name in self.vertebrae]
        by_file: dict[str, list[str]] = defaultdict(list)
        for name in names:
            by_file[self.vertebrae[name].file.where].append(name)
        counts = {level: np.zeros(len(self.grid.z_mm), np.int64)}
        for group in by_file.values():
            counts |= self._count(group)
        return counts

    def load_vertebra(self, level: str, k: int) -> Bool[np.ndarray, "height width"] | None:
        """The vertebra on slice k; None where the masks do not have it. Raises: as count_vertebrae."""
        return self._load_part(self.vertebrae[level], k) if level in self.vertebrae else None

    def on_slice(self, k: int) -> tuple[dict[int, Bool[np.ndarray, "height width"]], tuple[Finding, ...]]:
        """Regions of every tissue that has all its parts on slice k, and warnings: half a muscle is no measurement.

        Raises: as count_vertebrae.
        """
        regions, notes = {}, []
        for code, parts in self.tissues.items():
            present = [self._load_part(part, k) for part in parts]
            n, n_filled = len(FILES_OF_TISSUE[code]), sum(bool(part.any()) for part in present)
            is_map = parts[0].label is not None and n > 1
            n_found = n_filled if is_map else len(present)
            if n_found == n and n_filled in (0, n):
                regions[code] = np.logical_or.reduce(present)
            elif n_found:
                name = schema.TISSUE_NAMES[code]
                notes.append(find("mask-half", fact=f"{n_filled} of {n} parts of {name}", where=parts[0].file.where))
        return regions, tuple(notes)

    def _count(self, names: Sequence[str]) -> dict[str, Int[np.ndarray, " slice"]]:
        """Pixels of structures that share a file, in one pass over it."""
        parts = [self.vertebrae[name] for name in names]
        stack = self._open(parts[0].file)
        px = {name: np.zeros(len(stack.grid.z_mm), np.int64) for name in names}
        old_spine = np.zeros((len(stack.grid.z_mm), 8), np.int64)
        for k, values in stack.iter_slices():
            labels = _check_labels(values, parts[0].file)
            old_spine[k] = np.bincount(labels[::4, ::4].clip(0, 255).astype(np.uint8).ravel(), minlength=26)[_OLD_SPINE]
            for name, part in zip(names, parts, strict=True):
                px[name][k] = np.count_nonzero(labels == part.label if part.label is not None else labels)
        _check_version(old_spine, stack.grid, parts[0].file)
        return px

    def _load_part(self, part: Part, k: int) -> Bool[np.ndarray, "height width"]:
        labels = _check_labels(self._open(part.file).load_slice(k), part.file)
        return labels == part.label if part.label is not None else labels > 0

    def _open(self, file: InputFile) -> NiftiStack:
        stack = load_nifti(file)
        assert self.grid is not None
        check_same_grid(self.grid, stack.grid, file.where)
        return stack


def load_masks(path: Path, image: Grid) -> Masks:
    """Find what a label map (TotalSegmentator's numbers) or a folder or zip of masks offers for an image.

    Raises: InputDataError for a path with no masks in it.
    """
    if not path.exists():
        raise refusal("mask-missing", path)
    volumes = [f for f in find_files(path) if f.name.endswith(SUFFIXES)]
    files = {f.name.split(".nii")[0]: f for f in volumes}
    if len(files) < len(volumes):
        raise refusal("mask-twice", path, fact=f"{len(volumes)} files, {len(files)} names")
    vertebrae, tissues = _find_named(files)
    label_map = files.get(_TOTAL)
    # In a folder, a file of any other name may be another patient's.
    if path.is_file() and len(files) == 1 and not (vertebrae or tissues):
        label_map = volumes[0]
    if label_map is not None:
        vertebrae = {name: Part(label_map, n) for name, n in LABEL_OF_VERTEBRA.items()} | vertebrae
        tissues = {code: tuple(Part(label_map, n) for n in labels) for code, labels in LABELS_OF_TISSUE.items()
                   } | tissues  # fmt: skip
    if not (vertebrae or tissues):
        unread = None if volumes else find_format(find_files(path))
        if unread is not None:
            raise refusal("mask-missing", path, f"masks of an unsupported format: {unread.name}", mend=unread.remedy)
        raise refusal("mask-missing", path, fact=f"{len(files)} NIfTI files, none with a name that is known")
    return Masks(image, vertebrae, tissues)


def _find_named(files: Mapping[str, InputFile]) -> tuple[dict[str, Part], dict[int, tuple[Part, ...]]]:
    """Vertebrae and tissues that the names of files tell; TotalSegmentator's win over BOA's."""
    vertebrae = {
        name.removeprefix("vertebrae_"): Part(file) for name, file in files.items()
        if name.removeprefix("vertebrae_") in LABEL_OF_VERTEBRA
    }  # fmt: skip
    tissues: dict[int, tuple[Part, ...]] = {}
    for name, labels in BOA_LABELS.items():
        file = files.get(name) or files.get(name.replace("-", "_"))
        if file is not None:
            tissues = {code: (Part(file, label),) for code, label in labels.items()} | tissues
    for code, names in FILES_OF_TISSUE.items():
        parts = tuple(Part(files[name]) for name in names if name in files)
        tissues |= {code: parts} if parts else {}
    return vertebrae, tissues


def _check_version(px: Int[np.ndarray, "slice label"], grid: Grid, file: InputFile) -> None:
    """Raise InputDataError where labels 18 to 25 are stacked as vertebrae are: version 1 calls other ones T11."""
    n = px.sum(axis=0)
    middle_mm = (px * np.array(grid.z_mm)[:, None]).sum(axis=0) / np.where(n > 0, n, np.nan)
    step_mm = np.diff(middle_mm)
    n_steps = int(((step_mm >= _OLD_STEP_MM[0]) & (step_mm <= _OLD_STEP_MM[1])).sum())
    if n_steps >= _OLD_STEPS:
        raise refusal("mask-version", file.where, fact=f"{n_steps} of labels 18 to 25 lie one above the other")


def _check_labels(values: Shaped[np.ndarray, "height width"], file: InputFile) -> Shaped[np.ndarray, "height width"]:
    """Raise InputDataError unless values are whole numbers from 0."""
    is_label = values.dtype.kind == "u" or bool(
        np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all()
    )
    if not is_label:
        raise refusal("mask-values", file.where)
    return values
