"""Padding in the trunk: counted where it replaces tissue, not in gas, lung, or outside the reconstruction circle."""

import numpy as np
import pytest
from scipy import ndimage

from bonemet_jax import schema
from data_pipelines.bodycomp.padding import count_padding

MM = (2.0, 2.0)
ROWS, COLUMNS = np.mgrid[:160, :200]
BODY = ((ROWS - 80) / 55) ** 2 + ((COLUMNS - 100) / 75) ** 2 <= 1


def _draw() -> np.ndarray:
    """A trunk of 40 HU with noise in air of -1000 HU."""
    random = np.random.default_rng(0)
    return (np.where(BODY, 40, -1000) + random.integers(-9, 10, BODY.shape)).astype(np.int16)


def _count(hu: np.ndarray) -> int:
    return count_padding(hu, MM)


@pytest.mark.parametrize(("where", "n"), [
    (np.s_[80:86, 90:97], 42), (np.s_[60, 100], 1), (np.s_[112:150, 95:105], 380), (np.s_[0:4, 0:4], 0),
])  # fmt: skip
def test_blocks(where: tuple[slice, slice], n: int) -> None:
    """In the trunk, one pixel of it, across the skin, and in the corner of the image."""
    hu = _draw()
    hu[where] = schema.HU_PADDING
    assert _count(hu) == n


def test_scattered_pixels_of_a_padding_value_that_is_tissue() -> None:
    hu = _draw()
    value = BODY & (hu == 40)
    hu[value] = schema.HU_PADDING
    deep = ndimage.distance_transform_edt(BODY, sampling=MM) > 5
    assert _count(hu) == pytest.approx((value & deep).sum(), rel=0.03)


def test_gas_as_low_as_padding_is_none() -> None:
    """Bowel gas whose noise is clipped at -1024 HU; its edge is blurred."""
    hu = _draw()
    radius = np.hypot(ROWS - 80, COLUMNS - 100)
    hu = np.where(radius < 14, -700, hu)
    gas = radius < 12
    hu[gas] = np.where(np.random.default_rng(1).random(gas.sum()) < 0.3, schema.HU_PADDING, -1000)
    assert _count(hu.astype(np.int16)) == 0


def test_a_block_in_gas_or_lung_is_padding() -> None:
    hu = _draw()
    hu[np.hypot(ROWS - 80, COLUMNS - 100) < 25] = -850
    hu[76:84, 96:104] = schema.HU_PADDING
    assert _count(hu) == 64


def test_outside_of_the_circle_is_none() -> None:
    hu = _draw()
    hu[np.hypot(ROWS - 80, COLUMNS - 100) > 70] = schema.HU_PADDING  # cuts both flanks
    assert _count(hu) == 0
