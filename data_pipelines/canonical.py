"""The canonical slice: one axial CT slice of one patient, as every later stage reads it.

Orientation is anatomical: row 0 anterior, column 0 the patient's right side (the picture's left).
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import CorruptFileError


@dataclass(frozen=True)
class CanonicalSlice:
    """One slice in Hounsfield units with its tissue labels."""

    hu: Int16[np.ndarray, "height width"]
    """Hounsfield units; outside the scanned field schema.HU_PADDING. Grey levels where is_hu is false."""
    spacing_mm: tuple[float, float]
    """Row and column spacing, mm."""
    tissue: UInt8[np.ndarray, "height width"]
    """Tissue codes of the schema, disjoint regions."""
    body: UInt8[np.ndarray, "height width"]
    """1 inside the trunk: table and arms left out."""
    tilt_deg: float = 0.0
    """Angle between the slice and the axial plane."""
    is_hu: bool = True
    """False where values are grey levels only: no Hounsfield range applies."""

    @property
    def pixel_cm2(self) -> float:
        """Area of one pixel as the axial plane sees it, cm2: a slice tilted by t shows bodies 1 / cos(t) too long."""
        return self.spacing_mm[0] * self.spacing_mm[1] / 100.0 * math.cos(math.radians(self.tilt_deg))

    @property
    def fat_mask(self) -> UInt8[np.ndarray, "height width"]:
        """1 where the tissue is fat of any kind: the mask channel."""
        return np.isin(self.tissue, schema.FAT_CODES).astype(np.uint8)


#: Arrays of slices/<slice_id>.npz that every version writes: kinds of dtype and axes.
SLICE_LAYOUT = {"hu": ("i", 2), "spacing_mm": ("f", 1), "tissue": ("u", 2), "body": ("u", 2)}


def hash_pixels(image: CanonicalSlice) -> str:
    """The same for the very same picture, whatever its spacing and tissues."""
    return hashlib.sha256(repr(image.hu.shape).encode() + np.ascontiguousarray(image.hu).tobytes()).hexdigest()


def save_slice(path: Path, image: CanonicalSlice) -> None:
    """Write slices/<slice_id>.npz."""
    artifacts.save_npz(
        path,
        {
            "hu": image.hu.astype(np.int16),
            "spacing_mm": np.asarray(image.spacing_mm, np.float64),
            "tissue": image.tissue.astype(np.uint8),
            "body": image.body.astype(np.uint8),
            "tilt_deg": np.float64(image.tilt_deg),
            "is_hu": np.bool_(image.is_hu),
        },
    )


def load_slice(path: Path) -> CanonicalSlice:
    """Read slices/<slice_id>.npz.

    Raises: CorruptFileError when the file is damaged or its arrays disagree in shape.
    """
    arrays, mend = artifacts.load_npz(path, layout=SLICE_LAYOUT), "run ingest or phantom again"
    if not arrays["hu"].shape == arrays["tissue"].shape == arrays["body"].shape or not arrays["hu"].size:
        raise CorruptFileError("image and labels differ in shape, or are empty", path, mend)
    if arrays["spacing_mm"].shape != (2,) or not ((arrays["spacing_mm"] > 0) & (arrays["spacing_mm"] < 1000)).all():
        raise CorruptFileError("spacing is no pair of positive numbers", path, mend)
    # Files of version 0.1 have neither: axial, in Hounsfield units.
    tilt, is_hu = arrays.get("tilt_deg", np.float64(0)), arrays.get("is_hu", np.bool_(True))
    if tilt.dtype.kind != "f" or is_hu.dtype.kind != "b" or tilt.size != 1 or is_hu.size != 1 or not abs(tilt) < 90:
        raise CorruptFileError("tilt_deg or is_hu is no single value in its range", path, mend)
    row, column = arrays["spacing_mm"].tolist()
    return CanonicalSlice(
        arrays["hu"], (row, column), arrays["tissue"], arrays["body"], float(tilt.item()), bool(is_hu.item()),
    )  # fmt: skip
