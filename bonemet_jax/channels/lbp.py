"""Local binary patterns in JAX, equal to scikit-image's."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, UInt32

Method = Literal["default", "uniform", "ror"]
Mode = Literal["exact", "fast"]


def local_binary_pattern(
    image: Num[Array, "*batch height width"], P: int, R: float, method: Method = "default", *, mode: Mode = "exact"
) -> UInt32[Array, "*batch height width"]:
    """Grey-level (and rotation) invariant LBP of every pixel; skeleton."""
    with jax.enable_x64(mode == "exact"):
        real = jnp.float64 if mode == "exact" else jnp.float32
        x = jnp.asarray(image).astype(real)
        height, width = x.shape[-2:]
        margin = int(np.ceil(R)) + 1
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(margin, margin)] * 2)
        code = jnp.zeros(x.shape, jnp.uint32)
        for p in range(P):
            dr, dc = np.round(-R * np.sin(2 * np.pi * p / P), 5), np.round(R * np.cos(2 * np.pi * p / P), 5)
            r, c = np.arange(height) + dr, np.arange(width) + dc
            fr, fc = (r - np.floor(r))[:, None].astype(real), (c - np.floor(c)).astype(real)
            i, j = margin + int(np.floor(dr)), margin + int(np.floor(dc))
            a, b, d, e = (padded[..., i + u:i + u + height, j + v:j + v + width] for u in (0, 1) for v in (0, 1))
            top = jnp.abs((1 - fc) * a) + jnp.abs(fc * b)
            bottom = jnp.abs((1 - fc) * d) + jnp.abs(fc * e)
            sample = jnp.abs((1 - fr) * top) + jnp.abs(fr * bottom)
            code = code | ((sample >= x).astype(jnp.uint32) << p)
        return code
