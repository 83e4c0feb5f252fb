"""Arguments of the channel functions versus scikit-image: equal values, or a refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import feature

from bonemet_jax import schema
from bonemet_jax.channels import hog, local_binary_pattern
from bonemet_jax.channels.hog_picture import render_hog
from bonemet_jax.channels.lbp_code import flip_pixels, pack_lbp, unpack_lbp
from bonemet_jax.channels.stack import make_channels
from bonemet_jax.channels.window import window_ct
from bonemet_jax.cohort.near_duplicates import compute_descriptor

GREY = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
CELLS = {"pixels_per_cell": (8, 8), "cells_per_block": (1, 1)}


def _stack(n: int) -> np.ndarray:
    return np.stack([GREY] * n, axis=-1)


#: Refused by scikit-image with ValueError; here too.
REFUSED_BY_BOTH = {
    "rgb": _stack(3), "rgba": _stack(4), "grey with an axis of colours": _stack(1), "grey and alpha": _stack(2),
    "batch of rgb": np.stack([_stack(3)] * 2), "no rows": GREY[:0], "no columns": GREY[:, :0], "one axis": GREY[0],
    "a number": np.float32(3),
}  # fmt: skip


@pytest.mark.parametrize("image", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH)
def test_colours_and_empty_images_are_refused_as_by_scikit_image(image: np.ndarray) -> None:
    with pytest.raises(ValueError):
        feature.local_binary_pattern(image, 8, 1)
    for given in (image, jnp.asarray(image)):
        with pytest.raises(ValueError, match="image has shape"):
            local_binary_pattern(given, 8, 1)
        with pytest.raises(ValueError, match="image has shape"):
            hog(given, pixels_per_cell=(1, 1), cells_per_block=(1, 1))
        with pytest.raises(ValueError, match="image has shape"):
            jax.jit(lambda x: local_binary_pattern(x, 8, 1))(given)


def test_colour_image_is_refused_with_a_hint_and_vmap_takes_narrow_pictures() -> None:
    with pytest.raises(ValueError, match=r"\(16, 16, 3\).*rgb2gray.*jax\.vmap"):
        local_binary_pattern(_stack(3), 8, 1)
    narrow = np.random.default_rng(1).integers(0, 9, (5, 20, 3)).astype(np.uint8)
    got = jax.vmap(lambda x: local_binary_pattern(x, 8, 1, mode="fast"))(narrow)
    alone = [local_binary_pattern(x, 8, 1, mode="fast") for x in narrow]
    assert np.array_equal(got, np.stack(alone))
    assert local_binary_pattern(np.zeros((0, 16, 16)), 8, 1).shape == (0, 16, 16)
    assert hog(np.zeros((0, 16, 16)), **CELLS).shape == (0, 36)


ODD = [GREY + 1j, GREY.astype(object), GREY.astype(str), GREY.astype("datetime64[s]"), np.ma.masked_less(GREY, 50)]


@pytest.mark.parametrize("image", ODD, ids=lambda x: f"{type(x).__name__} {x.dtype}")
def test_values_that_are_no_grey_levels_are_refused(image: np.ndarray) -> None:
    """scikit-image drops the imaginary part and the mask, and counts seconds."""
    for function in (lambda: local_binary_pattern(image, 8, 1), lambda: hog(image, **CELLS)):
        with pytest.raises(ValueError, match=r"dtype|masked"):
            function()


EQUAL = {
    "bool": GREY > 100, "int8": GREY.astype(np.int8), "uint16": GREY.astype(np.uint16) * 200,
    "float16": GREY.astype(np.float16),
    "int64 beyond float32": GREY.astype(np.int64) + 2**40, "float64 beyond float32": GREY * 1e-9 + 1.0,
    "NaN": np.where(GREY < 50, np.nan, GREY), "infinite": np.where(GREY < 50, np.inf, GREY),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Applying `local_binary_pattern`:UserWarning")  # scikit-image, of any float image
@pytest.mark.parametrize("image", EQUAL.values(), ids=EQUAL)
def test_every_dtype_has_scikit_images_codes(image: np.ndarray) -> None:
    wanted = feature.local_binary_pattern(np.ascontiguousarray(image, np.float64), 8, 1)
    for P, R, method in ((8, 1, "default"), (8.0, 1.0, "DEFAULT"), (np.float64(8), np.float32(1), "default")):
        assert np.array_equal(local_binary_pattern(image, P, R, method), wanted)


@pytest.mark.parametrize(("P", "R", "error"), [
    (8.5, 1, ValueError), (0, 1, ValueError), (-1, 1, ValueError), (float("nan"), 1, ValueError),
    (float("inf"), 1, ValueError), (10**9, 1, ValueError), (8, 0, ValueError), (8, -1.0, ValueError),
    (8, float("nan"), ValueError), (8, float("inf"), ValueError), ("8", 1, TypeError), (None, 1, TypeError),
    (True, 1, TypeError), (8, "1", TypeError), (8, 1j, TypeError), ([8], 1, TypeError),
])  # fmt: skip
def test_numbers_of_neighbours_and_radii_are_checked(P: object, R: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"P is|R is"):
        local_binary_pattern(GREY, P, R, "uniform")  # type: ignore[arg-type]


def test_sizes_of_hog_are_whole_numbers_also_as_floats() -> None:
    wanted = feature.hog(GREY, 9, (8, 8), (1, 1))
    np.testing.assert_allclose(hog(GREY, 9.0, (8.0, 8), (1, 1.0)), wanted, atol=1e-6)  # type: ignore[arg-type]
    for change in ({"orientations": 9.5}, {"orientations": 0}, {"pixels_per_cell": (8.5, 8)},
                   {"pixels_per_cell": (float("nan"), 8)}, {"cells_per_block": (0, 0)}):  # fmt: skip
        with pytest.raises(ValueError):
            hog(GREY, **({"orientations": 9} | CELLS | change))


def test_checks_cause_no_further_traces() -> None:
    traces = []

    @jax.jit
    def run(image: jax.Array) -> jax.Array:
        traces.append(image.shape)
        return local_binary_pattern(image, 8.0, 1.0, mode="fast")

    for value in range(4):
        run(jnp.full((2, 12, 12), value, jnp.uint8))
    assert len(traces) == 1
    gradient = jax.grad(lambda x: hog(x, mode="fast", **CELLS).sum())(jnp.asarray(GREY, jnp.float32))
    assert np.isfinite(gradient).all()


def test_stored_arrays_of_another_meaning_are_refused() -> None:
    """Other functions that would take an array of another meaning by its shape or dtype."""
    cell, n_bins = schema.HOG_CELL, schema.HOG_ORIENTATIONS
    right = {"ct": np.zeros((2, 64, 64), np.uint8), "lbp": np.zeros((2, 64, 64, 3), np.uint8),
             "hog": np.zeros((2, 4, 64 // cell, 64 // cell, n_bins), np.float32),
             "mask": np.zeros((2, 64, 64), np.uint8), "flip": np.zeros((2, 2), bool)}  # fmt: skip
    assert make_channels(**right).shape == (2, 64, 64, 4)
    wrong = {"ct": np.zeros((2, 64, 64), np.int16), "lbp": np.zeros((2, 64, 64, 4), np.uint8),
             "hog": np.zeros((2, 4, n_bins, 64 // cell, 64 // cell), np.float32),
             "mask": np.zeros((2, 32, 64), np.uint8), "flip": np.zeros((2, 3), bool)}  # fmt: skip
    for name, array in wrong.items():
        with pytest.raises(ValueError, match=f"{name} has"):
            make_channels(**right | {name: array})
    with pytest.raises(ValueError, match="wanted"):
        make_channels(**right | {"ct": right["ct"][0]})
    for call in (
        lambda: unpack_lbp(jnp.zeros((4, 4, 4), jnp.uint8)), lambda: unpack_lbp(jnp.zeros((4, 4, 3), jnp.int32)),
        lambda: pack_lbp(np.full((2, 2), 1 << 24, np.uint32)), lambda: pack_lbp(np.full((2, 2), -1)),
        lambda: flip_pixels(jnp.zeros((4, 4, 3, 1)), jnp.zeros(4, bool), jnp.zeros(4, bool)),
        lambda: render_hog(jnp.zeros((4, 9)), 64, 64), lambda: render_hog(jnp.zeros((4, 4, n_bins)), 8, 8),
        lambda: window_ct(GREY.astype(complex)), lambda: window_ct(np.array([np.nan])),
        lambda: window_ct(GREY, (200, -200)), lambda: window_ct(GREY, (0, float("nan"))),  # type: ignore[arg-type]
        lambda: compute_descriptor(GREY), lambda: compute_descriptor(_stack(3)),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            call()
