"""A trained run for every test of what a trained network says."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.readout.embeddings import compute_embeddings
from bonemet_jax.train.loop import train_folds
from tests.train.small import CONFIG, make_small_folds, make_small_records


@pytest.fixture(scope="session")
def records() -> RecordArrays:
    """24 patients of noise."""
    return make_small_records()


@pytest.fixture(scope="session")
def run_dir(records: RecordArrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both folds of the small config trained and embedded; not to be changed.

    One for all workers of pytest-xdist: the first that needs it trains, the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = base / "small_run"
    with FileLock(base / "small_run.lock"):
        if not path.exists():
            built = tmp_path_factory.mktemp("run")
            train_folds(records, make_small_folds(records), CONFIG, built)
            compute_embeddings(records, CONFIG, built, CONFIG.folds.n_folds)
            built.rename(path)
    return path
