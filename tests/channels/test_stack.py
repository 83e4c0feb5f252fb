from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pydicom
import pytest

from bonemet_jax import schema
from bonemet_jax.channels.lbp_code import pack_lbp
from bonemet_jax.channels.reference import compute_hog_flips, compute_hog_picture, compute_lbp
from bonemet_jax.channels.stack import find_needed, make_channels
from bonemet_jax.channels.window import window_ct
from data_pipelines.phantom import anatomy, render
from tests.channels.lbp_in_integers import compute_margins

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


def test_needed_arrays() -> None:
    every = schema.CHANNELS
    assert find_needed(every, False) == every and find_needed(every, True) == ("ct", "mask")
    assert find_needed(("lbp", "mask"), False) == ("ct", "lbp", "mask") and find_needed(("lbp", "hog"), True) == ("ct",)


def test_computed_lbp_is_that_of_the_flipped_image(stored: dict[str, np.ndarray]) -> None:
    few = {"ct": stored["ct"], "lbp": None, "hog": None, "mask": None, "flip": FLIPS, "channels": ("ct", "lbp")}
    made, still = np.asarray(_make(**few)), np.asarray(_make(**few, flips="none"))
    for got, unflipped, ct, flip in zip(made, still, stored["ct"], FLIPS, strict=True):
        assert np.allclose(got[..., 0], _mirror(ct, flip) / 127.5 - 1, atol=1e-6)
        for channel, image in ((got[..., 1], _mirror(ct, flip)), (unflipped[..., 1], ct)):
            # the precomputed code of these pictures differs from it in as many pixels: ties round another way
            assert np.mean(np.isclose(channel, compute_lbp(image) / (2**24 - 1) * 2 - 1, atol=2e-7)) > 0.999


def test_computed_hog_equals_precomputed(stored: dict[str, np.ndarray]) -> None:
    wanted = np.asarray(_make(**stored, flip=FLIPS, channels=("hog",)))
    made = np.asarray(_make(stored["ct"], None, None, None, FLIPS, channels=("hog",)))
    assert -0.9 < wanted.max() < 1 and np.abs(made - wanted).max() <= 1e-6


def test_nothing_is_computed_that_was_stored(stored: dict[str, np.ndarray]) -> None:
    """A naive flip of what is computed after the flip cannot be; a mask comes from nowhere."""
    with pytest.raises(ValueError, match="flips naive needs lbp and hog"):
        make_channels(stored["ct"], None, stored["hog"], stored["mask"], FLIPS, flips="naive")
    with pytest.raises(ValueError, match="mask channel needs mask"):
        make_channels(stored["ct"], None, None, None, FLIPS, channels=("mask",))


def _compare_on_device(images: np.ndarray, name: str) -> None:
    """Four flips of two images: HOG within 1e-6; LBP in every pixel that is no tie, ties counted (`-s` prints)."""
    ct, flip = np.repeat(images, 4, axis=0), np.tile(FLIPS, (2, 1))
    lbp = np.repeat(pack_lbp(np.stack([compute_lbp(image) for image in images])), 4, 0)
    hog = np.repeat(np.stack([compute_hog_flips(image) for image in images]), 4, 0)
    channels = ("lbp", "hog")
    wanted = np.asarray(_make(ct, lbp, hog, None, flip, channels=channels))
    made = np.asarray(_make(ct, None, None, None, flip, channels=channels))
    hog_error = np.abs(made[..., 1] - wanted[..., 1]).max()
    other = made[..., 0] != wanted[..., 0]
    least = [np.abs(compute_margins(image, schema.LBP_POINTS, schema.LBP_RADIUS)).min(axis=0) for image in images]
    # margins are in 1e-10 grey levels; float32 tells apart what is more than 2e-7 of the range away
    near = np.stack([_mirror(least[i // 4] < 1e10 * 256 * 2e-7, flip[i]) for i in range(8)])
    print(f"{name}, on the device against precomputed: LBP differs in {other.mean():.4%} of the pixels "
          f"({near.mean():.1%} are ties), HOG by {hog_error:.1e}")
    assert not (other & ~near).any() and other.mean() <= 1e-3
    assert hog_error <= 1e-6


def test_on_device_against_precomputed_on_real_ct(shared: Path) -> None:
    """Two slices; shared/data/SOURCES.md."""
    files = sorted((shared / "data" / "ct_t11_dicom").iterdir())
    found = [pydicom.dcmread(files[at]) for at in (len(files) // 3, len(files) // 2)]
    hu = [f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept) for f in found]
    _compare_on_device(window_ct(np.stack(hu)), "real CT")


def test_on_device_against_precomputed_on_phantoms() -> None:
    areas = (anatomy.Areas(120, 60, 30), anatomy.Areas(200, 90, 35))
    slices = [render.render_slice(np.random.default_rng(i), (200, 250), 2.0, a, 5.0) for i, a in enumerate(areas)]
    _compare_on_device(np.stack([window_ct(image.hu) for image in slices]), "phantoms")
