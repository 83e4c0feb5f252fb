"""Training on random records held on the device, one batch again and again: what several benchmarks time."""

from collections.abc import Sequence
from typing import Any

import jax

from bonemet_jax.config import Config
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import epoch_batches
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import StepMetrics, needed_arrays


class Training:
    """Folds side by side as the engine has them, in the middle of a training."""

    def __init__(self, engine: Engine, config: Config, folds: Sequence[int] = (0,)) -> None:
        batch_size = config.train.batch_size
        records = make_random_records(batch_size, config.records.height, config.records.width)
        source = make_source("resident", records, engine.split, needed_arrays(config))
        plans = engine.arrange([epoch_batches(batch_size, batch_size, 0, fold, 1) for fold in folds])
        self.engine, self._batch_size = engine, batch_size
        self.state = engine.make_state([(0, fold) for fold in folds])
        self._rest = source.resident, next(source.feeds([plans])), engine.plain_hyper()

    def compile(self) -> Any:
        """The step's program."""
        return self.engine.train.compile(self.state, *self._rest)

    def start_step(self) -> StepMetrics:
        """Call the step; the device goes on when this returns."""
        self.state, metrics = self.engine.train(self.state, *self._rest)
        return metrics

    def step(self) -> float:
        """One step, waited for; the mean loss of the first fold's batch."""
        metrics = self.start_step()
        jax.block_until_ready((self.state, metrics))
        return float(metrics.loss_sum[0]) / self._batch_size
