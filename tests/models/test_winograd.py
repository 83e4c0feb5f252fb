"""Winograd's short 3x3 convolution against the plain one: value and both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.models.conv import convolve
from bonemet_jax.models.winograd import convolve_3x3


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolve(x, kernel, 1)


def _all_results(function: object, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    draw = [random.standard_normal(s) for s in (shape, (3, 3, shape[-1], 5), (*shape[:3], 5))]
    x, kernel, grad = (jnp.asarray(values, dtype) for values in draw)
    value, pullback = jax.vjp(function, x, kernel)  # type: ignore[arg-type]
    return [np.asarray(result, np.float64) for result in (value, *pullback(grad))]


@pytest.mark.parametrize("shape", [
    pytest.param((2, 5, 6, 3), marks=pytest.mark.every_change),
    *(pytest.param(shape, marks=pytest.mark.slow) for shape in
      [(2, 6, 8, 3), (1, 4, 7, 2), (3, 1, 1, 4), (2, 13, 16, 8)]),
])  # fmt: skip
def test_equals_the_plain_convolution(shape: tuple[int, ...]) -> None:
    with jax.enable_x64(True):
        ours, plain = (_all_results(function, shape, "float64") for function in (convolve_3x3, _plain))
    for got, want in zip(ours, plain, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-14 * np.abs(want).max() * 10)


@pytest.mark.slow
def test_float32_error_is_a_few_times_the_plain_ones() -> None:
    shape = (2, 25, 32, 64)
    with jax.enable_x64(True):
        exact = _all_results(_plain, shape, "float64")
    errors = [
        [np.linalg.norm(got - want) / np.linalg.norm(want) for got, want in zip(results, exact, strict=True)]
        for results in (_all_results(convolve_3x3, shape, "float32"), _all_results(_plain, shape, "float32"))
    ]
    print("float32 errors of value, image and kernel gradient: winograd", *(f"{e:.1e}" for e in errors[0]),
          "plain", *(f"{e:.1e}" for e in errors[1]))
    assert max(errors[0]) < 2e-6
