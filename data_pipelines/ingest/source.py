"""One patient's images -> one canonical slice. The only place where image files of others are parsed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.bodycomp.tissue import label_tissue
from data_pipelines.bodycomp.trunk import TISSUE_ABOVE_HU, compute_cut_mm, compute_trunk
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.ingest import nifti
from data_pipelines.ingest.dicom import DicomStack, load_dicom
from data_pipelines.ingest.level import choose_slice

#: More of the image border than this under the trunk, mm: the field of view cuts the patient.
MAX_CUT_MM = 10.0
#: A trunk is larger than this, cm2: below, nothing like a patient is in view.
MIN_TRUNK_CM2 = 100.0
#: A mask that reaches further than this outside the trunk is told, cm2: below, the two draw the skin differently.
MAX_OUTSIDE_CM2 = 1.0


@dataclass(frozen=True)
class IngestedSlice:
    """The slice and where it came from."""

    image: CanonicalSlice
    kind: str
    """dicom or nifti."""
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
    warnings: tuple[str, ...]
    """What the user should know."""


def read_source(
    path: Path, masks: Path | None = None, level: str = "T11", slice_z_mm: float | None = None
) -> IngestedSlice:
    """Read a DICOM folder, or a folder with ct.nii.gz (masks, if any, in its folder masks), and take one slice.

    Args:
        path: folder or file.
        masks: folder of masks or label map on the image's grid; None: the folder `masks` beside ct.nii.gz, if any.
        level: vertebra, C1 to L5.
        slice_z_mm: slice position, mm; wins over the level.

    Raises: InputDataError for whatever is not understood, UsageError for a level that does not exist.
    """
    path = Path(path)
    if level not in nifti.LABEL_OF_VERTEBRA:
        raise UsageError(f"no such vertebra: {level}", "--level", "use C1 to C7, T1 to T12, L1 to L5")
    if not path.exists():
        raise InputDataError("no such file or folder", path, "check the path")
    stack, masks = _load_stack(path, masks)
    labels = nifti.load_masks(masks, stack.grid) if masks is not None else nifti.Masks()
    index, notes = choose_slice(stack.grid, level, slice_z_mm, labels.vertebra_px, path)
    hu, more = stack.load_hu(index)
    image, doubts = make_slice(hu, stack.grid.spacing_mm, labels.on_slice(index), path)
    return IngestedSlice(
        image, "dicom" if isinstance(stack, DicomStack) else "nifti", make_patient_id(path), level,
        stack.grid.z_mm[index], index, len(stack.grid.z_mm),
        (*stack.warnings, *labels.warnings, *notes, *more, *doubts),
    )  # fmt: skip


def make_patient_id(path: Path) -> str:
    """Name of the patient's folder; of a file the name without its ending, of ct.nii.gz its folder's."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    ending = next((end for end in (*nifti.SUFFIXES, ".dcm") if path.name.endswith(end)), "")
    stem = path.name.removesuffix(ending)
    return path.parent.name if stem == "ct" else stem


def make_slice(
    hu: Int16[np.ndarray, "height width"],
    spacing_mm: tuple[float, float],
    regions: dict[int, Bool[np.ndarray, "height width"]],
    where: object,
) -> tuple[CanonicalSlice, list[str]]:
    """Find the trunk and label the tissues. Returns the slice and warnings.

    Raises: InputDataError when the values are no Hounsfield units or no whole trunk is in view.
    """
    if hu.min() > TISSUE_ABOVE_HU:
        raise InputDataError(
            f"no air on the slice (lowest value {hu.min()}): not in Hounsfield units, or cut too closely", where,
            "export the original CT series",
        )
    trunk = compute_trunk(hu, spacing_mm)
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] / 100
    if trunk.sum() * pixel_cm2 < MIN_TRUNK_CM2:
        raise InputDataError(f"no trunk of {MIN_TRUNK_CM2:g} cm2 or more on the slice", where, "choose another slice")
    cut_mm = compute_cut_mm(trunk, spacing_mm)
    if cut_mm > MAX_CUT_MM:
        raise InputDataError(
            f"the image border cuts the trunk over {cut_mm:.0f} mm: its areas would be too small", where,
            "reconstruct with a larger field of view",
        )
    notes = ["the trunk touches the image border"] if cut_mm > 0 else []
    notes += [note for code, region in regions.items() for note in _judge_mask(code, region, trunk, pixel_cm2)]
    tissue = label_tissue(hu, trunk, regions)
    if schema.TISSUE_FAT_UNSEGMENTED in tissue:
        notes.append("fat is unsegmented: subcutaneous and visceral fat together, no SFA and no VFA")
    return CanonicalSlice(hu, spacing_mm, tissue, trunk.astype(np.uint8)), notes


def _judge_mask(
    code: int, region: Bool[np.ndarray, "height width"], trunk: Bool[np.ndarray, "height width"], pixel_cm2: float
) -> list[str]:
    """Warnings about one mask on the slice."""
    name, outside_cm2 = schema.TISSUE_NAMES[code], float((region & ~trunk).sum() * pixel_cm2)
    if not region.any():
        return [f"the mask of {name} is empty on this slice"]
    if outside_cm2 <= MAX_OUTSIDE_CM2 and (region & trunk).any():
        return []
    return [f"{outside_cm2:.1f} cm2 of the mask of {name} lie outside the trunk and are left out"]


def _load_stack(path: Path, masks: Path | None) -> tuple[DicomStack | nifti.NiftiStack, Path | None]:
    """The images, and the masks that belong to them."""
    volume = nifti.find_nifti(path)
    if volume is None:
        return load_dicom(path), masks
    beside = path / "masks"
    return nifti.load_nifti(volume), masks if masks is not None or not beside.is_dir() else beside
