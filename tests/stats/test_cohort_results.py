"""Correlation of features with clinical columns: the textbook value, pair by pair."""

import numpy as np
import pandas as pd

from bonemet_jax.stats.cohort_results import _correlate


def test_correlation_is_pearson_over_known_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(1e3, 1, (40, 5)), rng.normal(size=(40, 6))
    x[:, 4], y[:, 5] = 0.1, 0.3  # constant
    y[:7, 1], y[:7, 2], y[20:, 3], y[2:, 4] = np.nan, np.nan, np.nan, np.nan
    r = _correlate(pd.DataFrame(x), pd.DataFrame(y))
    for i, j in np.ndindex(4, 4):
        known = np.isfinite(y[:, j])
        assert abs(r[i, j] - np.corrcoef(x[known, i], y[known, j])[0, 1]) < 1e-12
    assert np.isnan(r[4]).all() and np.isnan(r[:, 4:]).all()
