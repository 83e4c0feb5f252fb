"""A canonical slice on the grid that all records share: one spacing, the trunk in the middle. Pure."""

import numpy as np
from jaxtyping import UInt8
from scipy.sparse import csr_array

from bonemet_jax import schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import InputDataError
from data_pipelines.canonical import CanonicalSlice


def to_grid(image: CanonicalSlice, config: RecordsConfig) -> CanonicalSlice:
    """Bring a slice to config.height x config.width pixels of config.spacing_mm, the trunk in the middle (row B3).

    The scale is the same on both axes, so the aspect is kept; what lies outside the slice is schema.HU_PADDING. HU are
    interpolated linearly, with the kernel widened for down-sampling. Labels keep their areas: a tissue gets as many
    pixels as its area holds, those it covers most (`_resample_labels`). A slice already at that spacing is only moved
    by whole pixels.

    Raises: InputDataError when the trunk does not fit the grid.
    """
    # PAPER: "500*400 pixels at uniform scale" (B3) names no spacing: one for all patients, the rest padded.
    check_fits(image.body, image.spacing_mm, config)
    shape = (config.height, config.width)
    spacing_mm = (config.spacing_mm, config.spacing_mm)
    axes = [_Axis.centred(image, axis, shape[axis], config.spacing_mm) for axis in (0, 1)]
    if all(axis.factor == 1 for axis in axes):  # what follows would give the same, ten times slower
        hu, tissue, body = (
            _move(array, axes, fill)
            for array, fill in ((image.hu, schema.HU_PADDING), (image.tissue, schema.TISSUE_NONE), (image.body, 0))
        )
        return CanonicalSlice(hu, spacing_mm, tissue, body)
    rows, columns = (axis.linear_weights() for axis in axes)
    hu = rows @ (image.hu.astype(np.float64) - schema.HU_PADDING) @ columns.T + schema.HU_PADDING
    overlap = tuple(axis.overlap_weights() for axis in axes)
    return CanonicalSlice(
        hu=np.rint(hu).astype(np.int16),
        spacing_mm=spacing_mm,
        tissue=_resample_labels(image.tissue, shape, *overlap),
        body=_resample_labels(image.body, shape, *overlap),
    )


def check_fits(
    body: UInt8[np.ndarray, "height width"], spacing_mm: tuple[float, float], config: RecordsConfig
) -> None:
    """Refuse a trunk larger than the grid: cut fat would be measured as less fat.

    Raises: InputDataError naming both sizes, or when the slice has no trunk.
    """
    if not body.any():
        raise InputDataError("the slice has no trunk (body is empty)", "", "mend its mask or leave the patient out")
    extents_mm = [_extent(body, axis)[1] * spacing_mm[axis] for axis in (0, 1)]
    sizes = (config.height, config.width)
    needed_mm = max(extent / size for extent, size in zip(extents_mm, sizes, strict=True))
    if needed_mm > config.spacing_mm * (1 + 1e-9):
        raise InputDataError(
            f"the trunk is {extents_mm[0]:.0f} x {extents_mm[1]:.0f} mm, the grid "
            f"{sizes[0] * config.spacing_mm:.0f} x {sizes[1] * config.spacing_mm:.0f} mm",
            "", f"set records.spacing_mm to {np.ceil(needed_mm * 100) / 100:g} or more",
        )


def _extent(body: np.ndarray, axis: int) -> tuple[float, int]:
    """Middle (pixel index) and length (pixels) of the trunk's bounding box along one axis."""
    inside = np.flatnonzero(body.any(axis=1 - axis))
    return (inside[0] + inside[-1]) / 2, int(inside[-1] - inside[0] + 1)


class _Axis:
    """One axis of the resampling: output pixel i is centred on input pixel `first + i * factor`.

    Weights are banded, hence sparse: dense products went through threaded BLAS and took 30 times the CPU time.
    """

    def __init__(self, first: int, factor: float, n_in: int, n_out: int) -> None:
        self.first, self.factor, self.n_in, self.n_out = first, factor, n_in, n_out
        self.centre = first + np.arange(n_out)[:, None] * factor

    @classmethod
    def centred(cls, image: CanonicalSlice, axis: int, n_out: int, spacing_mm: float) -> "_Axis":
        """Axis with the trunk's middle in the middle; whole-pixel shift, so equal spacing never blurs."""
        factor = spacing_mm / image.spacing_mm[axis]
        if abs(factor - 1) < 1e-6:  # headers round spacings: 0.7998 stays a scale, 0.8000001 is 0.8
            factor = 1.0
        first = np.rint(_extent(image.body, axis)[0] - factor * (n_out - 1) / 2)
        return cls(int(first), factor, image.hu.shape[axis], n_out)

    def linear_weights(self) -> csr_array:
        """(out, in) triangular kernel, as wide as the coarser of both grids; rows sum to 1 less what lies outside."""
        width = max(1.0, self.factor)
        position = self._near(width)
        weights = np.clip(1 - np.abs(position - self.centre) / width, 0, None)
        return self._band(position, weights / weights.sum(axis=1, keepdims=True))

    def overlap_weights(self) -> csr_array:
        """(out, in) share of each output pixel that each input pixel covers: column sums keep lengths, hence areas."""
        position = self._near((self.factor + 1) / 2)
        upper = np.minimum(position + 0.5, self.centre + self.factor / 2)
        lower = np.maximum(position - 0.5, self.centre - self.factor / 2)
        return self._band(position, np.clip(upper - lower, 0, None) / self.factor)

    def _near(self, reach: float) -> np.ndarray:
        """(out, k) input pixels within `reach` of each output pixel's centre, some of them outside the slice."""
        return np.floor(self.centre - reach).astype(int) + np.arange(int(np.ceil(2 * reach)) + 2)

    def _band(self, position: np.ndarray, weights: np.ndarray) -> csr_array:
        """(out, in) matrix of weights (out, k) at input pixels (out, k); what lies outside the slice is dropped."""
        kept = (weights > 0) & (position >= 0) & (position < self.n_in)
        starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        return csr_array((weights[kept], position[kept], starts), shape=(self.n_out, self.n_in))


def _move(array: np.ndarray, axes: list[_Axis], fill: int) -> np.ndarray:
    """Values of a slice whose spacing is the grid's already; `fill` where the grid reaches beyond it."""
    moved = np.full([axis.n_out for axis in axes], fill, array.dtype)
    into = tuple(slice(max(0, -a.first), max(0, min(a.n_out, a.n_in - a.first))) for a in axes)
    out_of = tuple(slice(max(0, a.first), max(0, min(a.n_in, a.n_out + a.first))) for a in axes)
    moved[into] = array[out_of]
    return moved


def _resample_labels(
    labels: UInt8[np.ndarray, "height width"],
    shape: tuple[int, int],
    rows: csr_array,
    columns: csr_array,
) -> UInt8[np.ndarray, "out_r out_c"]:
    """Labels on the new grid, each with its area kept to half an output pixel.

    A label's exact coverage of every output pixel sums to its area. It is given that many pixels, the best covered
    ones; a majority vote would thin every structure narrower than a pixel. A pixel is given once, lower codes first.
    """
    result = np.zeros(shape, np.uint8)
    for code in np.unique(labels[labels > 0]):
        coverage = rows @ (labels == code).astype(np.float64) @ columns.T
        quota = int(np.rint(coverage.sum()))
        free = np.flatnonzero((coverage > 0) & (result == 0))
        best = np.argsort(-coverage.flat[free], kind="stable")[:quota]
        result.flat[free[best]] = code
    return result


def compute_area_change(before: CanonicalSlice, after: CanonicalSlice) -> dict[int, float]:
    """Tissue code -> |area after - area before| / area before, in the slice's plane; tissues that are there."""
    pixel_mm2 = [np.prod(image.spacing_mm) for image in (before, after)]
    counts = [np.bincount(image.tissue.ravel(), minlength=len(schema.TISSUE_NAMES)) for image in (before, after)]
    was_mm2, is_mm2 = (count * pixel for count, pixel in zip(counts, pixel_mm2, strict=True))
    codes = [code for code in range(schema.TISSUE_NONE + 1, len(schema.TISSUE_NAMES)) if was_mm2[code] > 0]
    return {code: float(abs(is_mm2[code] - was_mm2[code]) / was_mm2[code]) for code in codes}
