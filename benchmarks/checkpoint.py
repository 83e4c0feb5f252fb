"""The stall that saving in the background puts on training, beside waiting for the save; seconds to restore.

Full size: the state of ResNet101 (511 MB with Adam's moments) and steps of it at 64x80x4, batch 2, 20 a sample. Quick:
`tiny`, 10. Each sample begins with a save as the training makes it; in the background it runs beside the steps and is
waited for at the end, as before the next save.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.harness import Measurement, Options, interleave, ratio_interval, time_once
from benchmarks.training import Training
from bonemet_jax.config import Config, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.state import TrainState

FULL = Config("checkpoint", records=RecordsConfig(height=64, width=80), model=ModelConfig(network="resnet101"),
              train=TrainConfig(batch_size=2))  # fmt: skip
QUICK = replace(FULL, model=ModelConfig(network="tiny"))


def measure(options: Options) -> list[Measurement]:
    """Seconds of the steps with and without a save, the stall over them, of the call to save, and of a restore."""
    config, n_steps, n_rounds = (QUICK, 10, 6) if options.quick else (FULL, 20, 6)
    with tempfile.TemporaryDirectory() as folder:
        saving = Saving(config, n_steps, Path(folder))
        ways: dict[str, Callable[[], None]] = {
            "without": saving.run, "in_background": saving.save_and_run, "waiting": saving.save_wait_run,
        }  # fmt: skip
        timings = interleave(ways, n_rounds)
        restores = [time_once(saving.restore)[0] for _ in range(3)]
        is_equal, n_bytes = saving.is_restored(), saving.count_bytes()
    parameters: dict[str, Any] = {
        "network": config.model.network, "steps": n_steps, "warm_up": 1,
        "state_mb": round(sum(leaf.nbytes for leaf in jax.tree.leaves(saving.state)) / 1e6, 2),
        "file_mb": round(n_bytes / 1e6, 2),
    }  # fmt: skip
    quality = {"restored_equal": float(is_equal)}

    def measurement(metric: str, unit: str, samples: Any, **more: Any) -> Measurement:
        return Measurement("checkpoint", metric, unit, "lower", list(samples), parameters, config, quality, **more)

    base = timings["without"].wall_s
    found = [measurement(f"steps_s_{way}", "s", timing.wall_s) for way, timing in timings.items()]
    for way in ("in_background", "waiting"):
        own = timings[way].wall_s
        found.append(measurement(f"{way}_over_without", "1", own / base, ratio=ratio_interval(own, base),
                                 compared=(f"steps_s_{way}", "steps_s_without")))  # fmt: skip
    calls = np.array(saving.call_s[-n_rounds:])
    return [*found, measurement("save_call_s", "s", calls), measurement("restore_s", "s", restores)]


class Saving:
    """Steps of a training and its saves."""

    def __init__(self, config: Config, n_steps: int, folder: Path) -> None:
        self._engine, self._n_steps = Engine(config), n_steps
        self._training = Training(self._engine, config)
        self._store, self._folder, self._epoch = CheckpointStore(folder / "checkpoints", "benchmark"), folder, 0
        self._saved: TrainState | None = None
        self.call_s: list[float] = []
        """Of every save in the background: seconds until training went on."""

    @property
    def state(self) -> TrainState:
        """The training's."""
        return self._training.state

    def run(self) -> None:
        """The steps alone."""
        for _ in range(self._n_steps):
            self._training.start_step()
        jax.block_until_ready(self.state)

    def save_and_run(self) -> None:
        """A save beside the steps, waited for behind them."""
        self.call_s.append(time_once(self._save)[0])
        self.run()
        self._store.finish()

    def save_wait_run(self) -> None:
        """A save, waited for, then the steps."""
        self._save()
        self._store.finish()
        self.run()

    def restore(self) -> TrainState:
        """The state saved last, on the host."""
        return self._store.restore(self._epoch, self._engine.state_template())

    def is_restored(self) -> bool:
        """Whether it is what was saved, to the bit."""
        pairs = zip(jax.tree.leaves(self.restore()), jax.tree.leaves(self._saved), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)

    def count_bytes(self) -> int:
        """Of the newest save's files."""
        newest = max((self._folder / "checkpoints").iterdir(), key=lambda path: (path.is_dir(), path.stat().st_mtime))
        return sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())

    def _save(self) -> None:
        self._epoch += 1
        (self._saved,) = self._engine.fetch_states(self.state)
        self._store.check_space(self._saved)
        self._store.save(self._epoch, self._saved, None)
