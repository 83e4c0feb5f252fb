from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonemet_jax.channels.lbp_code import flip_lbp, pack_lbp, unpack_lbp
from bonemet_jax.channels.reference import compute_lbp
from tests.channels.lbp_in_integers import compute_margins

FLIPS = [(False, False), (False, True), (True, False), (True, True)]
_flip_lbp = jax.jit(flip_lbp)


def _flipped(image: np.ndarray, vertical: bool, horizontal: bool) -> np.ndarray:
    image = image[::-1] if vertical else image
    return np.ascontiguousarray(image[:, ::-1] if horizontal else image)


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
        wanted, margins = compute_lbp(_flipped(image, *flip)), compute_margins(_flipped(image, *flip), 24, 3)
        ties = (margins == 0).any(axis=0)
        print(f"{flip}: {ties.mean():.1%} ties, {(got != wanted).sum()} pixels of {got.size} differ")
        assert ties.mean() < 0.6
        assert np.array_equal(got[~ties], wanted[~ties])
