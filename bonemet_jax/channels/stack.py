"""Stored arrays of a batch to the network's input channels; runs inside the compiled step."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, UInt8

from bonemet_jax import schema
from bonemet_jax.channels.arguments import check_array
from bonemet_jax.channels.hog_picture import render_hog
from bonemet_jax.channels.lbp import local_binary_pattern
from bonemet_jax.channels.lbp_code import flip_lbp, flip_pixels, unpack_lbp
from bonemet_jax.channels.oriented_gradients import compute_cell_histograms

Flips = Literal["exact", "naive", "none"]
_LBP_MAX = 2**schema.LBP_POINTS - 1
#: Channels that follow from the CT.
_COMPUTED = ("lbp", "hog")


def find_needed(channels: tuple[str, ...], on_device: bool) -> tuple[str, ...]:
    """Stored arrays that these channels are made of; the CT always, for its size.

    Args:
        channels: The network's, in the schema's order.
        on_device: LBP and HOG are computed from the CT.
    """
    return tuple(
        name for name in schema.CHANNELS
        if name == "ct" or (name in channels and not (on_device and name in _COMPUTED))
    )


def make_channels(
    ct: UInt8[Array, "batch height width"],
    lbp: UInt8[Array, "batch height width 3"] | None,
    hog: Float32[Array, "batch 4 cells_r cells_c orientation"] | None,
    mask: UInt8[Array, "batch height width"] | None,
    flip: Bool[Array, "batch 2"],
    channels: tuple[str, ...] = schema.CHANNELS,
    flips: Flips = "exact",
) -> Float32[Array, "batch height width chan"]:
    """Input channels in float32, about -1..1: (x - 0.5) / 0.5 of ct / 255, lbp / (2^24 - 1), hog / HOG_FULL_SCALE
    clipped to 0..1; mask - 0.5 (row D2). All constants, so nothing is fitted.

    Args:
        ct: Windowed CT.
        lbp: LBP code as three planes, most significant first; None: computed from the flipped CT.
        hog: Cell histograms of the four flips, schema.HOG_FLIPS order, grey levels; or, where nothing is flipped, of
            the image as it is alone; None: computed likewise.
        mask: Fat mask, 0 or 1; may be None where it is no channel.
        flip: (vertical, horizontal) of each example.
        channels: Which channels, in this order; static. Others cost nothing.
        flips: Static. exact: LBP and HOG of the flipped image. naive: LBP and HOG pictures of the image, then flipped
            (released code). none: `flip` is not read.

    Returns: one array, channels last.

    Raises: ValueError for naive flips of what is computed after the flip; for a mask channel without a mask; for
        arrays of other axes, sizes or dtypes than stated.
    """
    _check_stored(ct, lbp, hog, mask, flip)
    height, width = ct.shape[1:]
    vertical, horizontal = flip[:, 0], flip[:, 1]
    if flips == "naive" and ((lbp is None and "lbp" in channels) or (hog is None and "hog" in channels)):
        raise ValueError("flips naive needs lbp and hog: computed after the flip they are exact")

    def flipped(image: Array) -> Array:
        return image if flips == "none" else flip_pixels(image, vertical, horizontal)

    def lbp_code() -> Array:
        if lbp is None:
            return local_binary_pattern(flipped(ct), schema.LBP_POINTS, schema.LBP_RADIUS, mode="fast")
        code = unpack_lbp(lbp)
        return flip_lbp(code, vertical, horizontal) if flips == "exact" else flipped(code)

    def hog_picture() -> Array:
        if hog is None:
            cells = compute_cell_histograms(
                flipped(ct), schema.HOG_ORIENTATIONS, (schema.HOG_CELL, schema.HOG_CELL), mode="fast"
            )
            return render_hog(cells, height, width)
        if flips == "exact":
            return render_hog(_pick_histogram(hog, flip), height, width)
        return flipped(render_hog(hog[:, 0], height, width))

    def mask_channel() -> Array:
        if mask is None:
            raise ValueError("the mask channel needs mask")
        return flipped(mask).astype(jnp.float32) - 0.5

    makers = {
        "ct": lambda: flipped(ct).astype(jnp.float32) / 127.5 - 1.0,
        "lbp": lambda: lbp_code().astype(jnp.float32) / (_LBP_MAX / 2) - 1.0,
        # PAPER: the picture is "divided by 255" (C1); a constant nearer its real maximum uses the range.
        "hog": lambda: jnp.clip(hog_picture() / schema.HOG_FULL_SCALE, 0.0, 1.0) * 2.0 - 1.0,
        "mask": mask_channel,
    }
    return jnp.stack([makers[name]() for name in channels], axis=-1)


def _check_stored(ct: Array, lbp: Array | None, hog: Array | None, mask: Array | None, flip: Array) -> None:
    check_array(ct, "ct", 3, np.uint8)
    batch, height, width = ct.shape
    check_array(flip, "flip", 2, np.bool_, (batch, 2))
    if mask is not None:
        check_array(mask, "mask", 3, np.uint8, (batch, height, width))
    if lbp is not None:
        check_array(lbp, "lbp", 4, np.uint8, (batch, height, width, 3))
    if hog is not None:
        cells = (height // schema.HOG_CELL, width // schema.HOG_CELL)
        n_flips = 1 if hog.shape[1:2] == (1,) else len(schema.HOG_FLIPS)
        check_array(hog, "hog", 5, np.floating, (batch, n_flips, *cells, schema.HOG_ORIENTATIONS))


def _pick_histogram(
    hog: Float32[Array, "batch 4 cells_r cells_c orientation"], flip: Bool[Array, "batch 2"]
) -> Float32[Array, "batch cells_r cells_c orientation"]:
    """Histogram of each example's flip; schema.HOG_FLIPS counts in binary, (vertical, horizontal)."""
    index = 2 * flip[:, 0].astype(jnp.int32) + flip[:, 1].astype(jnp.int32)
    return jnp.take_along_axis(hog, index[:, None, None, None, None], axis=1)[:, 0]
