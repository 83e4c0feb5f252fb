"""How fast one device computes and moves data, measured in a few seconds."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

#: Images, side and channels of the measured convolution: of the size of those in the network's third stage.
_IMAGES, _SIDE, _CHANNELS = 8, 32, 256
_COPIED_BYTES = 2**28
_REPEATS = 3


class Rates(NamedTuple):
    """Of one device."""

    convolution_gflop_s: float
    """A 3x3 convolution with its two gradients."""
    memory_gb_s: float
    """Read and written, of a copy larger than any cache."""


def measure_rates(dtype: str, compiler_options: dict[str, str] | None = None) -> Rates:
    """Best of three calls each, on the first device.

    Args:
        dtype: of activations, float32 or bfloat16.
        compiler_options: as training takes them.
    """
    x = jnp.ones((_IMAGES, _SIDE, _SIDE, _CHANNELS), dtype)
    kernel = jnp.ones((3, 3, _CHANNELS, _CHANNELS), dtype)

    def loss(x: Any, kernel: Any) -> Any:
        out = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return (out.astype(jnp.float32) ** 2).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1)), compiler_options=compiler_options)
    gflop = 3 * 2 * x.size * 9 * _CHANNELS / 1e9
    source = jnp.zeros(_COPIED_BYTES // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return Rates(gflop / _time(lambda: gradients(x, kernel)), 2 * source.nbytes / 1e9 / _time(lambda: copy(source)))


def _time(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of some calls, after one that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return min(times)
