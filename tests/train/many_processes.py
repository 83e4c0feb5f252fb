"""Run by test_many_hosts, one process of several: trains two small folds in float64 and leaves what came of it."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bonemet_jax import artifacts, hosts
from bonemet_jax.cohort.folds import Folds, make_folds
from bonemet_jax.config import Config, FoldsConfig, ModelConfig, OptimConfig, RecordsConfig, TrainConfig
from bonemet_jax.errors import Terminated
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.process_state import process_control
from bonemet_jax.readout.embeddings import embed, load_state
from bonemet_jax.telemetry.compile_cache import COMPILE_CACHE
from bonemet_jax.train import watchdog
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.loop import get_fed_engine, train_folds

BASE = Config(
    "many", records=RecordsConfig(height=64, width=80), folds=FoldsConfig(n_folds=2),
    model=ModelConfig(network="tiny", compute_dtype="float64"), optim=OptimConfig(lr=1e-3),
    train=TrainConfig(epochs=2, batch_size=4),
)  # fmt: skip


def make_data() -> tuple[RecordArrays, Folds]:
    """24 patients of noise in two folds."""
    records = make_random_records(24, 64, 80, seed=0)
    return records, make_folds(records.patient_id, records.label.tolist(), BASE.folds)


def make_config(mode: str, parallel: str, folds: str, epochs: int = 2) -> Config:
    """The small config, read, spread and dealt in one of the ways."""
    config = replace(BASE, train=replace(BASE.train, epochs=epochs))
    return replace(
        config, input=replace(config.input, mode=mode),  # type: ignore[arg-type]
        engine=replace(config.engine, parallel=parallel, folds=folds),  # type: ignore[arg-type]
    )


def train(config: Config, run_dir: Path) -> None:
    """Train both folds; weights and embeddings into arrays.npz."""
    records, folds = make_data()
    train_folds(records, folds, config, run_dir)
    n = 2 if config.engine.folds == "mesh" and len(jax.devices()) > 1 else 1
    found = [embed(records, config, run_dir, wave) for wave in ([(0, 1)] if n == 2 else [(0,), (1,)])]
    template = get_fed_engine(records, config, n).engine.state_template()
    weights: dict[str, Any] = {}
    for fold in (0, 1):
        state = load_state(config, run_dir, fold, template)
        weights |= {f"{fold}{jax.tree_util.keystr(path)}": leaf for path, leaf in jax.tree.leaves_with_path(state)}
    arrays = {**weights, "embedding": np.concatenate([rows for rows, _ in found])}
    hosts.once(lambda: artifacts.save_npz(run_dir / "arrays.npz", arrays))


@contextlib.contextmanager
def dying(how: str, n_begun: int) -> Iterator[None]:
    """Do this to the process at its step of that number: KILL, STOP, TERM, raise; nothing for `live`."""
    real = watchdog.Watchdog.begin_step

    def begin_step(self: watchdog.Watchdog, kind: str, number: int) -> None:
        real(self, kind, number)
        if self._n_begun == n_begun:
            print(f"{how} at {self._label}", flush=True)
            if how == "raise":
                raise OSError(5, "the disk of this test", "somewhere")
            os.kill(os.getpid(), getattr(signal, f"SIG{how}"))

    watchdog.Watchdog.begin_step = real if how == "live" else begin_step  # type: ignore[method-assign]
    try:
        yield
    finally:
        watchdog.Watchdog.begin_step = real  # type: ignore[method-assign]


def main(spec: str, run_dir: str, ways: str, epochs: str = "2", how: str = "live", n_begun: str = "0") -> None:
    """Args: --distributed, folder, ways as resident/jit/sequential joined by commas, epochs, how and when to die."""
    with process_control(), COMPILE_CACHE, hosts.joined(spec, 60), jax.enable_x64(True), dying(how, int(n_begun)):
        for way in ways.split(","):
            train(make_config(*way.split("/"), epochs=int(epochs)), Path(run_dir) / way.replace("/", "_"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Terminated as error:
        print(f"bonemet: {error}", flush=True)
        sys.exit(error.exit_code)
