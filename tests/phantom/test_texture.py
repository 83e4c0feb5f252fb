"""Correlated fields against their formulas; ranks keep order and nothing else."""

import numpy as np
import pytest

from data_pipelines.phantom import texture


def _autocorrelation(image: np.ndarray, lags: tuple[int, ...], axis: int) -> np.ndarray:
    rows = np.moveaxis(image - image.mean(), axis, 0)
    return np.array([(rows[k:] * rows[:-k]).mean() for k in lags]) / image.var()


@pytest.mark.parametrize(("spacing_mm", "length_mm"), [(0.8, 4.2), (2.0, 4.2), (0.8, 2.3), (2.0, 7.6)])
def test_smooth_field_has_the_gaussian_autocorrelation(spacing_mm, length_mm):
    fields = [texture.make_smooth(np.random.default_rng(s), (300, 301), spacing_mm, length_mm) for s in range(12)]
    assert np.mean([f.var() for f in fields]) == pytest.approx(1, abs=0.05)
    assert np.mean([f.mean() for f in fields]) == pytest.approx(0, abs=0.05)
    lags = (1, 2, 4)
    formula = np.exp(-((np.array(lags) * spacing_mm) ** 2) / (2 * length_mm**2))
    for axis in (0, 1):
        found = np.mean([_autocorrelation(f, lags, axis) for f in fields], axis=0)
        np.testing.assert_allclose(found, formula, atol=0.04)


def test_noise_is_scaled_at_the_reference_and_averages_out_on_coarse_pixels():
    sd = {
        spacing: texture.make_noise(np.random.default_rng(0), (500, 500), spacing).std()
        for spacing in (0.8, texture.REFERENCE_SPACING_MM, 2.0)
    }
    assert sd[texture.REFERENCE_SPACING_MM] == pytest.approx(1, abs=0.02)
    assert sd[2.0] < 0.8 < 1 < sd[0.8] < 1.1


def test_rank_map_keeps_order_and_sample():
    values, sample = np.array([3.0, -1.0, 2.0, 10.0]), np.array([0.5, 0.1, 0.9, 0.2])
    np.testing.assert_array_equal(texture.rank_map(values, sample), [0.5, 0.1, 0.2, 0.9])


def test_length_is_log_linear_in_the_factor():
    found = texture.correlation_length_mm(np.array([-2.3, 0.0, 2.3]))
    np.testing.assert_allclose(found, [2.107, 4.2, 8.374], atol=0.01)
