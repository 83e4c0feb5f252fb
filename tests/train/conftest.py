"""The small training as fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.process_state import process_control
from bonemet_jax.train.loop import train_folds
from tests.train.small import CONFIG, make_small_folds, make_small_records


@pytest.fixture(scope="session")
def config() -> Config:
    """Four epochs; batches of 4 over 10 training patients, so the last one is padded."""
    return CONFIG


@pytest.fixture(scope="session")
def records() -> RecordArrays:
    """24 patients of noise."""
    return make_small_records()


@pytest.fixture(scope="session")
def folds(records: RecordArrays) -> Folds:
    """Two folds."""
    return make_small_folds(records)


@pytest.fixture
def own_process() -> Iterator[None]:
    """Trainings may handle the signals of this process, as under the command line."""
    with process_control():
        yield


@pytest.fixture(scope="session")
def trained(records: RecordArrays, folds: Folds, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory whose fold 0 was trained without interruption; not to be changed."""
    run_dir = tmp_path_factory.mktemp("trained")
    train_folds(records, folds, config, run_dir, (0,))
    return run_dir
