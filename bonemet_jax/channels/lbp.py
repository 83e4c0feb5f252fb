"""Local binary patterns in JAX: `exact` equals scikit-image on every pixel, `fast` is float32 (row C2)."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial, reduce
from operator import add, or_
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Num, UInt32

Method = Literal["default", "uniform", "ror", "nri_uniform"]
Mode = Literal["exact", "fast"]

Bits = list[Bool[Array, "*batch height width"]]
Code = UInt32[Array, "*batch height width"]

_CODE_BITS = 32


def local_binary_pattern(
    image: Num[Array, "*batch height width"], P: int, R: float, method: Method = "default", *, mode: Mode = "exact"
) -> UInt32[Array, "*batch height width"]:
    """skeleton"""
    if method not in get_args(Method) or mode not in get_args(Mode):
        raise ValueError(f"method {method!r}, mode {mode!r}; wanted one of {get_args(Method)} and {get_args(Mode)}")
    with jax.enable_x64(mode == "exact"):
        return _compute(image, P, float(R), method, mode)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _compute(image, P, R, method, mode):
    offsets = _offsets(P, R)
    bits = _compare_exact(image, offsets) if mode == "exact" else _compare_fast(image, offsets)
    return _METHODS[method](bits)


def _offsets(P: int, R: float) -> list[tuple[float, float]]:
    R = float(np.float32(R))
    angle = 2 * np.pi * np.arange(P, dtype=float) / P
    return list(zip(np.round(-R * np.sin(angle), 5), np.round(R * np.cos(angle), 5), strict=True))


def _neighbours(x: Array, R: float) -> Callable[[int, int], Array]:
    """view(i, j)[..., r, c] = x[..., r + i, c + j], 0 outside."""
    size = x.shape[-2:]
    margin = [min(int(np.ceil(R)) + 1, n) for n in size]
    padded = jax.lax.optimization_barrier(jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(m, m) for m in margin]))

    def view(*offset: int) -> Array:
        start = [m + min(max(o, -n), n) for m, o, n in zip(margin, offset, size, strict=True)]
        return padded[..., start[0] : start[0] + size[0], start[1] : start[1] + size[1]]

    return view


def _compare_fast(image, offsets):
    x = image.astype(jnp.float32)
    view = _neighbours(x, max(max(map(abs, o)) for o in offsets))
    return [_difference(x, view, *o) >= 0 for o in offsets]


def _difference(x, view, dr, dc):
    """Sample minus pixel."""
    by_weight = defaultdict(list)
    (i, fr), (j, fc) = _split(dr), _split(dc)
    for u, wr in ((0, 100_000 - fr), (1, fr)):
        for v, wc in ((0, 100_000 - fc), (1, fc)):
            by_weight[wr * wc].append((i + u, j + v))
    terms = [np.float32(w / 1e10) * reduce(add, [view(*n) - x for n in ns]) for w, ns in by_weight.items() if w]
    return reduce(add, terms)


def _split(offset):
    """Whole part and 1e-5ths."""
    return divmod(round(offset * 100_000), 100_000)


def _compare_exact(image, offsets):
    x = image.astype(jnp.float64)
    view = _neighbours(x, max(max(map(abs, o)) for o in offsets))
    height, width = x.shape[-2:]
    bits = []
    for dr, dc in offsets:
        r, c = np.arange(height) + dr, np.arange(width) + dc
        fr, fc = (r - np.floor(r))[:, None], c - np.floor(c)
        i, j = int(np.floor(dr)), int(np.floor(dc))
        top = jnp.abs((1 - fc) * view(i, j)) + jnp.abs(fc * view(i, j + 1))
        bottom = jnp.abs((1 - fc) * view(i + 1, j)) + jnp.abs(fc * view(i + 1, j + 1))
        sample = jnp.abs((1 - fr) * top) + jnp.abs(fr * bottom)
        bits.append(sample >= x)
    return bits


def _pattern(bits: Bits) -> Code:
    return reduce(or_, [bit.astype(jnp.uint32) << p for p, bit in enumerate(bits)])


def _rotate_to_least(bits: Bits) -> Code:
    code, P = _pattern(bits), len(bits)
    mask = np.uint32(2**P - 1)
    return reduce(jnp.minimum, [code] + [((code >> k) | (code << (P - k))) & mask for k in range(1, P)])


def _changes(bits):
    return reduce(add, [(a ^ b).astype(jnp.uint32) for a, b in zip(bits, bits[1:])], jnp.uint32(0))


def _count_uniform(bits: Bits) -> Code:
    ones = reduce(add, [b.astype(jnp.uint32) for b in bits])
    return jnp.where(_changes(bits) <= 2, ones, len(bits) + 1).astype(jnp.uint32)


_METHODS = {"default": _pattern, "ror": _rotate_to_least, "uniform": _count_uniform}
