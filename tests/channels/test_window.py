import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.channels.window import window_ct


@pytest.mark.parametrize("library", [np, jnp])
def test_window_ends_middle_and_outside(library: object) -> None:
    hu = library.asarray([-1024, -200, -199, 50, 300, 3000], dtype=np.int16)
    grey = window_ct(hu)
    assert grey.dtype == np.uint8
    assert np.asarray(grey).tolist() == [0, 0, 1, 128, 255, 255]


def test_other_window() -> None:
    assert window_ct(np.array([-160.0, 40.0, 240.0]), (-160, 240)).tolist() == [0, 128, 255]
