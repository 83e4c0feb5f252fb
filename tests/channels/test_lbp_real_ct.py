"""LBP on every real CT slice at hand: exact, fast, and flips by permuted bits. `-s` prints a line a figure."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import feature

from bonemet_jax import schema
from bonemet_jax.channels import local_binary_pattern
from bonemet_jax.channels.lbp_code import flip_lbp, flip_pixels
from tests.channels.lbp_in_integers import compute_margins
from tests.channels.real_ct import WATER, load_real_ct

P, R = schema.LBP_POINTS, schema.LBP_RADIUS


@dataclass(frozen=True)
class Series:
    images: np.ndarray
    """uint8 (slice, height, width), windowed."""
    tied: np.ndarray
    """bool, same shape: a neighbour equals the pixel when nothing rounds; if not, it is 1e-10 grey levels off at least,
    which float64 tells apart."""
    near: np.ndarray
    """bool, same shape: tied, or so near that float32 may not tell it apart."""


def _make_series(images: np.ndarray) -> Series:
    least = np.stack([np.abs(compute_margins(image, P, R)).min(axis=0) for image in images])
    return Series(images, least == 0, least < 1e10 * 256 * 2e-7)


@pytest.fixture(scope="module")
def real_ct(shared: Path) -> dict[str, Series]:
    return {name: _make_series(images) for name, images in load_real_ct(shared).items()}


@pytest.mark.parametrize("method", [
    "default", *(pytest.param(method, marks=pytest.mark.slow) for method in ("ror", "uniform"))])
def test_exact_and_fast(real_ct: dict[str, Series], method: str) -> None:
    """Exact: no pixel differs from scikit-image. Fast: only where neighbours tie, 0.1 % of a patient slice at most."""
    for name, series in real_ct.items():
        wanted = np.stack([feature.local_binary_pattern(image, P, R, method) for image in series.images])
        exact, fast = (
            np.asarray(local_binary_pattern(series.images, P, R, method, mode=mode)) != wanted
            for mode in ("exact", "fast")
        )
        share = fast.mean(axis=(1, 2))
        print(f"lbp-real-ct: {name}, {method}, {len(share)} slices, pixels that differ from scikit-image: exact "
              f"{exact.sum()} of {exact.size}, fast median {np.median(share):.4%} a slice, max {share.max():.4%}")
        assert not exact.any()
        assert not fast[~series.near].any()
        assert name == WATER or share.max() <= 0.001


@pytest.mark.parametrize(("vertical", "horizontal"), [(False, True), (True, False), (True, True)])
def test_flips(real_ct: dict[str, Series], vertical: bool, horizontal: bool) -> None:
    """LBP of a flipped slice is the slice's LBP, flipped and its bits permuted, wherever nothing ties, border included.

    Air is flat and every code there equals every other: shares are printed of tissue, and of all pixels.
    """
    for name, series in real_ct.items():
        turned = np.s_[:, :: -1 if vertical else 1, :: -1 if horizontal else 1]
        images, tied = series.images[turned], series.tied[turned]
        wanted, tissue = np.asarray(local_binary_pattern(images, P, R)), images > 0
        code = jnp.asarray(local_binary_pattern(series.images, P, R))
        flags = [jnp.full(len(images), flag) for flag in (vertical, horizontal)]
        permuted, naive = (np.asarray(jax.jit(flip)(code, *flags)) == wanted for flip in (flip_lbp, flip_pixels))
        shares = {what: [equal[where].mean() for equal, where in zip(same, tissue, strict=True)]
                  for what, same in (("permuted", permuted), ("naive", naive), ("tied", tied))}
        print(f"lbp-flips: {name}, vertical {vertical:d} horizontal {horizontal:d}, {len(images)} slices, tissue equal "
              f"to LBP of the flipped slice: permuted min {min(shares['permuted']):.3%} median "
              f"{np.median(shares['permuted']):.3%}, naive median {np.median(shares['naive']):.1%} (of all pixels: "
              f"{permuted.mean():.3%}, {naive.mean():.1%}); untied 100 %, tied tissue {np.median(shares['tied']):.1%}")
        assert permuted[~tied].all()
        assert name == WATER or min(shares["permuted"]) >= 0.999
        assert max(shares["naive"]) < 0.6
