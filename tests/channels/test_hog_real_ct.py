"""HOG on every real CT slice at hand: parity with scikit-image, flips, float images. `-s` prints a line a figure."""

from pathlib import Path

import jax
import numpy as np
import pytest
import skimage.feature

from bonemet_jax import schema
from bonemet_jax.channels import hog
from bonemet_jax.channels.hog_picture import render_hog
from bonemet_jax.channels.oriented_gradients import compute_cell_histograms
from bonemet_jax.channels.reference import compute_hog_flips
from tests.channels.real_ct import load_real_ct

CELL = (schema.HOG_CELL, schema.HOG_CELL)
OPTIONS = {"orientations": schema.HOG_ORIENTATIONS, "pixels_per_cell": CELL, "cells_per_block": (1, 1)}
_render = jax.jit(render_hog, static_argnums=(1, 2))


@pytest.fixture(scope="module")
def real_ct(shared: Path) -> dict[str, np.ndarray]:
    return load_real_ct(shared)


def _off(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over the maximum."""
    return float(np.abs(np.asarray(got) - wanted).max() / max(np.abs(wanted).max(), 1e-30))


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_equals_scikit_image(mode: str, real_ct: dict[str, np.ndarray]) -> None:
    run = jax.jit(lambda x: hog(x, **OPTIONS, visualize=True, mode=mode))
    for name, images in real_ct.items():
        off = []
        for image in images:
            wanted = skimage.feature.hog(image, **OPTIONS, visualize=True)
            off.append([_off(got, true) for got, true in zip(run(image), wanted, strict=True)])
        worst = np.max(off, axis=0)
        print(f"hog-real-ct: {name} {mode}, {len(images)} slices: largest difference over the maximum, "
              f"features {worst[0]:.1e}, picture {worst[1]:.1e}")
        assert worst.max() <= 1e-6


@pytest.mark.every_change
def test_flips(real_ct: dict[str, np.ndarray]) -> None:
    """Stored for four flips or computed after the flip: the same; the flipped picture is another.

    Except after both flips of an image of whole cells: a half turn changes no orientation.
    """
    for name, images in real_ct.items():
        stored_off, computed_off, naive_off = [], [], []
        for image in images:
            height, width = image.shape
            stored = np.asarray(_render(compute_hog_flips(image), height, width))
            for picture, (vertical, horizontal) in zip(stored[1:], schema.HOG_FLIPS[1:], strict=True):
                flip = np.s_[:: -1 if vertical else 1, :: -1 if horizontal else 1]
                wanted = skimage.feature.hog(np.ascontiguousarray(image[flip]), **OPTIONS, visualize=True)[1]
                histograms = compute_cell_histograms(image[flip], schema.HOG_ORIENTATIONS, CELL, mode="fast")
                stored_off.append(_off(picture, wanted))
                computed_off.append(_off(_render(histograms, height, width), wanted))
                naive_off.append(float(np.abs(stored[0][flip] - wanted).mean() / wanted.mean()))
        print(f"hog-flips: {name}, {3 * len(images)} flips: difference over the maximum, stored {max(stored_off):.1e}, "
              f"computed on the device {max(computed_off):.1e}; mean difference of the naive flip "
              f"{min(naive_off):.0%} to {max(naive_off):.0%} of the mean")
        assert max(stored_off + computed_off) <= 1e-6
        assert max(naive_off) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_float_images_in_other_bins(mode: str, real_ct: dict[str, np.ndarray]) -> None:
    """Of image / 255, gradients on the edge of a bin fall to either side: their share is printed and small."""
    images = real_ct["ct_t11_dicom"].astype(np.float64) / 255
    cells = {"orientations": schema.HOG_ORIENTATIONS, "pixels_per_cell": (1, 1)}
    moved = gradients = 0
    for image in images:
        ours = np.asarray(compute_cell_histograms(image, **cells, mode=mode)) > 0
        theirs = skimage.feature.hog(image, **cells, cells_per_block=(1, 1), block_norm="L1", feature_vector=False)
        theirs = theirs[:, :, 0, 0] > 0
        moved += int((ours != theirs).any(-1).sum())
        gradients += int(theirs.any(-1).sum())
    print(f"hog-float: image / 255, {mode}: {moved / gradients:.4%} of {gradients} gradients fall into another bin")
    assert moved / gradients < 0.01
