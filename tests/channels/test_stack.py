from collections.abc import Callable

import jax
import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.channels.lbp_code import pack_lbp
from bonemet_jax.channels.reference import compute_hog_flips, compute_hog_picture, compute_lbp
from bonemet_jax.channels.stack import make_channels

_make = jax.jit(make_channels, static_argnames=("channels", "flips"))
FLIPS = np.array(schema.HOG_FLIPS)


@pytest.fixture
def stored(smooth_image: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    """Records of four different images."""
    ct = np.stack([smooth_image(seed) for seed in range(4)])
    return {
        "ct": ct,
        "lbp": pack_lbp(np.stack([compute_lbp(image) for image in ct])),
        "hog": np.stack([compute_hog_flips(image) for image in ct]),
        "mask": (ct > 128).astype(np.uint8),
    }


def _mirror(image: np.ndarray, flip: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[:: -1 if flip[0] else 1, :: -1 if flip[1] else 1])


def test_exact_flips_equal_channels_of_the_flipped_image(stored: dict[str, np.ndarray]) -> None:
    made = np.asarray(_make(**stored, flip=FLIPS))
    assert made.shape == (4, 69, 89, 4) and made.dtype == np.float32
    for got, ct, mask, flip in zip(made, stored["ct"], stored["mask"], FLIPS, strict=True):
        image = _mirror(ct, flip)
        hog = np.clip(compute_hog_picture(image) / schema.HOG_FULL_SCALE, 0, 1)
        assert np.allclose(got[..., 0], image / 127.5 - 1, atol=1e-6)
        assert np.mean(np.isclose(got[..., 1], compute_lbp(image) / (2**24 - 1) * 2 - 1, atol=2e-7)) > 0.999
        assert np.allclose(got[..., 2], 2 * hog - 1, atol=1e-6)
        assert np.array_equal(got[..., 3], _mirror(mask, flip) - 0.5)


def test_naive_flips_are_flipped_pictures(stored: dict[str, np.ndarray]) -> None:
    still = np.asarray(_make(**stored, flip=FLIPS, flips="none"))
    naive = np.asarray(_make(**stored, flip=FLIPS, flips="naive"))
    assert np.array_equal(still, np.asarray(_make(**stored, flip=np.zeros((4, 2), bool))))
    for got, image, flip in zip(naive, still, FLIPS, strict=True):
        assert np.array_equal(got, _mirror(image, flip))


def test_channels_come_in_the_order_asked(stored: dict[str, np.ndarray]) -> None:
    every = np.asarray(_make(**stored, flip=FLIPS))
    some = np.asarray(_make(**stored, flip=FLIPS, channels=("ct", "mask")))
    assert np.array_equal(some, every[..., [0, 3]])


def test_left_out_channels_cost_nothing(stored: dict[str, np.ndarray]) -> None:
    text = _make.lower(**stored, flip=FLIPS, channels=("ct",)).compile().as_text()
    assert "dot(" not in text and "u32[4,69,89]" not in text


def test_range_of_extremes() -> None:
    """Codes, grey levels and gradients at both ends stay within -1..1, to a rounding."""
    ct = np.array([0, 255], np.uint8)[:, None, None] * np.ones((2, 16, 16), np.uint8)
    hog = np.array([0, 1e6], np.float32)[:, None, None, None, None] * np.ones((2, 4, 1, 1, 8), np.float32)
    made = np.asarray(_make(ct, np.stack([ct] * 3, -1), hog, ct // 255, np.zeros((2, 2), bool)))
    assert made[0].min() == -1 and np.isclose(made[1].max(), 1, atol=2e-7)
    assert np.isclose(made[1, ..., 1], 1, atol=2e-7).all()
