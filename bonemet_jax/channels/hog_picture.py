"""The HOG picture (row C1), drawn on the device from stored cell histograms.

.. [1] N. Dalal, B. Triggs, "Histograms of oriented gradients for human detection", CVPR (2005); the lines are drawn
       as by `skimage.feature.hog(visualize=True)`.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from bonemet_jax import schema

Cell = tuple[int, int]
_SQUARE: Cell = (schema.HOG_CELL, schema.HOG_CELL)


@functools.cache
def line_stencil(
    pixels_per_cell: Cell = _SQUARE, orientations: int = schema.HOG_ORIENTATIONS, at: Cell = (0, 0)
) -> Float32[np.ndarray, "orientation cell_height cell_width"]:
    """Lines that the picture draws in a cell: 1 where the line of that orientation runs, 0 elsewhere.

    Lines are half the cell's shorter side less 1 long to each side of the centre, along the gradient-free direction of
    the bin's midpoint.

    Args:
        pixels_per_cell: Size (rows, columns) of a cell.
        orientations: Number of bins.
        at: The cell's place in the grid: where a line ends on the edge of a pixel, rounding depends on it.

    Raises: ValueError for a cell too small to hold a line.
    """
    if min(pixels_per_cell) < 2:
        raise ValueError(f"pixels_per_cell is {pixels_per_cell}: a picture needs cells of at least 2 x 2 pixels")
    rows, columns = (_find_ends(np.array([at[axis]]), pixels_per_cell, orientations, axis)[0] for axis in (0, 1))
    stencil = np.zeros((orientations, *pixels_per_cell), np.float32)
    for index in range(orientations):
        stencil[index][draw_line((rows[index, 0], columns[index, 1]), (rows[index, 1], columns[index, 0]))] = 1
    return stencil


def draw_line(start: Cell, end: Cell) -> tuple[Int[np.ndarray, " pixel"], Int[np.ndarray, " pixel"]]:
    """Rows and columns of the pixels on a straight line, both ends included, by Bresenham's algorithm.

    The pixels are those of `skimage.draw.line`, in the same order: one per step along the longer axis, and of two
    pixels equally near to the line the one nearer to `end`.

    Args:
        start: Row and column of the first pixel.
        end: Row and column of the last pixel.
    """
    (first_row, first_column), (last_row, last_column) = start, end
    height, width = abs(last_row - first_row), abs(last_column - first_column)
    long, short = max(height, width), min(height, width)
    along = np.arange(long + 1)
    across = (2 * along * short + long) // max(2 * long, 1)
    down, right = (along, across) if height > width else (across, along)
    return (first_row + (down if last_row > first_row else -down),
            first_column + (right if last_column > first_column else -right))


def _find_ends(
    cells: Int[np.ndarray, " cell"], pixels_per_cell: Cell, orientations: int, axis: int
) -> Int[np.ndarray, "cell orientation end"]:
    """First and last pixel of each line along one axis, counted from the cell's corner."""
    midpoint = np.pi * (np.arange(orientations) + 0.5) / orientations
    reach = (min(pixels_per_cell) // 2 - 1) * (np.cos(midpoint) if axis == 0 else np.sin(midpoint))
    corner = cells[:, None, None] * pixels_per_cell[axis]
    ends = corner + pixels_per_cell[axis] // 2 + np.stack([-reach, reach], axis=-1)
    return ends.astype(int) - corner


def render_hog(
    histogram: Float[Array, "*batch cells_r cells_c orientation"],
    height: int,
    width: int,
    pixels_per_cell: Cell = _SQUARE,
) -> Float[Array, "*batch height width"]:
    """Picture of HOG cell histograms, in the histograms' unit (grey levels).

    A cell's lines stay inside the cell, so the picture is one product with `line_stencil`; rows and columns beyond the
    last whole cell are 0, as in scikit-image. Equal to its picture within 1e-6 of the maximum [1]_.

    Raises: ValueError for cells too small to hold a line, a histogram of fewer than three axes, or a picture smaller
        than the cells.
    """
    if histogram.ndim < 3 or 0 in histogram.shape[-3:]:
        raise ValueError(f"histogram has shape {histogram.shape}, wanted (..., cells_r, cells_c, orientation)")
    drawn = tuple(n * size for n, size in zip(histogram.shape[-3:-1], pixels_per_cell, strict=True))
    if height < drawn[0] or width < drawn[1]:
        raise ValueError(f"a picture of {height} x {width} pixels is smaller than its cells, {drawn[0]} x {drawn[1]}")
    draw = functools.partial(_render_image, height=height, width=width, pixels_per_cell=pixels_per_cell)
    for _ in histogram.shape[:-3]:
        draw = jax.vmap(draw)  # so that no axis of the batch is ever reshaped, however it is sharded
    return draw(histogram)


def _render_image(
    histogram: Float[Array, "cells_r cells_c orientation"], height: int, width: int, pixels_per_cell: Cell
) -> Float[Array, "height width"]:
    cells_r, cells_c, _ = histogram.shape
    tiles = _draw_lines(histogram, pixels_per_cell).reshape(cells_r, cells_c, *pixels_per_cell)
    rows, columns = cells_r * pixels_per_cell[0], cells_c * pixels_per_cell[1]
    # One pair of axes at a time: JAX follows that through a sharded batch.
    picture = jnp.swapaxes(tiles, 1, 2).reshape(cells_r, pixels_per_cell[0], columns).reshape(rows, columns)
    # Not by pad, whose gradient takes the type of the caller's process instead of the picture's.
    for axis, beyond in ((0, (height - rows, columns)), (1, (height, width - columns))):
        if beyond[axis]:
            picture = jnp.concatenate([picture, jnp.zeros(beyond, picture.dtype)], axis)
    return picture


def _draw_lines(
    histogram: Float[Array, "cells_r cells_c orientation"], pixels_per_cell: Cell
) -> Float[Array, "cells_r cells_c pixel"]:
    """Pixels of every cell: one matrix product for each kind of cell, and nearly always there is one kind."""
    cells_r, cells_c, orientations = histogram.shape
    row_kinds, row_of = _group_cells(cells_r, pixels_per_cell, orientations, 0)
    column_kinds, column_of = _group_cells(cells_c, pixels_per_cell, orientations, 1)
    pixels = None
    for row, column in itertools.product(row_kinds, column_kinds):
        stencil = line_stencil(pixels_per_cell, orientations, (int(row), int(column))).reshape(orientations, -1)
        # HIGHEST: accelerators would otherwise round the histogram to bf16 or tf32.
        drawn = jax.lax.dot_general(
            histogram, stencil.astype(histogram.dtype), (((2,), (0,)), ((), ())), jax.lax.Precision.HIGHEST
        )
        is_kind = (row_of == row)[:, None, None] & (column_of == column)[:, None]
        pixels = drawn if pixels is None else jnp.where(is_kind, drawn, pixels)
    assert pixels is not None
    return pixels


def _group_cells(
    n_cells: int, pixels_per_cell: Cell, orientations: int, axis: int
) -> tuple[Int[np.ndarray, " kind"], Int[np.ndarray, " cell"]]:
    """Cells along one axis whose lines end on the same pixels: the first of each kind, and the first of each cell's."""
    ends = _find_ends(np.arange(n_cells), pixels_per_cell, orientations, axis).reshape(n_cells, -1)
    _, first, kind = np.unique(ends, axis=0, return_index=True, return_inverse=True)
    return first, first[kind]
