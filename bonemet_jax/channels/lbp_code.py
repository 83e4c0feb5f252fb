"""The 24-bit LBP code (row C2): storage as three planes, and the code of a flipped image.

Bit p of a code belongs to the neighbour at angle 2 pi p / 24, counter-clockwise from the right, radius 3 [1]_.

.. [1] T. Ojala, M. Pietikäinen, T. Mäenpää, "Multiresolution gray-scale and rotation invariant texture classification
       with local binary patterns", IEEE PAMI 24 (2002); as in `skimage.feature.local_binary_pattern`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt8, UInt32

from bonemet_jax import schema

_CODE_MASK = 2**schema.LBP_POINTS - 1


def pack_lbp(code: UInt32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Split 24-bit codes into three uint8 planes on a new last axis, most significant first (numpy, for storage).

    Raises: ValueError for codes that are no unsigned integers or need more than 24 bits.
    """
    if code.dtype.kind != "u" or (code.size and int(code.max()) > _CODE_MASK):
        raise ValueError(f"codes of dtype {code.dtype}, wanted unsigned integers of {schema.LBP_POINTS} bits")
    octets = np.ascontiguousarray(code, ">u4").view(np.uint8)  # big-endian: the first of four is empty
    return octets.reshape(*code.shape, 4)[..., 1:]


def unpack_lbp(planes: UInt8[Array, "*shape 3"]) -> UInt32[Array, "*shape"]:
    """Join three uint8 planes, most significant first, to 24-bit codes. Raises: ValueError for other planes."""
    if planes.ndim < 1 or planes.shape[-1] != 3 or planes.dtype != jnp.uint8:
        raise ValueError(f"planes have shape {planes.shape} and dtype {planes.dtype}, wanted (..., 3) and uint8")
    high, middle, low = (planes[..., i].astype(jnp.uint32) for i in range(3))
    return (high << 16) | (middle << 8) | low


def _reverse_bits(code: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Bit p of the code moves to 23 - p: bits, pairs and nibbles swap inside each byte, then the outer bytes swap."""
    for shift, mask in ((1, 0x555555), (2, 0x333333), (4, 0x0F0F0F)):
        code = ((code >> shift) & mask) | ((code & mask) << shift)
    return (code >> 16) | (code & 0x00FF00) | ((code & 0x0000FF) << 16)


def _rotate_bits(code: UInt32[Array, "*shape"], by: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Bit p of the code moves to (p + by) mod 24."""
    return ((code << by) | (code >> (schema.LBP_POINTS - by))) & _CODE_MASK


def flip_pixels(
    image: Array, vertical: Bool[Array, " batch"], horizontal: Bool[Array, " batch"]
) -> Array:
    """Mirror each example (batch, height, width) along its flagged axes; values unchanged. Raises: ValueError."""
    if image.ndim != 3 or not vertical.shape == horizontal.shape == image.shape[:1]:
        raise ValueError(f"image has shape {image.shape}, flags {vertical.shape} and {horizontal.shape}; wanted "
                         "(batch, height, width) and (batch,)")
    image = jnp.where(vertical[:, None, None], image[:, ::-1, :], image)
    return jnp.where(horizontal[:, None, None], image[:, :, ::-1], image)


def flip_lbp(
    code: UInt32[Array, "batch height width"], vertical: Bool[Array, " batch"], horizontal: Bool[Array, " batch"]
) -> UInt32[Array, "batch height width"]:
    """LBP code of the flipped image from the code of the image, each example by its own flags.

    A flip mirrors the ring of neighbours, so pixels move and bits permute: horizontal p -> (12 - p) mod 24, vertical
    p -> (-p) mod 24. Each is a reversal (p -> 23 - p) and a rotation, by 13 and by 1; both together rotate by 12.
    Equal to the code of the flipped image but for ties, where >= meets rounding (docs/paper.md, flips).
    """
    half = schema.LBP_POINTS // 2
    turn = jnp.where(horizontal, jnp.where(vertical, half, half + 1), jnp.where(vertical, 1, 0)).astype(jnp.uint32)
    mirrored = (vertical != horizontal)[:, None, None]
    permuted = _rotate_bits(jnp.where(mirrored, _reverse_bits(code), code), turn[:, None, None])
    return flip_pixels(permuted, vertical, horizontal)
