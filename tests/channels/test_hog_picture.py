import itertools
from collections.abc import Callable

import jax
import numpy as np
import pytest
from skimage.feature import hog

from bonemet_jax import schema
from bonemet_jax.channels.hog_picture import draw_line, line_stencil, render_hog
from bonemet_jax.channels.reference import compute_hog_flips, compute_hog_histogram

_render = jax.jit(render_hog, static_argnums=(1, 2))


def _picture(image: np.ndarray) -> np.ndarray:
    return hog(image, 8, (16, 16), (1, 1), visualize=True)[1]


def test_stencil_by_hand() -> None:
    """Eight lines of 0 and 1 through the cell's middle; none reaches its first row or column."""
    stencil = line_stencil()
    assert stencil.shape == (8, 16, 16)
    assert set(np.unique(stencil)) == {0, 1}
    assert stencil[:, 7:9, 7:9].any(axis=(1, 2)).all()
    assert not stencil[:, 0].any() and not stencil[:, :, 0].any()


@pytest.mark.parametrize("size", [(64, 80), (69, 89), (400, 500), (16, 31)])
def test_rendered_equals_scikit_image(size: tuple[int, int], smooth_image: Callable[..., np.ndarray]) -> None:
    image = smooth_image(1, *size)
    histogram = compute_hog_flips(image)
    for stored, (vertical, horizontal) in zip(histogram, schema.HOG_FLIPS, strict=True):
        flipped = image[:: -1 if vertical else 1, :: -1 if horizontal else 1]
        wanted = _picture(np.ascontiguousarray(flipped))
        got = np.asarray(_render(stored[None], *size))[0]
        assert got.shape == image.shape
        assert np.abs(got - wanted).max() <= 1e-6 * wanted.max()


def test_histogram_gives_scikit_images_features() -> None:
    """Read off the picture, then L2-Hys as in Dalal and Triggs: scikit-image's own feature vector."""
    image = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    features = hog(image, 8, (16, 16), (1, 1), feature_vector=False)[:, :, 0, 0]
    histogram = compute_hog_histogram(image).astype(np.float64)
    block = histogram / np.sqrt((histogram**2).sum(-1, keepdims=True) + 1e-10)
    block = np.minimum(block, 0.2)
    block /= np.sqrt((block**2).sum(-1, keepdims=True) + 1e-10)
    assert np.allclose(block, features, atol=1e-6)


def test_flat_image_is_black() -> None:
    assert not compute_hog_flips(np.full((32, 32), 7, np.uint8)).any()


def test_lines_are_scikit_images() -> None:
    """Every pair of ends on a grid of 13 x 13: the same pixels in the same order."""
    from skimage.draw import line

    ends = list(itertools.product(range(13), repeat=2))
    pairs = list(itertools.product(ends, ends))
    assert len(pairs) == 28561
    different = [pair for pair in pairs if not np.array_equal(draw_line(*pair), line(*pair[0], *pair[1]))]
    assert different == []
