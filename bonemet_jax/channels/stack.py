"""Stored arrays of a batch to the network's input channels; runs inside the compiled step."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, UInt8

from bonemet_jax import schema
from bonemet_jax.channels.hog_picture import render_hog
from bonemet_jax.channels.lbp_code import flip_lbp, flip_pixels, unpack_lbp

Flips = Literal["exact", "naive", "none"]
_LBP_MAX = 2**schema.LBP_POINTS - 1


def _pick_histogram(
    hog: Float32[Array, "batch 4 cells_r cells_c orientation"], flip: Bool[Array, "batch 2"]
) -> Float32[Array, "batch cells_r cells_c orientation"]:
    """Histogram of each example's flip; schema.HOG_FLIPS counts in binary, (vertical, horizontal)."""
    index = 2 * flip[:, 0].astype(jnp.int32) + flip[:, 1].astype(jnp.int32)
    return jnp.take_along_axis(hog, index[:, None, None, None, None], axis=1)[:, 0]


def make_channels(
    ct: UInt8[Array, "batch height width"],
    lbp: UInt8[Array, "batch height width 3"],
    hog: Float32[Array, "batch 4 cells_r cells_c orientation"],
    mask: UInt8[Array, "batch height width"],
    flip: Bool[Array, "batch 2"],
    channels: tuple[str, ...] = schema.CHANNELS,
    flips: Flips = "exact",
) -> Float32[Array, "batch height width chan"]:
    """Input channels in float32, about -1..1: (x - 0.5) / 0.5 of ct / 255, lbp / (2^24 - 1), hog / HOG_FULL_SCALE
    clipped to 0..1; mask - 0.5 (row D2). All constants, so nothing is fitted.

    Args:
        ct: Windowed CT.
        lbp: LBP code as three planes, most significant first.
        hog: Cell histograms of the four flips, schema.HOG_FLIPS order, grey levels.
        mask: Fat mask, 0 or 1.
        flip: (vertical, horizontal) of each example.
        channels: Which channels, in this order; static. Others cost nothing.
        flips: Static. exact: LBP and HOG of the flipped image. naive: LBP and HOG pictures of the image, then flipped
            (released code). none: `flip` is not read.

    Returns: one array, channels last.
    """
    height, width = ct.shape[1:]
    vertical, horizontal = flip[:, 0], flip[:, 1]

    def flipped(image: Array) -> Array:
        return image if flips == "none" else flip_pixels(image, vertical, horizontal)

    def ct_channel() -> Array:
        return flipped(ct).astype(jnp.float32) / 127.5 - 1.0

    def lbp_channel() -> Array:
        code = unpack_lbp(lbp)
        code = flip_lbp(code, vertical, horizontal) if flips == "exact" else flipped(code)
        return code.astype(jnp.float32) / (_LBP_MAX / 2) - 1.0

    def hog_channel() -> Array:
        # PAPER: the picture is "divided by 255" (C1); a constant nearer its real maximum uses the range.
        if flips == "exact":
            picture = render_hog(_pick_histogram(hog, flip), height, width)
        else:
            picture = flipped(render_hog(hog[:, 0], height, width))
        return jnp.clip(picture / schema.HOG_FULL_SCALE, 0.0, 1.0) * 2.0 - 1.0

    def mask_channel() -> Array:
        return flipped(mask).astype(jnp.float32) - 0.5

    makers = {"ct": ct_channel, "lbp": lbp_channel, "hog": hog_channel, "mask": mask_channel}
    return jnp.stack([makers[name]() for name in channels], axis=-1)
