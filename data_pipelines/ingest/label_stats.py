"""Where every label of a map is: pixels per slice, centre and spread, in one pass over the map."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int, Shaped

from data_pipelines.findings import refusal
from data_pipelines.ingest.grid import Grid

#: Largest label, and labels of one map: more are measurements, not labels.
MAX_LABEL, MAX_LABELS = 65535, 1000
#: Smaller ones are specks of a network: they are no evidence, cm3.
MIN_CM3 = 0.2
#: Centres need no more columns or rows than this.
_LOOKED_AT = 128


@dataclass(frozen=True)
class LabelStats:
    """Labels of a map in patient coordinates."""

    z_mm: tuple[float, ...]
    """Position of every slice, mm towards the head."""
    px: dict[int, Int[np.ndarray, " slice"]]
    """Label -> pixels on every slice."""
    centre_mm: dict[int, Float64[np.ndarray, "3"]]
    """Label -> mean position: left, back, head; mm."""
    spread_mm: dict[int, Float64[np.ndarray, "3"]]
    """Label -> standard deviation along the same axes, mm."""
    slant: dict[int, float]
    """Label -> correlation of the positions towards the back and towards the head; below 0 for a vertebra, whose
    spinous process points down."""
    pixel_mm2: float
    middle_mm: float
    """Middle of the picture, mm to the left."""

    @cached_property
    def solid(self) -> tuple[int, ...]:
        """Labels large enough to be evidence, ascending."""
        slice_mm = float(np.median(np.diff(self.z_mm))) if len(self.z_mm) > 1 else 1.0
        return tuple(label for label in sorted(self.centre_mm)
                     if self.px[label].sum() * self.pixel_mm2 * slice_mm / 1000 >= MIN_CM3)  # fmt: skip

    @property
    def height_mm(self) -> float:
        """Distance between the lowest and the highest slice."""
        return self.z_mm[-1] - self.z_mm[0]

    def is_at_end(self, label: int) -> bool:
        """True where the label touches the lowest or highest slice: a part of the structure may be out of view."""
        return bool(self.px[label][0] or self.px[label][-1])


def count_labels(
    slices: Iterable[tuple[int, Shaped[np.ndarray, "height width"]]], grid: Grid, where: object
) -> LabelStats:
    """Statistics of a label map.

    Args:
        slices: number and whole-number labels of every slice, in any order.
        grid: the map's.
        where: named in errors.

    Raises: InputDataError for labels beyond MAX_LABEL, or more than MAX_LABELS of them.
    """
    n, step = len(grid.z_mm), max(1, min(grid.height, grid.width) // _LOOKED_AT)
    row_mm, column_mm = grid.spacing_mm
    # Coordinates from the picture's middle: squares stay small.
    shape = (len(range(0, grid.height, step)), len(range(0, grid.width, step)))
    y, x = np.indices(shape).reshape(2, -1).astype(np.float64) * step
    x_mm, y_mm = (x - (grid.width - 1) / 2) * column_mm, (y - (grid.height - 1) / 2) * row_mm
    px: dict[int, Int[np.ndarray, " slice"]] = {}
    sums: dict[int, np.ndarray] = {}
    for k, values in slices:
        if values.size and int(values.max()) > MAX_LABEL:
            raise refusal("mask-values", where, fact=f"a value above {MAX_LABEL}")
        labels = np.ascontiguousarray(values).astype(np.int64)
        counts = np.bincount(labels.ravel())
        for label in np.flatnonzero(counts).tolist():
            if label:
                px.setdefault(label, np.zeros(n, np.int64))[k] = counts[label]
        if len(px) > MAX_LABELS:
            raise refusal("mask-values", where, fact=f"more than {MAX_LABELS} different labels")
        few = labels[::step, ::step].ravel()
        moments = [np.bincount(few, weights) for weights in (np.ones_like(x_mm), x_mm, y_mm, x_mm**2, y_mm**2)]
        z = grid.z_mm[k] - grid.z_mm[0]
        for label in np.flatnonzero(moments[0]).tolist():
            if label:
                m, _, y_sum, *_ = own = [float(moment[label]) for moment in moments]
                sums[label] = np.add(sums.get(label, np.zeros(8)), (*own, m * z, m * z * z, y_sum * z))
    return _summarise(px, sums, grid)


def _summarise(px: dict[int, np.ndarray], sums: dict[int, np.ndarray], grid: Grid) -> LabelStats:
    row_mm, column_mm = grid.spacing_mm
    z_mm = np.array(grid.z_mm)
    middle = np.array([grid.corner_mm[0] + column_mm * (grid.width - 1) / 2,
                       grid.corner_mm[1] + row_mm * (grid.height - 1) / 2])  # fmt: skip
    centre, spread, slant = {}, {}, {}
    for label, (n, *moments) in sums.items():
        mean, square = np.array(moments[:2]) / n, np.array(moments[2:4]) / n
        z = float((px[label] * z_mm).sum() / px[label].sum())
        z_spread = float((px[label] * (z_mm - z) ** 2).sum() / px[label].sum())
        centre[label] = np.array([*(middle + mean), z])
        spread[label] = np.sqrt(np.maximum([*(square - mean**2), z_spread], 0.0))
        height, height_square, back_height = np.array(moments[4:]) / n
        scale = np.sqrt(max(square[1] - mean[1] ** 2, 0.0) * max(height_square - height**2, 0.0))
        slant[label] = float((back_height - mean[1] * height) / scale) if scale > 0 else 0.0
    return LabelStats(grid.z_mm, px, centre, spread, slant, row_mm * column_mm, float(middle[0]))
