"""Histograms of oriented gradients in JAX (row C1), equal to scikit-image's: cell histograms, features, picture."""

import math
import operator
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial, reduce
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, Num

from bonemet_jax.channels.arguments import check_images, check_whole
from bonemet_jax.channels.hog_picture import Cell, render_hog

Mode = Literal["exact", "fast"]
BlockNorm = Literal["L1", "L1-sqrt", "L2", "L2-Hys"]

Image = Num[Array | np.ndarray, "*batch height width"]
Field = Float[Array, "*batch rows columns"]
Histograms = Float[Array, "*batch cells_r cells_c orientation"]
Blocks = Float[Array, "*batch blocks_r blocks_c in_block_r in_block_c orientation"]

_EPSILON = 1e-5  # of scikit-image's block norms
_HYS_LIMIT = 0.2


def hog(
    image: Image,
    orientations: int = 9,
    pixels_per_cell: tuple[int, int] = (8, 8),
    cells_per_block: tuple[int, int] = (3, 3),
    block_norm: BlockNorm = "L2-Hys",
    visualize: bool = False,
    transform_sqrt: bool = False,
    feature_vector: bool = True,
    *,
    mode: Mode = "exact",
) -> Any:
    """Histogram of oriented gradients [1]_ of grey images, as scikit-image computes it [2]_.

    Pure: works under jit, vmap, grad and with any sharding of the batch axes; all but the image is static.

    Args:
        image: Grey levels, any bool, integer or float type, any leading axes (scikit-image takes one image); lists are
            converted by numpy. There is no axis of colours and no `channel_axis`: with three or more axes, a last one
            of 1 to 4 is refused; use jax.vmap for a batch of pictures so narrow. A batch of no images gives no
            features. Under a caller's jit, JAX cuts 64-bit types to 32 bits unless the process computes in 64.
        orientations: Number of bins over 0 to 180 degrees; a gradient falls into one bin as a whole. This and the
            sizes below are whole numbers from 1, also as floats (8.0).
        pixels_per_cell: Size (rows, columns) of a cell; pixels beyond the last whole cell are left out.
        cells_per_block: Size (rows, columns) of a block, whose cells are normalised together.
        block_norm: With eps 1e-5:

            ``L1``
                Divided by the sum.
            ``L1-sqrt``
                The square root of that.
            ``L2``
                Divided by the root of the sum of squares.
            ``L2-Hys``
                L2, limited to 0.2, then L2 again.
        visualize: Return the picture of the cell histograms, before any normalisation, too.
        transform_sqrt: Take the square root of the image first; it must not be negative.
        feature_vector: Features of an image as one axis.
        mode:
            ``exact``
                Computed in float64, whatever the process's own precision, and rounded at the end.
            ``fast``
                Computed in float32; whole numbers up to 2**12.

            In both, features and picture of 8-bit images differ from scikit-image by less than 1e-6 of their
            maximum. Where the image is no integer, a gradient on the edge of a bin may fall on its other side.

    Returns: Features (batch..., feature), or (batch..., blocks_r, blocks_c, rows and columns in the block,
        orientation); with `visualize` the pair of them and the picture (batch..., height, width). float32; float64
        where the process computes in 64 bits and the mode is exact.

    Raises:
        ValueError: An argument outside what is listed above: an image of colours, smaller than a block, masked, or
            complex, as in scikit-image, which raises other errors for sizes of 0 and accepts blocks of 0.
        TypeError: orientations is no real number.

    References:
        .. [1] N. Dalal, B. Triggs, "Histograms of oriented gradients for human detection", CVPR (2005).
        .. [2] `skimage.feature.hog`, scikit-image 0.26.
    """
    image, orientations = check_images(image), check_whole(orientations, "orientations")
    cell, block = _pair(pixels_per_cell, "pixels_per_cell"), _pair(cells_per_block, "cells_per_block")
    _check_arguments(image, orientations, cell, mode)
    _check_block(image.shape[-2:], cell, block, block_norm)
    with jax.enable_x64(True) if mode == "exact" else nullcontext():
        blocks, picture = _compute_hog(image, orientations, cell, block, block_norm, visualize, transform_sqrt, mode)
    blocks = blocks.astype(_out_type(mode))
    features = blocks.reshape(*blocks.shape[:-5], math.prod(blocks.shape[-5:])) if feature_vector else blocks
    return features if picture is None else (features, picture.astype(_out_type(mode)))


def compute_cell_histograms(
    image: Image, orientations: int = 9, pixels_per_cell: tuple[int, int] = (8, 8), *, mode: Mode = "exact"
) -> Histograms:
    """Cell histograms behind `hog`, before any normalisation: mean magnitude of a cell's gradients in each bin.

    The sums are taken in an order that the shape of a cell decides alone, so an image's histograms do not depend on
    what else is in its batch.

    Args: as `hog`.

    Returns: Grey levels; float32, float64 where the process computes in 64 bits and the mode is exact.

    Raises: ValueError as `hog`.
    """
    image, orientations = check_images(image), check_whole(orientations, "orientations")
    cell = _pair(pixels_per_cell, "pixels_per_cell")
    _check_arguments(image, orientations, cell, mode)
    with jax.enable_x64(True) if mode == "exact" else nullcontext():
        histograms = _compute_histograms(image, orientations, cell, mode)
    return histograms.astype(_out_type(mode))


def _real(mode: Mode) -> Any:
    return jnp.float64 if mode == "exact" else jnp.float32


def _out_type(mode: Mode) -> Any:
    """Type of results, asked outside the 64-bit scope: what the caller's own process computes in."""
    return jnp.result_type(float) if mode == "exact" else jnp.float32


# --- Arguments ------------------------------------------------------------------------------------


def _pair(value: tuple[int, int], name: str) -> tuple[int, int]:
    try:
        pair = tuple(check_whole(n, name) for n in value)
    except (TypeError, ValueError):
        pair = ()
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} is {value}, wanted two whole numbers, both at least 1")
    return pair[0], pair[1]


def _check_arguments(image: Image, orientations: int, cell: tuple[int, int], mode: str) -> None:
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {mode!r}, wanted one of {', '.join(get_args(Mode))}")
    if orientations < 1:
        raise ValueError(f"orientations is {orientations}, wanted at least 1")
    shape = np.shape(image)
    if any(n < size for n, size in zip(shape[-2:], cell, strict=True)):
        raise ValueError(f"image has shape {shape}, wanted (..., height, width), at least one cell of {cell}")


def _check_block(shape: tuple[int, ...], cell: tuple[int, int], block: tuple[int, int], norm: str) -> None:
    if norm not in get_args(BlockNorm):
        raise ValueError(f"block_norm is {norm!r}, wanted one of {', '.join(get_args(BlockNorm))}")
    wanted = tuple(c * b for c, b in zip(cell, block, strict=True))
    if any(n < size for n, size in zip(shape, wanted, strict=True)):
        raise ValueError(f"image has {shape[0]} x {shape[1]} pixels, a block of cells needs {wanted[0]} x {wanted[1]}")


@partial(jax.jit, static_argnums=(1, 2, 3, 4, 5, 6, 7))
def _compute_hog(
    image: Image, orientations: int, cell: Cell, block: Cell, norm: BlockNorm, draws: bool, takes_root: bool, mode: Mode
) -> tuple[Blocks, Field | None]:
    height, width = image.shape[-2:]
    grey = _root(jnp.asarray(image).astype(_real(mode))) if takes_root else image
    histograms = _compute_histograms(grey, orientations, cell, mode)
    picture = render_hog(histograms, height, width, cell) if draws else None
    return _NORMS[norm](_take_blocks(histograms, block)), picture


def _root(values: Array) -> Array:
    """Square root whose slope at 0, infinite in truth, counts as 0: black pixels leave a gradient finite."""
    return jnp.where(values == 0, 0, jnp.sqrt(jnp.where(values == 0, 1, values)))


# --- Cell histograms ------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("orientations", "cell", "mode"))
def _compute_histograms(image: Image, orientations: int, cell: Cell, mode: Mode) -> Histograms:
    cells = tuple(n // size for n, size in zip(image.shape[-2:], cell, strict=True))
    rows, columns = _compute_gradients(image, (cells[0] * cell[0], cells[1] * cell[1]), _real(mode))
    by_cell = (*image.shape[:-2], cells[0], cell[0], cells[1] * cell[1])
    magnitude = _compute_magnitude(rows, columns).reshape(by_cell)
    bin_ = _find_bin(rows, columns, orientations).reshape(by_cell)
    # Row by row and written out: one loop along the columns, which vectorises; a reduction would not.
    magnitudes, bins = ([x[..., row, :] for row in range(cell[0])] for x in (magnitude, bin_))
    by_column = jnp.stack([_add_bin(magnitudes, bins, index) for index in range(orientations)], axis=-2)
    sums = _sum_last(by_column.reshape(*by_column.shape[:-1], cells[1], cell[1]))
    return jnp.moveaxis(sums, -2, -1) / (cell[0] * cell[1])


def _compute_gradients(image: Image, size: tuple[int, int], real: Any) -> tuple[Field, Field]:
    """Centred differences along rows and columns for the first `size` pixels, not halved; 0 at the image's border."""
    # A mirrored neighbour makes a border's difference 0. Padded as stored: a quarter of the bytes.
    grey = _mirror(_mirror(jnp.asarray(image), -2), -1).astype(real)
    height, width = size
    rows = grey[..., 2 : height + 2, 1 : width + 1] - grey[..., :height, 1 : width + 1]
    columns = grey[..., 1 : height + 1, 2 : width + 2] - grey[..., 1 : height + 1, :width]
    return rows, columns


def _mirror(image: Num[Array, "..."], axis: int) -> Num[Array, "..."]:
    pad = [(0, 0)] * image.ndim
    pad[axis] = (1, 1)
    return jnp.pad(image, pad, mode="reflect" if image.shape[axis] > 1 else "edge")


@jax.custom_jvp
def _compute_magnitude(rows: Field, columns: Field) -> Field:
    return jnp.sqrt(rows * rows + columns * columns)


@_compute_magnitude.defjvp
def _magnitude_jvp(primals: tuple[Field, Field], tangents: tuple[Field, Field]) -> tuple[Field, Field]:
    """Direction of the gradient times its change; 0 on flat ground, where the root's own slope is infinite."""
    magnitude = _compute_magnitude(*primals)
    steepest = jnp.where(magnitude > 0, magnitude, 1)
    (rows, columns), (rows_change, columns_change) = primals, tangents
    return magnitude, rows / steepest * rows_change + columns / steepest * columns_change


def _find_bin(rows: Field, columns: Field, orientations: int) -> Int8[Array, "*batch rows columns"]:
    """Bin of each gradient's direction, 0 to 180 degrees: how many of the bins' edges it has reached.

    The direction (columns, rows) is turned into the upper half plane, where it has reached the edge at an angle t as
    soon as rows * cot(t) >= columns: no arc tangent, and whole numbers on an edge are told exactly.
    """
    up = jnp.abs(rows)
    right = jnp.where(rows < 0, -columns, jnp.where(rows == 0, jnp.abs(columns), columns))
    edges = (_cotangent(k, orientations) for k in range(1, orientations))
    reached = ((up * edge >= right).astype(jnp.int8 if orientations <= 127 else jnp.int32) for edge in edges)
    return reduce(operator.add, reached, jnp.zeros(rows.shape, jnp.int8))


def _cotangent(k: int, orientations: int) -> float:
    """Cotangent of the edge at k * 180 / orientations degrees; exact at 45, 90 and 135."""
    exact = {1: 1.0, 2: 0.0, 3: -1.0}
    quarters, remainder = divmod(4 * k, orientations)
    return exact[quarters] if not remainder else float(1 / np.tan(np.pi * k / orientations))


def _add_bin(magnitudes: list[Array], bins: list[Array], index: int) -> Array:
    return _sum_pairs([jnp.where(b == index, m, 0) for m, b in zip(magnitudes, bins, strict=True)])


def _sum_pairs(terms: list[Array]) -> Array:
    """Sum by neighbouring pairs, then pairs of these: a fixed order, whose rounding grows with the logarithm only."""
    while len(terms) > 1:
        terms = [reduce(operator.add, terms[i : i + 2]) for i in range(0, len(terms), 2)]
    return terms[0]


def _sum_last(values: Array) -> Array:
    """Sum over the last axis in a fixed order: halves are added while there are two equal ones."""
    while values.shape[-1] % 2 == 0:
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return _sum_pairs([values[..., i] for i in range(values.shape[-1])])


# --- Features -------------------------------------------------------------------------------------


def _take_blocks(histograms: Histograms, block: tuple[int, int]) -> Blocks:
    """Every block of neighbouring cells, overlapping."""
    n = [cells - size + 1 for cells, size in zip(histograms.shape[-3:-1], block, strict=True)]
    rows = [
        jnp.stack([histograms[..., i : i + n[0], j : j + n[1], :] for j in range(block[1])], axis=-2)
        for i in range(block[0])
    ]
    return jnp.stack(rows, axis=-3)


def _sum_block(values: Blocks) -> Blocks:
    flat = values.reshape(*values.shape[:-3], math.prod(values.shape[-3:]))
    return _sum_last(flat)[..., None, None, None]


def _l1(blocks: Blocks) -> Blocks:
    return blocks / (_sum_block(blocks) + _EPSILON)


def _l1_sqrt(blocks: Blocks) -> Blocks:
    return _root(_l1(blocks))


def _l2(blocks: Blocks) -> Blocks:
    return blocks / jnp.sqrt(_sum_block(blocks**2) + _EPSILON**2)


def _l2_hys(blocks: Blocks) -> Blocks:
    return _l2(jnp.minimum(_l2(blocks), _HYS_LIMIT))


_NORMS: dict[str, Callable[[Blocks], Blocks]] = {"L1": _l1, "L1-sqrt": _l1_sqrt, "L2": _l2, "L2-Hys": _l2_hys}
