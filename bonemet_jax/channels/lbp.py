"""Local binary patterns in JAX (row C2): `exact` equals scikit-image on every pixel, `fast` is float32."""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial, reduce
from itertools import pairwise, product
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Num, UInt32

from bonemet_jax.channels.arguments import check_images, check_real, check_whole

Method = Literal["default", "ror", "uniform", "nri_uniform"]
Mode = Literal["exact", "fast"]

Image = Float[Array, "*batch height width"]
Bits = list[Bool[Array, "*batch height width"]]
Code = UInt32[Array, "*batch height width"]
Offset = tuple[float, float]
View = Callable[[int, int], Image]

_MAX_CODE_POINTS = 32
#: Each neighbour is a piece of the compiled program.
_MAX_POINTS = 4096
#: scikit-image rounds offsets to so many parts of a pixel.
_PARTS = 100_000
#: Offsets of larger circles overflow where they are rounded to those parts.
_MAX_RADIUS = 1e300


def local_binary_pattern(
    image: Num[ArrayLike, "*batch height width"],
    P: float,
    R: float,
    method: Method = "default",
    *,
    mode: Mode = "exact",
) -> UInt32[Array, "*batch height width"]:
    """Local binary pattern of every pixel: which of P neighbours on a circle are at least as bright [1]_.

    A neighbour between pixels is interpolated bilinearly; outside the image reads 0. Pure: works under jit, vmap and
    with any sharding of the batch axes; P, R, method and mode are static.

    Args:
        image: Grey levels, any bool, integer or float type, any leading axes (scikit-image takes one image); lists are
            converted by numpy. There is no axis of colours: with three or more axes, a last one of 1 to 4 is refused;
            use jax.vmap for a batch of pictures so narrow. A batch of no images gives no codes. Under a caller's jit,
            JAX cuts 64-bit types to 32 bits unless the process computes in 64.
        P: Number of neighbours, a whole number from 1 to 4096, also as a float (8.0); neighbour p has the angle
            2 pi p / P, counter-clockwise from the right.
        R: Radius of the circle in pixels, above 0 and at most 1e300; may exceed the image, whose outside reads 0.
        method: As in scikit-image [2]_, also in capitals; its `var` is not offered:

            ``default``
                Bit p of the code is neighbour p: 0 .. 2**P - 1. P <= 32, where scikit-image's 32nd weight overflows
                into the negative and ours does not.
            ``ror``
                The least of the code's P rotations: invariant to rotation. P <= 32.
            ``uniform``
                Number of neighbours at least as bright where the pattern, read from neighbour 0 to P - 1, changes at
                most twice; else P + 1. Any P.
            ``nri_uniform``
                A number of its own for each such pattern [3]_: 0 .. P (P - 1) + 1; else P (P - 1) + 2. Any P.
        mode:
            ``exact``
                Equal to scikit-image 0.26 on every pixel: float64 in its order of operations, whatever the process's
                own precision. Holds where float64 is IEEE's: on CPU (tested) and GPU, not on TPU. Subnormal numbers
                count as 0. Every type is converted to float64, as in scikit-image: integers are exact up to 2**53.
                A comparison with NaN gives no bit.
            ``fast``
                float32. Differs where neighbours balance around the pixel: scikit-image's answer there is rounding,
                which depends on the position in the image; here what balances ties. Not for integers beyond 2**24;
                an infinity or no number gives any code.

    Returns: Codes, same shape as the image; uint32, where scikit-image has float64: differences of codes wrap around.

    Raises:
        ValueError: An argument outside what is listed above: an image of colours, without rows or columns, masked, or
            complex; scikit-image raises it too for colours and empty images, KeyError for an unknown method, and takes
            P or R of 0 or less, fractions of P, NaN and the real part of complex images without an error.
        TypeError: P or R is no real number.

    References:
        .. [1] T. Ojala, M. Pietikäinen, T. Mäenpää, "Multiresolution gray-scale and rotation invariant texture
               classification with local binary patterns", IEEE PAMI 24 (2002), 971-987.
        .. [2] `skimage.feature.local_binary_pattern`, scikit-image 0.26.
        .. [3] T. Ahonen, A. Hadid, M. Pietikäinen, "Face description with local binary patterns: application to face
               recognition", IEEE PAMI 28 (2006), 2037-2041.
    """
    image, P, R = check_images(image), check_whole(P, "P"), check_real(R, "R")
    method = method.lower() if isinstance(method, str) else method  # type: ignore[assignment]
    _check_arguments(P, R, method, mode)
    with jax.enable_x64(True) if mode == "exact" else nullcontext():
        return _compute_lbp(image, P, float(R), method, mode)


def _check_arguments(P: int, R: float, method: str, mode: str) -> None:
    for name, got, wanted in (("method", method, get_args(Method)), ("mode", mode, get_args(Mode))):
        if got not in wanted:
            raise ValueError(f"{name} is {got!r}, wanted one of {', '.join(wanted)}")
    if not 1 <= P <= _MAX_POINTS:
        raise ValueError(f"P is {P}, wanted 1 <= P <= {_MAX_POINTS}")
    if not 0 < R <= _MAX_RADIUS:
        raise ValueError(f"R is {R}, wanted 0 < R <= {_MAX_RADIUS:g}")
    if P > _MAX_CODE_POINTS and method in ("default", "ror"):
        raise ValueError(
            f"P is {P} with method {method!r}, wanted P <= {_MAX_CODE_POINTS}: its codes have one bit a neighbour;"
            " methods uniform and nri_uniform take any P"
        )


@partial(jax.jit, static_argnames=("P", "R", "method", "mode"))
def _compute_lbp(image: Num[Array, "*batch height width"], P: int, R: float, method: Method, mode: Mode) -> Code:
    angle = 2 * np.pi * np.arange(P) / P
    offsets = np.stack([np.round(-R * np.sin(angle), 5), np.round(R * np.cos(angle), 5)], axis=1).tolist()
    compare = _compare_exact if mode == "exact" else _compare_fast
    return _NUMBER[method](compare(image, offsets))


def _make_view(pixel: Image, offsets: list[Offset]) -> View:
    """A function of a whole offset (i, j): the image of neighbours pixel[..., r + i, c + j], 0 outside.

    The image is padded once and each neighbour is a slice, so the loop that reads them checks no bounds.
    """
    size = pixel.shape[-2:]
    margin = [min(int(np.abs(offsets).max()) + 2, n) for n in size]
    padded = jnp.pad(pixel, [(0, 0)] * (pixel.ndim - 2) + [(m, m) for m in margin])
    padded = jax.lax.optimization_barrier(padded)

    def view(*offset: int) -> Image:
        starts = (m + min(max(o, -n), n) for m, o, n in zip(margin, offset, size, strict=True))
        rows, columns = (slice(start, start + n) for start, n in zip(starts, size, strict=True))
        return padded[..., rows, columns]

    return view


# --- Comparing neighbours with the pixel ----------------------------------------------------------


def _compare_exact(image: Num[Array, "*batch height width"], offsets: list[Offset]) -> Bits:
    """Whether each neighbour is at least as bright, rounded as scikit-image rounds."""
    view, (height, width) = _make_view(image.astype(jnp.float64), offsets), image.shape[-2:]
    mix = partial(_mix, is_signed=not jnp.issubdtype(image.dtype, jnp.unsignedinteger))
    bits, leading = [], (1,) * (image.ndim - 2)
    for row_offset, column_offset in offsets:
        (i, below, fr), (j, right, fc) = _split_exact(row_offset, height), _split_exact(column_offset, width)
        fr, fc = fr.reshape(*leading, height, 1), fc.reshape(*leading, 1, width)
        top = mix(view(i, j), view(i, right), fc)
        bottom = mix(view(below, j), view(below, right), fc)
        # The difference, not >=: infinity less infinity is no number, so no bit.
        bits.append(mix(top, bottom, fr) - view(0, 0) >= 0)
    return bits


def _split_exact(offset: float, n: int) -> tuple[int, int, Float[np.ndarray, " n"]]:
    """The whole offsets around one, and the fraction at each of n pixels: float64 rounds each pixel + offset."""
    at = np.arange(n) + offset
    return int(np.floor(offset)), int(np.ceil(offset)), at - np.floor(at)


def _mix(a: Image, b: Image, fraction: Float[np.ndarray, "..."], *, is_signed: bool) -> Image:
    """(1 - fraction) * a + fraction * b with each product rounded.

    A compiler may fuse a product with the sum, which skips the rounding (XLA does on CPU), though not through another
    operation: so each product takes one that changes nothing. The absolute value costs least.
    """
    products = (1 - fraction) * a, fraction * b
    if np.isin(fraction, (0, 0.5)).all():  # exact anyway
        return operator.add(*products)
    return operator.add(*(jnp.where(x != 0, x, 0) if is_signed else jnp.abs(x) for x in products))


def _compare_fast(image: Num[Array, "*batch height width"], offsets: list[Offset]) -> Bits:
    """Whether each neighbour is at least as bright, in float32."""
    view = _make_view(image.astype(jnp.float32), offsets)
    return [_difference(view, *offset) >= 0 for offset in offsets]


def _difference(view: View, row_offset: float, column_offset: float) -> Image:
    """Neighbour less pixel, up to a positive factor: only the sign counts.

    Differences of grey levels with equal weights are added first. All this is exact for integers, so neighbours that
    balance each other give 0 whatever the weights. The largest weight is taken for 1.
    """
    pixel = view(0, 0)
    groups: dict[int, list[Image]] = defaultdict(list)
    rows, columns = _split(row_offset), _split(column_offset)
    for (i, row_weight), (j, column_weight) in product(rows, columns):
        if row_weight * column_weight:
            groups[row_weight * column_weight].append(view(i, j) - pixel)
    largest = max(groups)
    terms = (np.float32(w / largest) * reduce(operator.add, groups[w]) for w in sorted(groups, reverse=True))
    return reduce(operator.add, terms)


def _split(offset: float) -> list[tuple[int, int]]:
    """The two whole offsets around one, each with its weight in parts of a pixel."""
    whole, fraction = divmod(round(offset * _PARTS), _PARTS)
    return [(whole, _PARTS - fraction), (whole + 1, fraction)]


# --- From comparisons to a number -----------------------------------------------------------------


def _code(bits: Bits) -> Code:
    return reduce(operator.or_, (bit.astype(jnp.uint32) << np.uint32(p) for p, bit in enumerate(bits)))


def _least_rotation(bits: Bits) -> Code:
    code, points = _code(bits), len(bits)
    mask = np.uint32(2**points - 1)
    turned = ((code >> np.uint32(k)) | (code << np.uint32(points - k)) & mask for k in range(1, points))
    return reduce(jnp.minimum, turned, code)


def _count(bits: Iterable[Bool[Array, "*shape"]]) -> UInt32[Array, "*shape"]:
    return reduce(operator.add, (bit.astype(jnp.uint32) for bit in bits))


def _is_uniform(bits: Bits) -> Bool[Array, "*batch height width"]:
    # The step from the last neighbour to the first is not counted, as in scikit-image.
    return _count([one ^ other for one, other in pairwise(bits)] or [bits[0] ^ bits[0]]) <= 2


def _count_uniform(bits: Bits) -> Code:
    return jnp.where(_is_uniform(bits), _count(bits), np.uint32(len(bits) + 1))


def _number_uniform(bits: Bits) -> Code:
    """1 + (ones - 1) * P + how far the run of ones is turned; all zeros, all ones and the rest have their own."""
    points, ones = len(bits), _count(bits)
    first_one = first_zero = jnp.zeros_like(ones)
    for p, bit in reversed(list(enumerate(bits))):
        first_one = jnp.where(bit, np.uint32(p), first_one)
        first_zero = jnp.where(bit, first_zero, np.uint32(p))
    turn = jnp.where(bits[0], ones - first_zero, points - first_one)
    number = jnp.where(ones == 0, np.uint32(0), 1 + (ones - 1) * np.uint32(points) + turn)
    number = jnp.where(ones == points, np.uint32(points * (points - 1) + 1), number)
    return jnp.where(_is_uniform(bits), number, np.uint32(points * (points - 1) + 2)).astype(jnp.uint32)


_NUMBER: dict[str, Callable[[Bits], Code]] = {
    "default": _code,
    "ror": _least_rotation,
    "uniform": _count_uniform,
    "nri_uniform": _number_uniform,
}
