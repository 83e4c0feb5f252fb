"""The stem's max-pooling with a gradient of its own: only shifts, comparisons and sums.

The compiler's own gradient of a pooling cannot be split over devices (each then works on the whole batch, which is
gathered for it) and runs on one thread of a CPU.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Image = Float[Array, "batch height width chan"]


@jax.custom_vjp
def max_pool(x: Image) -> Float[Array, "batch h w chan"]:
    """Largest of 3x3 pixels, stride 2, one pixel of padding on every side: half the size, rounded up."""
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    )


def _forward(x: Image) -> tuple[Image, tuple[Image, Image]]:
    y = max_pool(x)
    return y, (x, y)


def _backward(saved: tuple[Image, Image], grad: Image) -> tuple[Image]:
    """Each window's gradient goes to the first of its pixels, row by row, that is the largest."""
    x, y = saved
    taken = jnp.zeros(y.shape, bool)
    shares: list[list[Array]] = []
    for row in _cut(x, 1):
        shares.append([])
        for pixel in _cut(row, 2):
            first = (pixel == y) & ~taken
            taken = taken | first
            shares[-1].append(jnp.where(first, grad, 0))
    rows = [_join(columns, 2, x.shape[2]) for columns in shares]
    return (_join(rows, 1, x.shape[1]),)


max_pool.defvjp(_forward, _backward)


def _cut(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """First, second and third pixel of every window along an axis; outside the image minus infinity."""
    n = x.shape[axis]
    widths = [(0, 0)] * x.ndim
    widths[axis] = (2, n % 2)
    padded = jnp.pad(x, widths, constant_values=-jnp.inf)
    pairs = padded.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    even, odd = (jax.lax.index_in_dim(pairs, i, axis + 1, False) for i in (0, 1))
    length = pairs.shape[axis]
    return (
        jax.lax.slice_in_dim(odd, 0, length - 1, axis=axis), jax.lax.slice_in_dim(even, 1, length, axis=axis),
        jax.lax.slice_in_dim(odd, 1, length, axis=axis),
    )  # fmt: skip


def _join(parts: list[Array], axis: int, n: int) -> Array:
    """The transpose of `_cut`: what windows say of their three pixels, added up over the `n` pixels."""
    first, second, third = parts
    widths = [(0, 0)] * first.ndim
    widths[axis] = (0, 1)
    after = jnp.pad(jax.lax.slice_in_dim(first, 1, None, axis=axis), widths)
    pairs = jnp.stack([second, third + after], axis=axis + 1)
    whole = pairs.reshape(*second.shape[:axis], -1, *second.shape[axis + 1 :])
    return jax.lax.slice_in_dim(whole, 0, n, axis=axis)
