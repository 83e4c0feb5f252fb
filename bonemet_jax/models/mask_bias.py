"""Mask bias (row D2, appendix 1.1): the fat mask, coded +-0.5, added to feature maps."""

from typing import Literal

import jax
import jax.numpy as jnp
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
    rows = _cell_overlaps(mask.shape[1], height, mask.dtype)
    columns = _cell_overlaps(mask.shape[2], width, mask.dtype)
    # HIGHEST: a coded mask must come out exact on accelerators that multiply float32 in fewer bits.
    return jnp.einsum("ph,bhw,qw->bpq", rows, mask, columns, precision=jax.lax.Precision.HIGHEST)


def _cell_centres(n_in: int, n_out: int) -> Float[Array, " n_out"]:
    return jnp.floor((jnp.arange(n_out) + 0.5) * (n_in / n_out)).astype(jnp.int32)


def _cell_overlaps(n_in: int, n_out: int, dtype: jnp.dtype) -> Float[Array, "n_out n_in"]:
    """Share of output cell i that input pixel j covers; rows sum to 1."""
    cell = n_in / n_out
    low = jnp.arange(n_out)[:, None] * cell
    pixel = jnp.arange(n_in)[None]
    overlap = jnp.minimum(low + cell, pixel + 1) - jnp.maximum(low, pixel)
    return (jnp.clip(overlap, 0) / cell).astype(dtype)
