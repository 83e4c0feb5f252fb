"""A cohort small enough to train in a second once compiled; every test shares one config, so one compilation."""

from pathlib import Path

import pytest

from bonemet_jax.cohort.folds import Folds, make_folds
from bonemet_jax.config import Config, FoldsConfig, ModelConfig, OptimConfig, RecordsConfig, TrainConfig
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.loop import train_folds


@pytest.fixture(scope="session")
def config() -> Config:
    """Four epochs; batches of 4 over 10 training patients, so the last one is padded."""
    return Config(
        name="small",
        records=RecordsConfig(height=64, width=80),
        folds=FoldsConfig(n_folds=2),
        model=ModelConfig(network="tiny"),
        optim=OptimConfig(lr=1e-3),
        train=TrainConfig(epochs=4, batch_size=4, class_weight="balanced"),
    )


@pytest.fixture(scope="session")
def records() -> RecordArrays:
    """24 patients of noise."""
    return make_random_records(24, 64, 80, seed=0)


@pytest.fixture(scope="session")
def folds(records: RecordArrays, config: Config) -> Folds:
    """Two folds."""
    return make_folds(records.patient_id, records.label.tolist(), config.folds)


@pytest.fixture(scope="session")
def trained(records: RecordArrays, folds: Folds, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory whose fold 0 was trained without interruption; not to be changed."""
    run_dir = tmp_path_factory.mktemp("trained")
    train_folds(records, folds, config, run_dir, (0,))
    return run_dir
