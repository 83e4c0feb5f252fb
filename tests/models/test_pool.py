"""Max-pooling against flax's, value and gradient, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from bonemet_jax.models.pool import max_pool


def _flax(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.mark.parametrize("shape", [(2, 8, 10, 3), (2, 7, 9, 3), (1, 1, 1, 2), (3, 2, 5, 1), (1, 13, 16, 4)])
@pytest.mark.parametrize("tied", [False, True])
def test_equals_flax(shape: tuple[int, ...], tied: bool) -> None:
    """Where pixels tie, both give the gradient to the first; ties of zeros are what a ReLU leaves."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(0, 3, shape) if tied else random.standard_normal(shape), jnp.float32)
    (got, back), (want, wanted_back) = jax.vjp(max_pool, x), jax.vjp(_flax, x)
    np.testing.assert_array_equal(got, want)
    grad = jnp.asarray(random.standard_normal(got.shape), jnp.float32)
    np.testing.assert_allclose(back(grad)[0], wanted_back(grad)[0], atol=1e-6)
