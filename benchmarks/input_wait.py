"""How long a loop waits for its batches: a real training step, and a step that only sums, resident and streamed.

Each loop runs with data loading and, for comparison, on one batch that is there already; a round has one of each.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Measurement, Ratio, Timing, interleave, ratio_interval
from bonemet_jax.config import Config
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import EpochPlan, epoch_batches
from bonemet_jax.input_pipeline.resident import ResidentFeeds
from bonemet_jax.input_pipeline.shards import RecordReader
from bonemet_jax.input_pipeline.source import Feed, Feeds, Mode, Source, take_batch
from bonemet_jax.train.epoch import train_epoch
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import needed_arrays

Run = Callable[[Feeds], float]
"""Every step of a loop, waited for; returns seconds waited for feeds."""

_MODES: tuple[Mode, ...] = ("resident", "stream")
_WARM_UP = 1
#: The floor, goal and stretch of training on one H100 are 700, 950 and 1,150 images/s; the host must keep up.
_GOAL_IMAGES_PER_S = 950


@dataclass(frozen=True)
class WaitSize:
    """How long the loops are."""

    step: Literal["train", "sum"]
    """train: the config's network, forward, backward, update; sum: every stored byte added up, nothing else."""
    batch_size: int
    n_steps: int
    """Steps of one sample."""
    n_rounds: int


class Loop:
    """Steps over one source; `loading` and `idle` each take all of them once."""

    def __init__(self, source: Source, plan: EpochPlan, run: Run) -> None:
        self._source, self._plan, self._run = source, plan, run
        self.wait_s: list[float] = []
        """Of each call of `loading`: seconds that its steps waited for their feeds."""
        with source.feeds([plan]) as feeds:
            self._first = next(feeds)

    def loading(self) -> None:
        """Every step on its own batch; the readers' start is counted too."""
        with self._source.feeds([self._plan]) as feeds:
            self.wait_s.append(self._run(feeds))

    def idle(self) -> None:
        """As many steps on one batch that is there already."""
        self._run(ResidentFeeds(itertools.repeat(self._first)))


def measure_waits(config: Config, size: WaitSize, reader: RecordReader) -> list[Measurement]:
    """Wait as a share of the loop's time, the loop with loading over without, images/s, cores for 950 images/s."""
    config = replace(config, train=replace(config.train, batch_size=size.batch_size))
    loops = {mode: make_loop(config, size, reader, mode) for mode in _MODES}
    calls = {mode: loop.loading for mode, loop in loops.items()}
    calls |= {f"{mode}_idle": loop.idle for mode, loop in loops.items()}
    timings = interleave(calls, size.n_rounds, _WARM_UP)
    return [m for mode in _MODES for m in _describe(config, size, mode, loops[mode], timings)]


def make_loop(config: Config, size: WaitSize, reader: RecordReader, mode: Mode) -> Loop:
    """The loop of one mode, compiled at its first step; epochs follow each other without a gap."""
    engine = Engine(config)
    source = make_source(mode, reader, engine.split, needed_arrays(config))
    n_epochs = -(-size.n_steps * size.batch_size // len(reader))
    plans = [epoch_batches(len(reader), size.batch_size, 0, 0, epoch) for epoch in range(n_epochs)]
    plan = engine.arrange([EpochPlan(*(np.concatenate(parts)[: size.n_steps] for parts in zip(*plans, strict=True)))])
    make_run = run_training if size.step == "train" else run_sums
    return Loop(source, plan, make_run(engine, source, plan, config))


def run_training(engine: Engine, source: Source, plan: EpochPlan, config: Config) -> Run:
    """Updates as training makes them, with the wait that it reports itself."""
    state, hyper = engine.make_state([(0, 0)]), engine.plain_hyper()

    def run(feeds: Feeds) -> float:
        nonlocal state
        done = train_epoch(engine, state, source, feeds, plan, hyper)
        state = jax.block_until_ready(done.state)
        return done.data_wait_s

    return run


def run_sums(engine: Engine, source: Source, plan: EpochPlan, config: Config) -> Run:
    """Every stored value of a batch added up: nearly nothing, so that the input is what is seen."""
    names = needed_arrays(config)

    @jax.jit
    def add(resident: dict[str, jax.Array], feed: Feed) -> jax.Array:
        batch = take_batch(resident, feed)
        return sum((batch[name].sum(dtype=jnp.float32) for name in names), jnp.float32(0))

    def run(feeds: Feeds) -> float:
        wait_s = 0.0
        for _ in range(len(plan.index)):
            began = time.perf_counter()
            feed = next(feeds)
            wait_s += time.perf_counter() - began
            jax.block_until_ready(add(source.resident, feed))
        return wait_s

    return run


def _describe(config: Config, size: WaitSize, mode: Mode, loop: Loop, timings: dict[str, Timing]) -> list[Measurement]:
    loading, idle = timings[mode], timings[f"{mode}_idle"]
    n_images = size.n_steps * size.batch_size
    name = f"{mode}_{config.model.network if size.step == 'train' else 'sum'}"
    parameters = {
        "height": config.records.height, "width": config.records.width, "batch_size": size.batch_size,
        "n_steps": size.n_steps, "page_cache": "warm", "warm_up": _WARM_UP,
    }  # fmt: skip

    def measurement(metric: str, unit: str, better: Any, samples: Any, ratio: Ratio | None = None) -> Measurement:
        return Measurement("input", f"{metric}_{name}", unit, better, samples.tolist(), parameters, config, ratio=ratio)

    found = [
        measurement("wait_share", "1", "lower", np.array(loop.wait_s[_WARM_UP:]) / loading.wall_s),
        measurement("loading_over_idle", "1", "lower", loading.wall_s / idle.wall_s,
                    ratio_interval(loading.wall_s, idle.wall_s)),
        measurement("core_s_loading_over_idle", "1", "lower", loading.cpu_s / idle.cpu_s,
                    ratio_interval(loading.cpu_s, idle.cpu_s)),
        measurement("images_per_s", "images/s", "higher", n_images / loading.wall_s),
    ]  # fmt: skip
    if size.step == "sum":
        cores = _GOAL_IMAGES_PER_S / n_images
        found += [
            measurement(f"cores_for_{_GOAL_IMAGES_PER_S}_images_per_s", "cores", "lower", loading.cpu_s * cores),
            measurement("of_which_the_step_itself", "cores", "lower", idle.cpu_s * cores),
        ]
    return found
