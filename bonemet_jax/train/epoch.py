"""One pass over a plan: feeds to programs, never far ahead of the devices, and how long these stood still for data."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from bonemet_jax import hosts
from bonemet_jax.input_pipeline.order import EpochPlan
from bonemet_jax.input_pipeline.resident import ResidentSource
from bonemet_jax.input_pipeline.source import Feed, Feeds, Source
from bonemet_jax.telemetry.trace import Tracer
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.state import TrainState
from bonemet_jax.train.step import Evaluation, Hyper, StepMetrics
from bonemet_jax.train.watchdog import Watchdog

#: Steps handed to the devices and not finished: each keeps its batch in their memory.
_IN_FLIGHT = 2


class TrainedEpoch(NamedTuple):
    """After one epoch; everything is still on the devices."""

    state: TrainState
    metrics: list[StepMetrics]
    """Of a step each, or of all steps, stacked."""
    data_wait_s: float


class EpochSums(NamedTuple):
    """StepMetrics of every step of an epoch, on the host, less the examples' flags."""

    loss_sum: Float[np.ndarray, "step member"]
    n: Float[np.ndarray, "step member"]
    sound: Bool[np.ndarray, "step member"]


def train_epoch(
    engine: Engine, state: TrainState, source: Source, feeds: Feeds, plan: EpochPlan, hyper: Hyper,
    tracer: Tracer | None = None, watchdog: Watchdog | None = None,
) -> TrainedEpoch:
    """One epoch of updates: as one program where the engine scans this source, else step by step.

    Args:
        feeds: At the first step of `plan`; not touched where the engine scans.
        plan: As the engine arranges it.
        tracer: Told of every step.
        watchdog: Likewise.
    """
    tracer, watchdog = tracer or Tracer(), watchdog or Watchdog()
    if engine.scans(source) and isinstance(source, ResidentSource):
        watchdog.begin_step("scan", 1)
        with tracer.step(state, len(plan.index)):
            state, metrics = engine.train_epoch(state, source.resident, source.stack(plan), hyper)
        tracer.after(state)
        jax.block_until_ready(metrics)
        watchdog.beat()
        return TrainedEpoch(state, [metrics], 0.0)

    def step(feed: Feed) -> StepMetrics:
        nonlocal state
        with tracer.step(state):
            state, metrics = engine.train(state, source.resident, feed, hyper)
        tracer.after(state)
        return metrics

    metrics, data_wait_s = _run_steps(step, feeds, len(plan.index), watchdog, "training")
    return TrainedEpoch(state, metrics, data_wait_s)


def evaluate(
    engine: Engine, variables: Any, source: Source, feeds: Feeds, n_steps: int, hyper: Hyper,
    watchdog: Watchdog | None = None,
) -> tuple[list[Evaluation], float]:
    """Evaluations of the next steps, on the devices, and seconds that these waited for data."""

    def step(feed: Feed) -> Evaluation:
        return engine.evaluate(variables, source.resident, feed, hyper)

    return _run_steps(step, feeds, n_steps, watchdog or Watchdog(), "evaluation")


def fetch_sums(metrics: Sequence[StepMetrics]) -> EpochSums:
    """All steps' sums on the host."""
    parts = hosts.fetch([(m.loss_sum, m.n, m.sound) for m in metrics])
    return EpochSums(*(np.concatenate([np.atleast_2d(part) for part in column]) for column in zip(*parts, strict=True)))


def _run_steps(
    step: Callable[[Feed], Any], feeds: Feeds, n_steps: int, watchdog: Watchdog, kind: str
) -> tuple[list[Any], float]:
    """Call `step` on the next feeds; results, and seconds with nothing to compute and no data."""
    results: list[Any] = []
    data_wait_s = 0.0
    for number in range(1, n_steps + 1):
        if not feeds.ready():
            jax.block_until_ready(results[-1:])
            began = time.perf_counter()
            feed = next(feeds)
            data_wait_s += time.perf_counter() - began
        else:
            feed = next(feeds)
        watchdog.begin_step(kind, number)
        results.append(step(feed))
        jax.block_until_ready(results[-_IN_FLIGHT:-1])
        if number > 1:
            watchdog.beat()
    jax.block_until_ready(results[-1:])
    watchdog.beat()
    return results, data_wait_s
