from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from bonemet_jax.channels.lbp_code import flip_lbp, pack_lbp, unpack_lbp
from bonemet_jax.channels.reference import compute_lbp
from bonemet_jax.channels.window import window_ct

FLIPS = [(False, False), (False, True), (True, False), (True, True)]
_flip_lbp = jax.jit(flip_lbp)


def _flipped(image: np.ndarray, vertical: bool, horizontal: bool) -> np.ndarray:
    image = image[::-1] if vertical else image
    return np.ascontiguousarray(image[:, ::-1] if horizontal else image)


def _ties(image: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour so close to the centre that rounding decides; and the border, where samples leave."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    tie = np.ones(image.shape, bool)
    tie[4:-4, 4:-4] = False
    for angle in 2 * np.pi * np.arange(24) / 24:
        where = [rows - 3 * np.sin(angle), columns + 3 * np.cos(angle)]
        sample = map_coordinates(image.astype(float), where, order=1, mode="nearest")
        tie |= np.abs(sample - image) < 0.01  # offsets rounded to 5 decimals move a sample by 255e-5 at most
    return tie


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2**24 - 1), min_size=8, max_size=8))
def test_pack_then_unpack(codes: list[int]) -> None:
    code = np.array(codes, np.uint32)
    planes = pack_lbp(code)
    assert planes.dtype == np.uint8
    assert planes[0].tolist() == list(codes[0].to_bytes(3, "big"))
    assert np.array_equal(unpack_lbp(jnp.asarray(planes)), code)


@pytest.mark.parametrize("flip", FLIPS[1:])
def test_bits_permute_as_ruled(flip: tuple[bool, bool]) -> None:
    """One bit at a time against paper.md's rule: horizontal p -> (12 - p) mod 24, vertical p -> (-p) mod 24."""
    vertical, horizontal = flip
    code = jnp.asarray([[[1 << p for p in range(24)]]], jnp.uint32)
    got = np.asarray(_flip_lbp(code, jnp.array([vertical]), jnp.array([horizontal])))[0, 0]
    for p in range(24):
        wanted = (12 - p) % 24 if horizontal else p
        wanted = -wanted % 24 if vertical else wanted
        assert got[23 - p if horizontal else p] == 1 << wanted


@pytest.mark.parametrize("seed", range(3))
def test_equals_lbp_of_flipped_image_away_from_ties(seed: int, smooth_image: Callable[..., np.ndarray]) -> None:
    image = smooth_image(seed)
    code = np.stack([compute_lbp(image)] * 4)
    flips = np.array(FLIPS)
    flipped = np.asarray(_flip_lbp(jnp.asarray(code), flips[:, 0], flips[:, 1]))
    for got, flip in zip(flipped, FLIPS, strict=True):
        wanted, ties = compute_lbp(_flipped(image, *flip)), _ties(_flipped(image, *flip))
        print(f"{flip}: {ties.mean():.1%} ties or border, {(got != wanted).sum()} pixels of {got.size} differ")
        assert ties.mean() < 0.6
        assert np.array_equal(got[~ties], wanted[~ties])


def test_real_ct(shared: Path) -> None:
    """paper.md, flips: 99.9 to 100 % of real CT's pixels; the naive flip is far off."""
    import pydicom

    data = pydicom.dcmread(sorted((shared / "data" / "ct_t11_dicom").iterdir())[0])
    image = window_ct(data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept))
    code = jnp.asarray(compute_lbp(image))[None]
    for vertical, horizontal in FLIPS[1:]:
        flipped = _flipped(image, vertical, horizontal)
        wanted, body = compute_lbp(flipped), flipped > 0  # air is flat: every code equals every other
        got = np.asarray(_flip_lbp(code, jnp.array([vertical]), jnp.array([horizontal])))[0]
        naive = _flipped(np.asarray(code[0]), vertical, horizontal)
        print(f"equal pixels in tissue: permuted {(got == wanted)[body].mean():.3%}, "
              f"naive {(naive == wanted)[body].mean():.3%}")
        assert (got == wanted)[body].mean() >= 0.999
        assert (naive == wanted)[body].mean() < 0.6
