"""The studies at a size for every day; in full: `make study-null`, `python -m tests.studies coverage | large`."""

from dataclasses import replace
from pathlib import Path

import pytest

from bonemet_jax.config import Config
from tests.studies.coverage import study_coverage
from tests.studies.large import study_planted_factors
from tests.studies.null import study_null


def _shrink(config: Config) -> Config:
    """Bigger pixels, fewer patients."""
    return replace(
        config, phantom=replace(config.phantom, n=120, spacing_mm=3.0, height=112, width=144),
        records=replace(config.records, height=112, width=144, spacing_mm=3.0),
    )


def test_intervals_of_hazard_ratios_hold_the_planted_ones() -> None:
    found = study_coverage(range(200))
    print(f"coverage of {found['n_seeds']} cohorts: {found['coverage']:.3f} {found['ci95']}")
    assert 0.92 <= found["coverage"] <= 0.97


def test_gradient_boosting_nears_the_bayes_optimal_auc() -> None:
    found = study_planted_factors()
    print(f"n {found['n']}: GBDT on the planted factors {found['auc']:.4f}, Bayes-optimal {found['bayes_auc']:.4f}")
    assert found["gap"] <= 0.02


@pytest.mark.slow
def test_null_cohorts(tmp_path: Path) -> None:
    """Five small cohorts, a wider band: chance in mode honest. `make study-null` holds twenty to .45 and .55."""
    found = study_null(range(5), tmp_path, epochs=3, change=_shrink)
    for row in found["rows"]:
        print(f"null, {row['feature_set']}: honest {row['honest_test_auc']['mean']:.3f}, optimism as published "
              f"{row['paper_optimism']['mean']:.3f} {row['paper_optimism']['ci95']}, cross-fitted "
              f"{row['honest_optimism']['mean']:.3f} {row['honest_optimism']['ci95']}")
        assert 0.4 <= row["honest_test_auc"]["mean"] <= 0.6
        assert row["paper_optimism"]["ci95"][0] > 0
