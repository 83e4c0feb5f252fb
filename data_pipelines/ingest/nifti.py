"""NIfTI volumes and masks, brought to the anatomical order of Grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Int, Int16, Shaped

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.findings import Finding, find
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import Grid, check_same_grid

#: TotalSegmentator's class numbers (task `total`, version 2).
LABEL_OF_VERTEBRA: dict[str, int] = (
    {f"L{i}": 32 - i for i in range(1, 6)} | {f"T{i}": 44 - i for i in range(1, 13)}
    | {f"C{i}": 51 - i for i in range(1, 8)}
)  # fmt: skip
LABELS_OF_TISSUE: dict[int, tuple[int, ...]] = {schema.TISSUE_ESM: (86, 87)}
#: TotalSegmentator's file names; autochthon (the deep back muscles) stands for the erector spinae.
# PAPER: visceral fat is drawn by readers; torso_fat, all fat inside the trunk's wall, is the nearest label there is.
FILES_OF_TISSUE: dict[int, tuple[str, ...]] = {
    schema.TISSUE_SAT: ("subcutaneous_fat",),
    schema.TISSUE_VAT: ("torso_fat",),
    schema.TISSUE_ESM: ("autochthon_left", "autochthon_right"),
}
SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class NiftiStack:
    """A CT volume."""

    grid: Grid
    file: Path
    volume: Shaped[np.ndarray, "slice height width"]
    findings: tuple[Finding, ...] = ()
    tilt_deg: float = 0.0
    is_hu: bool = True
    kind: str = "nifti"

    def load_hu(self, k: int) -> tuple[Int16[np.ndarray, "height width"], tuple[Finding, ...]]:
        """Slice k in Hounsfield units, and warnings.

        Raises: InputDataError for values that are not finite.
        """
        values = self.volume[k].astype(np.float64)
        if not np.isfinite(values).all():
            raise InputDataError("values that are not finite", self.file, "convert the original CT again")
        return np.clip(np.rint(values), schema.HU_PADDING, np.iinfo(np.int16).max).astype(np.int16), ()

    def to_anatomical(self, picture: Shaped[np.ndarray, "rows columns"]) -> Shaped[np.ndarray, "height width"]:
        """A picture drawn on the slice as ImageJ shows the volume: rows towards the front, columns to the left."""
        return picture


@dataclass(frozen=True)
class Masks:
    """Labels on an image's grid."""

    vertebra_px: Mapping[str, Int[np.ndarray, " slice"]] = field(default_factory=dict)
    """Pixels of each vertebra on each slice."""
    regions: Mapping[int, Bool[np.ndarray, "slice height width"]] = field(default_factory=dict)
    """Tissue code -> region."""
    findings: tuple[Finding, ...] = ()

    def on_slice(self, k: int) -> dict[int, Bool[np.ndarray, "height width"]]:
        """Regions on slice k."""
        return {code: region[k] for code, region in self.regions.items()}


def find_nifti(files: Sequence[InputFile]) -> Path | None:
    """The CT volume meant: the only file, or ct.nii.gz / ct.nii among several; None when there is none."""
    if len(files) == 1 and files[0].name.endswith(SUFFIXES):
        return Path(files[0].where)
    return next((Path(f.where) for f in files if f.name in ("ct.nii.gz", "ct.nii")), None)


def load_nifti(file: Path) -> NiftiStack:
    """Read a CT volume; rescaled by its own slope and intercept. Raises: InputDataError."""
    grid, volume = _load_volume(file)
    return NiftiStack(grid, file, volume)


def load_masks(path: Path, image: Grid) -> Masks:
    """Read a label map (TotalSegmentator's numbers) or a folder of masks (its file names) on the image's grid.

    Raises: InputDataError for a missing or empty path, another grid, or values that are no labels.
    """
    if path.is_dir():
        return _load_mask_folder(path, image)
    if not (path.is_file() and path.name.endswith(SUFFIXES)):
        raise InputDataError("masks not found", path, "give a folder of .nii.gz masks or one label map")
    labels = _load_labels(path, image)
    vertebrae = {
        name: (labels == number).sum(axis=(1, 2)) for name, number in LABEL_OF_VERTEBRA.items() if number in labels
    }
    parts = {code: [labels == n for n in numbers if n in labels] for code, numbers in LABELS_OF_TISSUE.items()}
    return Masks(vertebrae, *_join_parts(parts))


def _load_mask_folder(folder: Path, image: Grid) -> Masks:
    files = {f.name.split(".nii")[0]: f for f in sorted(folder.iterdir()) if f.name.endswith(SUFFIXES)}
    if not files:
        raise InputDataError("no .nii.gz masks in this folder", folder, "give TotalSegmentator's output folder")
    vertebrae = {
        name.removeprefix("vertebrae_"): (_load_labels(file, image) > 0).sum(axis=(1, 2))
        for name, file in files.items()
        if name.removeprefix("vertebrae_") in LABEL_OF_VERTEBRA
    }
    parts = {
        code: [_load_labels(files[name], image) > 0 for name in names if name in files]
        for code, names in FILES_OF_TISSUE.items()
    }
    return Masks(vertebrae, *_join_parts(parts))


def _join_parts(
    parts: Mapping[int, list[Bool[np.ndarray, "slice height width"]]],
) -> tuple[dict[int, Bool[np.ndarray, "slice height width"]], tuple[Finding, ...]]:
    """Region of every tissue that has all its parts, and warnings: half a muscle is no measurement."""
    regions, notes = {}, []
    for code, present in parts.items():
        n, n_filled = len(FILES_OF_TISSUE[code]), sum(bool(part.any()) for part in present)
        if len(present) == n and n_filled in (0, n):
            regions[code] = np.logical_or.reduce(present)
        elif present:
            name = schema.TISSUE_NAMES[code]
            notes.append(find("mask-half", f"masks hold {n_filled} of the {n} parts of {name}: it stays unsegmented"))
    return regions, tuple(notes)


def _load_labels(file: Path, image: Grid) -> Shaped[np.ndarray, "slice height width"]:
    grid, labels = _load_volume(file)
    check_same_grid(image, grid, file)
    if not (np.isfinite(labels).all() and (labels >= 0).all() and (labels == np.rint(labels)).all()):
        raise InputDataError("mask values are not labels", file, "give whole numbers from 0")
    return labels


def _load_volume(file: Path) -> tuple[Grid, Shaped[np.ndarray, "slice height width"]]:
    """Grid and voxels of one file, in anatomical order."""
    try:
        image = nib.Nifti1Image.from_filename(file)
        codes = int(image.header["qform_code"]) + int(image.header["sform_code"])
        canonical = nib.as_closest_canonical(image)
        values = np.asanyarray(canonical.dataobj)
    except Exception as error:  # nibabel raises many kinds for a damaged file
        raise InputDataError(f"not a readable NIfTI file ({type(error).__name__})", file, "convert it again") from error
    values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
    if values.ndim != 3 or values.dtype.kind not in "iuf":
        raise InputDataError("not one greyscale volume", file, "give one CT volume of three dimensions")
    affine = np.asarray(canonical.affine, float)
    _check_affine(affine, codes, file)
    n_x, n_y, n_z = values.shape
    column_mm, row_mm, slice_mm = (float(affine[i, i]) for i in range(3))
    # NIfTI points right, front, head; the patient coordinates of Grid left, back, head.
    corner = (-(affine[0, 3] + column_mm * (n_x - 1)), -(affine[1, 3] + row_mm * (n_y - 1)))
    z = tuple(float(affine[2, 3] + slice_mm * k) for k in range(n_z))
    grid = Grid(n_y, n_x, (row_mm, column_mm), (float(corner[0]), float(corner[1])), z)
    return grid, values[::-1, ::-1, :].transpose(2, 1, 0)


def _check_affine(affine: np.ndarray, codes: int, file: Path) -> None:
    if codes <= 0:
        raise InputDataError("orientation is not given (qform and sform code 0)", file, "convert the DICOM again")
    sizes = np.diag(affine)[:3]
    if not (np.isfinite(affine).all() and (sizes > 0).all()):
        raise InputDataError("voxel size is missing or not positive", file, "convert the DICOM again")
    across = np.abs(affine[:3, :3] - np.diag(sizes)) / sizes
    if across.max() > 0.01:
        raise InputDataError("oblique volume", file, "resample it to straight axial slices")
