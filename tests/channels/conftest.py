"""Pictures on which LBP and HOG are tried."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter


@pytest.fixture
def smooth_image() -> Callable[..., np.ndarray]:
    """Smooth random uint8 picture; its size is no multiple of a HOG cell."""

    def make(seed: int, height: int = 69, width: int = 89) -> np.ndarray:
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 2)
        return np.rint((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)

    return make
