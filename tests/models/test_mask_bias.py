"""Mask bias: hand-computed cells, exact values at the paper's size."""

import jax
import jax.numpy as jnp
import numpy as np

from bonemet_jax.config import MaskBiasConfig
from bonemet_jax.models.mask_bias import MaskBias, resize_mask


def test_area_is_the_block_mean_where_sizes_divide() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (2, 8, 12)).astype(np.float32) - 0.5
    want = mask.reshape(2, 4, 2, 4, 3).mean((2, 4))
    np.testing.assert_allclose(resize_mask(jnp.asarray(mask), 4, 4, "area"), want, atol=1e-7)


def test_area_weighs_fractional_borders() -> None:
    # 3 pixels in 2 cells: the middle pixel is shared half and half.
    mask = jnp.array([[[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(resize_mask(mask, 1, 2, "area"), [[[2 / 3, 0.0]]], atol=1e-7)
    np.testing.assert_allclose(resize_mask(jnp.array([[[0.0, 1.0, 0.0]]]), 1, 2, "area"), [[[1 / 3, 1 / 3]]], atol=1e-7)


def test_nearest_takes_the_cell_centre() -> None:
    mask = jnp.arange(8.0)[None, None]
    np.testing.assert_array_equal(resize_mask(mask, 1, 2, "nearest"), [[[2.0, 6.0]]])


def test_area_keeps_the_share_of_fat_at_the_papers_size() -> None:
    mask = (np.random.default_rng(1).random((1, 400, 500)) < 0.3).astype(np.float32) - 0.5
    for size in ((100, 125), (50, 63)):
        resized = np.asarray(resize_mask(jnp.asarray(mask), *size, "area"))
        assert abs(resized.mean() - mask.mean()) < 1e-5
        assert np.abs(resized).max() <= 0.5 + 1e-6


def test_adds_to_every_channel() -> None:
    x = jnp.zeros((1, 2, 2, 3))
    bias, mask = MaskBias(MaskBiasConfig()), jnp.full((1, 4, 4), 0.5)
    assert not bias.init(jax.random.key(0), x, mask)
    got = bias.apply({}, x, mask)
    np.testing.assert_allclose(got, 0.5)
