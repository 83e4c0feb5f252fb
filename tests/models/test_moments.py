"""Moments of feature maps, two other ways to them, against numpy in float64."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.models.moments import (
    Moments,
    compute_masked_moments,
    compute_moments_around,
    compute_product_moments,
)

RANDOM = np.random.default_rng(0)
WEIGHT = np.array([1.0, 0, 1, 1])
X = RANDOM.normal(3.0, 2.0, (4, 5, 6, 4))
KERNEL = RANDOM.normal(size=(4, 7))
CLEAN = X * WEIGHT[:, None, None, None]
Compute = Callable[[jax.Array, jax.Array], Moments]


def _multiply(x: jax.Array, weight: jax.Array) -> Moments:
    return compute_product_moments(x * weight[:, None, None, None], jnp.asarray(KERNEL), weight)


def _multiply_first(x: jax.Array, weight: jax.Array) -> Moments:
    return compute_masked_moments(x @ KERNEL, weight)


@pytest.mark.parametrize(("compute", "maps"), [
    (compute_masked_moments, X), (partial(compute_moments_around, near=jnp.full(4, 2.5)), X), (_multiply, X @ KERNEL),
], ids=["two passes", "one pass", "product"])  # fmt: skip
def test_of_real_examples_alone(compute: Compute, maps: np.ndarray) -> None:
    with jax.enable_x64(True):
        mean, var, count = jax.device_get(compute(jnp.asarray(X), jnp.asarray(WEIGHT)))
    real = maps[WEIGHT > 0]
    np.testing.assert_allclose(mean, real.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, real.var((0, 1, 2)), rtol=1e-6)
    assert count == 3 * 5 * 6


@pytest.mark.parametrize("way", ["one pass", "product"])
def test_gradients_are_those_of_two_passes(way: str) -> None:
    def feel(compute: Compute, x: jax.Array) -> jax.Array:
        mean, var, _ = compute(x, jnp.asarray(WEIGHT))
        return jnp.sin(mean).sum() + jnp.cos(var).sum()

    with jax.enable_x64(True):
        near = jnp.full(4, 2.5)
        pair = {"one pass": (partial(compute_moments_around, near=near), compute_masked_moments),
                "product": (_multiply, _multiply_first)}[way]  # fmt: skip
        got, want = (jax.grad(partial(feel, compute))(jnp.asarray(X)) for compute in pair)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("compute", [
    compute_masked_moments, partial(compute_moments_around, near=jnp.full(4, 4002.0)),
], ids=["two passes", "one pass, a mean that is known"])  # fmt: skip
def test_large_mean_keeps_its_variance(compute: Compute) -> None:
    x = jnp.asarray(X, jnp.float32) + 4000.0
    np.testing.assert_allclose(compute(x, jnp.ones(4))[1], np.asarray(x, np.float64).var((0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("compute", [partial(compute_moments_around, near=jnp.zeros(4)), _multiply])
def test_padding_alone_counts_nothing(compute: Compute) -> None:
    mean, var, count = compute(jnp.asarray(X), jnp.zeros(4))
    assert count == 0 and np.isfinite(mean).all() and not np.any(var)


@pytest.mark.parametrize(("mean_over_spread", "limit"), [(1.0, 2e-5), (17.0, 2e-3)])
@pytest.mark.parametrize("way", ["one pass, a mean that is not known", "product"])
def test_what_cancels_in_float32(way: str, mean_over_spread: float, limit: float) -> None:
    """Both ways lose digits with the square of the mean over the spread; behind a ReLU it is about 1."""
    random = np.random.default_rng(1)
    x = random.normal(mean_over_spread, 1.0, (8, 16, 16, 16)).astype(np.float32)
    kernel = random.normal(size=(16, 32)).astype(np.float32)
    maps = x.astype(float)
    if way == "product":
        found, maps = compute_product_moments(jnp.asarray(x), jnp.asarray(kernel), jnp.ones(8)), maps @ kernel
    else:
        found = compute_moments_around(jnp.asarray(x), jnp.ones(8), jnp.zeros(16))
    error = np.abs(found.var / maps.var((0, 1, 2)) - 1).max()
    print(error)
    assert error < limit
