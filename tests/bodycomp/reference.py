"""How well fat is told apart from Hounsfield units alone: `python -m tests.bodycomp.reference` prints the figures.

The abdomen's even slices fixed the parameters, together with phantoms; the odd ones were looked at once, at the end.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bonemet_jax import schema
from data_pipelines.bodycomp.areas import compute_counted
from data_pipelines.bodycomp.slice import make_slice
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.phantom import anatomy, render

ROOT = Path(__file__).parents[2]
#: SFA, VFA, ESMA of the phantoms, cm2: lean to obese, visceral to subcutaneous.
PHANTOMS_CM2 = ((140, 90, 30), (60, 20, 20), (300, 150, 35), (30, 15, 15), (200, 60, 40), (90, 150, 30), (20, 40, 25),
                (350, 40, 30), (110, 30, 30), (160, 200, 28))  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Dice and relative area error, one value a slice."""

    dice: np.ndarray
    area_error: np.ndarray

    def __str__(self) -> str:
        size = np.abs(self.area_error)
        return (f"n {len(self.dice)}: Dice median {np.median(self.dice):.3f}, worst {self.dice.min():.3f}; "
                f"area error median {np.median(size):.1%}, worst {size.max():.1%}, mean {self.area_error.mean():+.1%}")


def compare(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Agreement:
    """Agreement of (found, reference) masks."""
    dice = [2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)) for a, b in pairs]
    error = [np.count_nonzero(a) / np.count_nonzero(b) - 1 for a, b in pairs]
    return Agreement(np.array(dice), np.array(error))


def load_anatomical(file: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """(slice, row, column), row 0 anterior, column 0 the patient's right; in-plane spacing, mm."""
    volume = nib.as_closest_canonical(nib.Nifti1Image.from_filename(file))
    column_mm, row_mm, _ = np.sqrt((np.asarray(volume.affine)[:3, :3] ** 2).sum(axis=0)).tolist()
    return np.asanyarray(volume.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1], (row_mm, column_mm)


def evaluate_abdomen(shared: Path, first: int) -> dict[str, Agreement]:
    """Tissue -> agreement with the reference masks on every second slice of ct_t11_l2_nifti, from `first` on.

    Subcutaneous fat: counted pixels against the whole reference mask. Visceral fat: against the part of the reference
    torso_fat in its own range. Muscle: with a vertebra's label, against autochthon in the muscle range.
    """
    folder = shared / "data" / "ct_t11_l2_nifti"
    hu, spacing_mm = load_anatomical(folder / "ct.nii.gz")

    def masks(*names: str) -> np.ndarray:
        return np.logical_or.reduce([load_anatomical(folder / "masks" / f"{name}.nii.gz")[0] > 0 for name in names])

    vertebrae = [masks(f"vertebrae_{name}") for name in ("T11", "T12", "L1")]
    sat, vat, esm = masks("subcutaneous_fat"), masks("torso_fat"), masks("autochthon_left", "autochthon_right")
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"SAT": [], "VAT": [], "ESM": []}
    for k in range(first, len(hu), 2):
        vertebra = max((mask[k] for mask in vertebrae), key=np.count_nonzero)
        plane = np.rint(hu[k]).astype(np.int16)
        image = make_slice(plane, spacing_mm, {}, folder, vertebra=vertebra).image
        pairs["SAT"].append((compute_counted(image, schema.TISSUE_SAT), sat[k]))
        pairs["VAT"].append((compute_counted(image, schema.TISSUE_VAT), vat[k] & _in_range(plane, "visceral_fat")))
        if (image.tissue == schema.TISSUE_ESM).any():
            pairs["ESM"].append((compute_counted(image, schema.TISSUE_ESM), esm[k] & _in_range(plane, "muscle")))
    return {tissue: compare(found) for tissue, found in pairs.items()}


def make_phantoms(spacing_mm: float = 0.8) -> list[CanonicalSlice]:
    """Slices whose tissue is planted; field of view 320 x 400 mm."""
    shape = (round(320 / spacing_mm), round(400 / spacing_mm))
    return [render.render_slice(np.random.default_rng(i), shape, spacing_mm, anatomy.Areas(*areas), 5.0)
            for i, areas in enumerate(PHANTOMS_CM2)]  # fmt: skip


def evaluate_phantoms(
    spacing_mm: float = 0.8, change: Callable[[np.ndarray], np.ndarray] = lambda hu: hu
) -> dict[str, Agreement]:
    """Tissue -> agreement with what was planted; `change` alters the Hounsfield units first (noise, say)."""
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"SAT": [], "VAT": []}
    for image in make_phantoms(spacing_mm):
        found = make_slice(change(image.hu), image.spacing_mm, {}, "phantom").image
        for tissue, code in (("SAT", schema.TISSUE_SAT), ("VAT", schema.TISSUE_VAT)):
            pairs[tissue].append((compute_counted(found, code), image.tissue == code))
    return {tissue: compare(found) for tissue, found in pairs.items()}


def _in_range(hu: np.ndarray, tissue: str) -> np.ndarray:
    low, high = schema.HU_RANGES[tissue]
    return (hu >= low) & (hu <= high)


def main() -> None:
    """Print every figure."""
    shared = Path(os.environ.get("BONEMET_SHARED", ROOT.parent / "shared"))
    sets = {f"phantoms at {mm} mm": evaluate_phantoms(mm) for mm in (0.5, 0.8, 1.5)}
    if shared.is_dir():
        sets |= {f"abdomen, {name} slices": evaluate_abdomen(shared, k) for k, name in enumerate(("even", "odd"))}
    for name, found in sets.items():
        for tissue, agreement in found.items():
            sys.stdout.write(f"{name}, {tissue}, {agreement}\n")


if __name__ == "__main__":
    main()
