"""A training small enough for a second once compiled; all who take it share one config, so a process compiles once."""

from bonemet_jax.cohort.folds import Folds, make_folds
from bonemet_jax.config import Config, FoldsConfig, ModelConfig, OptimConfig, RecordsConfig, TrainConfig
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.train.dry_run import make_random_records

#: Four epochs; batches of 4 over 10 training patients, so the last one is padded.
CONFIG = Config(
    name="small",
    records=RecordsConfig(height=64, width=80),
    folds=FoldsConfig(n_folds=2),
    model=ModelConfig(network="tiny"),
    optim=OptimConfig(lr=1e-3),
    train=TrainConfig(epochs=4, batch_size=4, class_weight="balanced"),
)


def make_small_records() -> RecordArrays:
    """24 patients of noise."""
    return make_random_records(24, 64, 80, seed=0)


def make_small_folds(records: RecordArrays) -> Folds:
    """Two folds."""
    return make_folds(records.patient_id, records.label.tolist(), CONFIG.folds)
