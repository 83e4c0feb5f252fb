"""Where a stack of axial slices lies in the patient: the common ground of DICOM, NIfTI and masks."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Float64, Int16, Shaped

from data_pipelines.findings import Finding, refusal

#: Largest difference between an image's grid and its masks', pixels; of the uppermost slice's place against the lowest
#: one's, as DICOM slices may be shifted by a pixel.
TOLERANCE_PX, STACK_TOLERANCE_PX = 0.1, 1.1
#: Sizes that differ from 1 mm by less are written as 1, and cosines as those of a straight volume.
UNIT_TOLERANCE = 5e-4

#: Whether to transpose a stored picture, then flip its rows, then its columns.
Axes = tuple[bool, bool, bool]
UPRIGHT: Axes = (False, False, False)


@dataclass(frozen=True)
class Grid:
    """Axial slices in anatomical order: row 0 anterior, column 0 the patient's right, slice 0 caudal."""

    height: int
    width: int
    spacing_mm: tuple[float, float]
    """Row and column spacing, mm."""
    corner_mm: tuple[float, float]
    """Patient coordinates (x to the left, y to the back) of the centre of row 0, column 0, mm."""
    z_mm: tuple[float, ...]
    """Position of every slice, mm towards the head, ascending."""
    corners_mm: Float64[np.ndarray, "4 3"] | None = field(default=None, compare=False)
    """Patient coordinates (left, back, head) of row 0 column 0, of row 0's last column and of column 0's last row, all
    of the lowest slice, and of row 0 column 0 of the uppermost one, mm; None for a picture."""


class Stack(Protocol):
    """Axial slices of one patient, read one at a time: a DICOM series, a NIfTI volume, a picture."""

    @property
    def kind(self) -> str:
        """dicom, nifti or picture."""
        ...

    @property
    def grid(self) -> Grid: ...

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the user should know of the whole stack."""
        ...

    @property
    def tilt_deg(self) -> float:
        """Angle between the slices and the axial plane: areas are multiplied by its cosine."""
        ...

    @property
    def placeholder(self) -> str:
        """Why the geometry is a placeholder; empty where it is none."""
        ...

    @property
    def is_hu(self) -> bool:
        """False where values are grey levels only: no thresholds are applied then."""
        ...

    @property
    def holds_fat(self) -> bool:
        """False where values end above those of fat: it cannot be told apart then."""
        ...

    def load_hu(self, k: int) -> tuple[Int16[np.ndarray, "height width"], tuple[Finding, ...]]:
        """Slice k in Hounsfield units, padding as schema.HU_PADDING, and what was found in reading it."""
        ...

    @property
    def axes(self) -> Axes:
        """How the picture that a viewer shows is turned to anatomical order."""
        ...


def turn(picture: Shaped[np.ndarray, "rows columns"], axes: Axes) -> Shaped[np.ndarray, "height width"]:
    """A stored picture, or what is drawn on it (an ImageJ region), in anatomical order."""
    is_transposed, is_row_flipped, is_column_flipped = axes
    picture = picture.T if is_transposed else picture
    return np.ascontiguousarray(picture[:: -1 if is_row_flipped else 1, :: -1 if is_column_flipped else 1])


def turn_back(picture: Shaped[np.ndarray, "height width"], axes: Axes) -> Shaped[np.ndarray, "rows columns"]:
    """A picture in anatomical order as it is stored: undoes `turn`."""
    is_transposed, is_row_flipped, is_column_flipped = axes
    picture = picture[:: -1 if is_row_flipped else 1, :: -1 if is_column_flipped else 1]
    return np.ascontiguousarray(picture.T if is_transposed else picture)


def find_slice(grid: Grid, z_mm: float, where: object) -> int:
    """Index of the slice at a position.

    Raises: InputDataError when the nearest slice is more than half a slice distance (one slice alone: 1 mm) away: the
        smaller of the distances to its neighbours, so that nothing is measured across a gap.
    """
    z = np.array(grid.z_mm)
    k = int(np.argmin(np.abs(z - z_mm)))
    reach_mm = float(np.diff(z)[max(0, k - 1) : k + 1].min()) / 2 if len(z) > 1 else 1.0
    if not abs(z[k] - z_mm) <= reach_mm + 1e-3:
        raise refusal("level-no-slice", where, f"no slice at z {z_mm:g} mm", mend=f"the slices lie at {z[0]:g} to "
                      f"{z[-1]:g} mm")
    return k


def check_same_grid(image: Grid, masks: Grid, where: object) -> None:
    """Refuse masks that do not lie on the image's grid.

    Raises: InputDataError naming the first difference.
    """
    shapes = [(len(grid.z_mm), grid.height, grid.width) for grid in (image, masks)]
    if shapes[0] != shapes[1]:
        raise refusal("mask-shape", where, f"mask of {_by(shapes[1])} on an image of {_by(shapes[0])} voxels")
    row_mm, column_mm = image.spacing_mm
    slice_mm = float(np.diff(image.z_mm).min()) if len(image.z_mm) > 1 else 1.0
    for code, ours, theirs, unit_mm in (
        ("mask-spacing", image.spacing_mm, masks.spacing_mm, row_mm / max(image.height, image.width)),
        ("mask-position", image.corner_mm, masks.corner_mm, min(row_mm, column_mm)),
        ("mask-slices", image.z_mm, masks.z_mm, slice_mm),
    ):
        off_mm = float(np.abs(np.subtract(ours, theirs)).max())
        if not off_mm <= TOLERANCE_PX * unit_mm:
            raise refusal(code, where, fact=f"{off_mm:.3g} mm, at most {TOLERANCE_PX * unit_mm:.2g}")
    if image.corners_mm is not None and masks.corners_mm is not None:
        _check_same_edges(image.corners_mm, masks.corners_mm, min(row_mm, column_mm), slice_mm, where)


def _check_same_edges(
    ours: Float64[np.ndarray, "4 3"], theirs: Float64[np.ndarray, "4 3"],
    pixel_mm: float, slice_mm: float, where: object,
) -> None:
    """Raise InputDataError for a mask that is turned, or leans otherwise, about the corner that both share."""
    off_mm = np.abs((ours[1:] - ours[0]) - (theirs[1:] - theirs[0]))
    in_plane = TOLERANCE_PX * np.array([pixel_mm, pixel_mm, max(pixel_mm, slice_mm)])
    most = np.array([in_plane, in_plane, [STACK_TOLERANCE_PX * pixel_mm] * 2 + [in_plane[2] + slice_mm]])
    if (off_mm > most).any():
        edge, axis = np.unravel_index(np.argmax(off_mm / most), most.shape)
        fact = f"an edge of the volume ends {off_mm[edge, axis]:.3g} mm apart, at most {most[edge, axis]:.2g}"
        raise refusal("mask-orientation", where, fact=fact)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
