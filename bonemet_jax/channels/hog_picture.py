"""The HOG picture (row C1), drawn on the device from stored cell histograms.

.. [1] N. Dalal, B. Triggs, "Histograms of oriented gradients for human detection", CVPR (2005); the lines are drawn
       as by `skimage.feature.hog(visualize=True)`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from bonemet_jax import schema


@functools.cache
def line_stencil(
    pixels_per_cell: tuple[int, int] = (schema.HOG_CELL, schema.HOG_CELL), orientations: int = schema.HOG_ORIENTATIONS
) -> Float32[np.ndarray, "orientation cell_height cell_width"]:
    """Lines that the picture draws in a cell: 1 where the line of that orientation runs, 0 elsewhere.

    Lines are half the cell's shorter side less 1 long to each side of the centre, along the gradient-free direction of
    the bin's midpoint.

    Raises: ValueError for a cell too small to hold a line.
    """
    from skimage.draw import line  # here: only a process that draws pays for the import

    if min(pixels_per_cell) < 2:
        raise ValueError(f"pixels_per_cell is {pixels_per_cell}: a picture needs cells of at least 2 x 2 pixels")
    radius = min(pixels_per_cell) // 2 - 1
    row, column = (size // 2 for size in pixels_per_cell)
    stencil = np.zeros((orientations, *pixels_per_cell), np.float32)
    for index in range(orientations):
        angle = np.pi * (index + 0.5) / orientations
        rows, columns = radius * np.cos(angle), radius * np.sin(angle)
        ends = int(row - rows), int(column + columns), int(row + rows), int(column - columns)
        stencil[index][line(*ends)] = 1
    return stencil


def render_hog(
    histogram: Float[Array, "*batch cells_r cells_c orientation"],
    height: int,
    width: int,
    pixels_per_cell: tuple[int, int] = (schema.HOG_CELL, schema.HOG_CELL),
) -> Float[Array, "*batch height width"]:
    """Picture of HOG cell histograms, in the histograms' unit (grey levels).

    A cell's lines stay inside the cell, so the picture is one product with `line_stencil`; rows and columns beyond the
    last whole cell are 0, as in scikit-image. Equal to its picture within 1e-6 of the maximum [1]_.

    Raises: ValueError for cells too small to hold a line.
    """
    *batch, cells_r, cells_c, orientations = histogram.shape
    cell_height, cell_width = pixels_per_cell
    stencil = line_stencil((cell_height, cell_width), orientations).reshape(orientations, -1).astype(histogram.dtype)
    # One matrix product, which no compiler merges with what comes before or after. HIGHEST: accelerators would
    # otherwise round the histogram to bf16 or tf32.
    drawn = jnp.dot(histogram.reshape(-1, orientations), stencil, precision=jax.lax.Precision.HIGHEST)
    tiles = drawn.reshape(*batch, cells_r, cells_c, cell_height, cell_width)
    picture = jnp.swapaxes(tiles, -3, -2).reshape(*batch, cells_r * cell_height, cells_c * cell_width)
    beyond = [(0, height - picture.shape[-2]), (0, width - picture.shape[-1])]
    return jnp.pad(picture, [(0, 0)] * len(batch) + beyond)
