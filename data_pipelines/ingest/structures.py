"""One structure of a mask on the image's grid, wherever it is stored: a file, a label of a map, a segment, contours."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int, Shaped

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.check_codes import VERDICTS
from data_pipelines.findings import refusal
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import Grid, check_same_grid
from data_pipelines.ingest.label_stats import LabelStats, count_labels
from data_pipelines.ingest.label_tables import NAMES_OF_TISSUE, VERTEBRAE, WHOLE_MUSCLE
from data_pipelines.ingest.nifti import NiftiStack, load_nifti
from data_pipelines.ingest.roi import parse_name

_VERTEBRA = re.compile(
    r"(?:vertebrae?|vert|vb)?[\s_-]*([CTL])h?[\s_-]?0?(\d{1,2})[\s_-]*(?:vertebrae?|vert|vb)?", re.IGNORECASE
)
#: Codes of NIfTI images that mean something else for masks -> words.
_OF_MASKS = {
    "nifti-damaged": "not a readable NIfTI mask",
    "nifti-not-3d": "the mask is not one volume of three dimensions",
    "nifti-datatype": "the mask holds colours or complex numbers, not labels",
    "nifti-too-large": "the header claims more voxels than a mask has",
    "nifti-no-orientation": "the mask's orientation is not given",
    "nifti-two-orientations": "the two orientations of the mask's header contradict each other",
    "nifti-spacing": "the mask's voxel size is missing or cannot be a CT's",
    "nifti-oblique": "the mask is an oblique volume",
    "nifti-not-finite": "the mask holds values that are not finite",
}
_REMEDY = "save the mask again: whole numbers, one volume on the image's grid"


class Structure(Protocol):
    """One structure on the image's grid."""

    @property
    def where(self) -> str:
        """File, named in errors."""
        ...

    def load(self, k: int) -> Bool[np.ndarray, "height width"]:
        """Its pixels on slice k. Raises: InputDataError."""
        ...

    def count(self) -> Int[np.ndarray, " slice"]:
        """Its pixels on every slice. Raises: InputDataError."""
        ...


@dataclass(frozen=True)
class FileStructure:
    """A NIfTI file that holds one structure: every value above zero."""

    file: InputFile
    grid: Grid

    @property
    def where(self) -> str:
        return self.file.where

    def load(self, k: int) -> Bool[np.ndarray, "height width"]:
        return _load_mask_slice(self.file, self.grid, k) > 0

    def count(self) -> Int[np.ndarray, " slice"]:
        px = np.zeros(len(self.grid.z_mm), np.int64)
        for k, values in _iter_mask(self.file, self.grid):
            px[k] = np.count_nonzero(values)
        return px


@dataclass(frozen=True)
class LabelMap:
    """A NIfTI file that holds many structures."""

    file: InputFile
    grid: Grid

    @cached_property
    def stats(self) -> LabelStats:
        """Where its labels are. Raises: InputDataError for another grid, or values that are no labels."""
        return count_labels(_iter_mask(self.file, self.grid), self.grid, self.file.where)

    def load_slice(self, k: int) -> Shaped[np.ndarray, "height width"]:
        """Labels of slice k. Raises: as stats."""
        return _load_mask_slice(self.file, self.grid, k)


@dataclass(frozen=True)
class LabelStructure:
    """One label of a map."""

    map: LabelMap
    label: int

    @property
    def where(self) -> str:
        return self.map.file.where

    def load(self, k: int) -> Bool[np.ndarray, "height width"]:
        return self.map.load_slice(k) == self.label

    def count(self) -> Int[np.ndarray, " slice"]:
        return self.map.stats.px.get(self.label, np.zeros(len(self.map.grid.z_mm), np.int64))


@dataclass(frozen=True)
class Tissue:
    """Parts of a tissue that were found."""

    parts: tuple[Structure, ...]
    n_needed: int = 1
    """Half a muscle is no measurement."""
    is_in_map: bool = False
    """True where a part without a pixel on the slice is not there, rather than empty."""


@contextlib.contextmanager
def _in_mask_words(file: InputFile) -> Iterator[None]:
    """Refusals of a NIfTI file, also of voxels read later, in the words of masks."""
    try:
        yield
    except InputDataError as error:
        if not error.code.startswith("nifti-"):
            raise
        words = _OF_MASKS.get(error.code, f"of the mask: {VERDICTS[error.code].meaning}")
        raise refusal(error.code, file.where, words, error.fact, _REMEDY) from error


def open_mask(file: InputFile, grid: Grid) -> NiftiStack:
    """A NIfTI mask on the image's grid. Raises: InputDataError in the words of masks."""
    with _in_mask_words(file):
        stack = load_nifti(file, is_mask=True)
    check_same_grid(grid, stack.grid, file.where)
    return stack


def _load_mask_slice(file: InputFile, grid: Grid, k: int) -> Shaped[np.ndarray, "height width"]:
    """Whole-number values of slice k. Raises: InputDataError."""
    with _in_mask_words(file):
        return check_labels(open_mask(file, grid).load_slice(k), file)


def _iter_mask(file: InputFile, grid: Grid) -> Iterator[tuple[int, Shaped[np.ndarray, "height width"]]]:
    """Number and whole-number values of every slice. Raises: InputDataError."""
    with _in_mask_words(file):
        for k, values in open_mask(file, grid).iter_slices():
            yield k, check_labels(values, file)


def check_labels(values: Shaped[np.ndarray, "height width"], file: InputFile) -> Shaped[np.ndarray, "height width"]:
    """Raise InputDataError unless values are whole numbers from 0."""
    is_label = values.dtype.kind == "u" or bool(
        np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all()
    )
    if not is_label:
        raise refusal("mask-values", file.where)
    return values


def parse_structure(name: str) -> str | None:
    """The structure that a name in free text means: vertebrae_T11, subcutaneous_fat, autochthon_left, ...; else None.

    Spellings: T11, Th11, vertebrae_T11, T11 vertebra; those of ImageJ regions; TotalSegmentator's.
    """
    plain = name.strip()
    vertebra = _VERTEBRA.fullmatch(plain)
    if vertebra:
        level = f"{vertebra[1].upper()}{int(vertebra[2])}"
        return f"vertebrae_{level}" if level in VERTEBRAE else None
    own = re.sub(r"[\s-]+", "_", plain.lower())
    if own == WHOLE_MUSCLE or any(own in names for names in NAMES_OF_TISSUE.values()):
        return own
    tissue = parse_name(plain)
    if tissue is None:
        return None
    code, side = tissue
    if code == schema.TISSUE_ESM:
        return f"autochthon_{side}" if side else WHOLE_MUSCLE
    return NAMES_OF_TISSUE[code][0] if not side else None


def make_vertebrae(named: Mapping[str, Structure]) -> dict[str, Structure]:
    """Level -> structure, of those named vertebrae_<level>."""
    return {level: named[f"vertebrae_{level}"] for level in VERTEBRAE if f"vertebrae_{level}" in named}


def make_tissues(named: Mapping[str, Structure], *, is_in_map: bool = False) -> dict[int, Tissue]:
    """Tissue code -> parts, of those tissues of which a part is there; a whole muscle wins over halves."""
    tissues = {}
    for code, names in NAMES_OF_TISSUE.items():
        parts = tuple(named[name] for name in names if name in named)
        if parts:
            tissues[code] = Tissue(parts, len(names), is_in_map and len(names) > 1)
    if WHOLE_MUSCLE in named:
        tissues[schema.TISSUE_ESM] = Tissue((named[WHOLE_MUSCLE],))
    return tissues
