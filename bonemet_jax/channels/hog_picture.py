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
    cell: int = schema.HOG_CELL, orientations: int = schema.HOG_ORIENTATIONS
) -> Float32[np.ndarray, "orientation cell cell"]:
    """Lines that the picture draws in a cell: 1 where the line of that orientation runs, 0 elsewhere.

    Lines are cell / 2 - 1 long to each side of the centre, along the gradient-free direction of the bin's midpoint.
    """
    from skimage.draw import line  # here: only a process that draws pays for the import

    radius, centre = cell // 2 - 1, cell // 2
    stencil = np.zeros((orientations, cell, cell), np.float32)
    for index in range(orientations):
        angle = np.pi * (index + 0.5) / orientations
        rows, columns = radius * np.cos(angle), radius * np.sin(angle)
        stencil[index][line(int(centre - rows), int(centre + columns), int(centre + rows), int(centre - columns))] = 1
    return stencil


def render_hog(
    histogram: Float[Array, "batch cells_r cells_c orientation"], height: int, width: int
) -> Float[Array, "batch height width"]:
    """Picture of HOG cell histograms, in the histograms' unit (grey levels).

    A cell's lines stay inside the cell, so the picture is one contraction with `line_stencil`; rows and columns beyond
    the last whole cell are 0, as in scikit-image. Equal to its picture within 1e-6 of the maximum [1]_.
    """
    batch, cells_r, cells_c, orientations = histogram.shape
    stencil = jnp.asarray(line_stencil(schema.HOG_CELL, orientations), histogram.dtype)
    # HIGHEST: accelerators would otherwise round the histogram to bf16 or tf32.
    tiles = jnp.einsum("brco,oij->bricj", histogram, stencil, precision=jax.lax.Precision.HIGHEST)
    rows, columns = cells_r * schema.HOG_CELL, cells_c * schema.HOG_CELL
    picture = tiles.reshape(batch, rows, columns)
    return jnp.pad(picture, ((0, 0), (0, height - rows), (0, width - columns)))
