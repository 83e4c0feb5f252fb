"""A small run that fusion can read: synthetic rows, folds, and embeddings that carry the planted factor."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import make_folds, save_folds
from bonemet_jax.cohort.table import load_cohort
from bonemet_jax.config import FoldsConfig, PhantomConfig
from data_pipelines.phantom.tabular import make_table

N, N_FEATURES, N_FOLDS = 180, 4, 3


@dataclass(frozen=True)
class SmallRun:
    """A run directory before `fuse`, and what was put there."""

    run: Path
    cohort: Path
    table: pd.DataFrame
    embedding: np.ndarray
    """(fold, patient, feature), patients in the table's order."""

    def write(self, table: pd.DataFrame, embedding: np.ndarray) -> None:
        """Replace the table and the embeddings, same patients in the same order."""
        artifacts.save_table(self.cohort / "cohort.parquet", table)
        artifacts.save_npz(self.run / "embeddings.npz",
                           {"patient_id": table[schema.PATIENT_ID].to_numpy(str), "embedding": embedding})


def make_small_run(root: Path) -> SmallRun:
    drawn, factor = make_table(PhantomConfig(n=N, seed=3))
    root.mkdir(exist_ok=True)
    artifacts.save_table(root / "cohort.parquet", drawn)
    table = load_cohort(root / "cohort.parquet")
    by_id = dict(zip(drawn[schema.PATIENT_ID], (factor - factor.mean()) / factor.std(), strict=True))
    signal = np.array([by_id[patient] for patient in table[schema.PATIENT_ID]])
    noise = np.random.default_rng(0).normal(size=(N_FOLDS, N, N_FEATURES))
    small = SmallRun(root, root, table, (noise + signal[None, :, None]).astype(np.float32))
    small.write(table, small.embedding)
    folds = make_folds(table[schema.PATIENT_ID].tolist(), table[schema.LABEL].tolist(), FoldsConfig(n_folds=N_FOLDS))
    save_folds(root / "folds.json", folds)
    return small


@pytest.fixture
def small_run(tmp_path: Path) -> SmallRun:
    return make_small_run(tmp_path / "run")
