"""Mask bias (row D2, appendix 1.1): the fat mask, coded +-0.5, added to feature maps."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from bonemet_jax.config import MaskBiasConfig


class MaskBias(nn.Module):
    """The resized mask, added to every channel of feature maps; nothing to learn."""

    config: MaskBiasConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], mask: Float[Array, "batch in_height in_width"]
    ) -> Float[Array, "batch height width chan"]:
        """`x` plus the mask (coded +-0.5) at the feature maps' size."""
        with jax.named_scope("mask_bias"):
            resized = resize_mask(mask, x.shape[1], x.shape[2], self.config.resize)
            return x + resized[..., None].astype(x.dtype)


def resize_mask(
    mask: Float[Array, "batch height width"], height: int, width: int, method: Literal["area", "nearest"]
) -> Float[Array, "batch new_height new_width"]:
    """The mask at the feature map's size, in pixels.

    area: each value is the mean of the mask over its cell, fractional borders weighted, so the share of fat is kept;
    nearest: the mask's value at the cell's centre.
    """
    if method == "nearest":
        rows = _cell_centres(mask.shape[1], height)
        columns = _cell_centres(mask.shape[2], width)
        return mask[:, rows][:, :, columns]
    return _average_cells(_average_cells(mask, 1, height), 2, width)


def _average_cells(mask: Array, axis: int, n_out: int) -> Array:
    """Means over the cells of one axis. No matrix product: XLA finds no tiles for its shape on an H100."""
    n_in = mask.shape[axis]
    cell = n_in / n_out
    low = np.arange(n_out) * cell
    first = np.floor(low).astype(int)
    total = jnp.zeros((), mask.dtype)
    for i in range(math.ceil(cell) + 1):
        pixel = np.minimum(first + i, n_in - 1)
        share = np.clip(np.minimum(low + cell, first + i + 1) - np.maximum(low, first + i), 0, None) / cell
        share = share.reshape([-1 if a == axis else 1 for a in range(mask.ndim)])
        total = total + jnp.take(mask, pixel, axis) * jnp.asarray(share, mask.dtype)
    return total


def _cell_centres(n_in: int, n_out: int) -> Float[Array, " n_out"]:
    return jnp.floor((jnp.arange(n_out) + 0.5) * (n_in / n_out)).astype(jnp.int32)
