"""Histograms of oriented gradients in JAX, equal to scikit-image's."""

from typing import Any, Literal

from jaxtyping import Array, Float, Num

Mode = Literal["exact", "fast"]
BlockNorm = Literal["L1", "L1-sqrt", "L2", "L2-Hys"]


def hog(
    image: Num[Array, "*batch height width"],
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
    """HOG features, and the picture where `visualize`; skeleton."""
    raise NotImplementedError


def compute_cell_histograms(
    image: Num[Array, "*batch height width"],
    orientations: int = 9,
    pixels_per_cell: tuple[int, int] = (8, 8),
    *,
    mode: Mode = "exact",
) -> Float[Array, "*batch cells_r cells_c orientation"]:
    """Cell histograms before any normalisation, grey levels; skeleton."""
    raise NotImplementedError
