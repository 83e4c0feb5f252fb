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
    n_steps: int
    """Updates made: the last of those that `metrics` holds."""
    data_wait_s: float


class EpochSums(NamedTuple):
    """StepMetrics of every step of an epoch, on the host, less the examples' flags."""

    loss_sum: Float[np.ndarray, "step member"]
    n: Float[np.ndarray, "step member"]
    sound: Bool[np.ndarray, "step member"]


def train_epoch(
    engine: Engine, state: TrainState, source: Source, feeds: Feeds, plan: EpochPlan, hyper: Hyper,
    tracer: Tracer | None = None, watchdog: Watchdog | None = None, first: int = 0,
    is_asked: Callable[[], bool] = lambda: False,
) -> TrainedEpoch:
    """One epoch of updates: as one program where the engine scans this source, else step by step.

    Args:
        feeds: At step `first` of `plan`; not touched where the engine scans.
        plan: As the engine arranges it.
        tracer: Told of every step.
        watchdog: Likewise.
        first: Updates of this epoch that `state` has behind it.
        is_asked: Whether to stop early; asked before each step.
    """
    tracer, watchdog, n_steps = tracer or Tracer(), watchdog or Watchdog(), len(plan.index) - first
    if engine.scans(source) and isinstance(source, ResidentSource):
        if n_steps == 0 or is_asked():
            return TrainedEpoch(state, [], 0, 0.0)
        watchdog.begin_step("scan", 1)
        with tracer.step(state, n_steps):
            state, metrics = engine.train_epoch(state, source.resident, source.stack(_blank(plan, first)), hyper)
        tracer.after(state)
        jax.block_until_ready(metrics)
        watchdog.beat()
        return TrainedEpoch(state, [metrics], n_steps, 0.0)

    def step(feed: Feed) -> StepMetrics:
        nonlocal state
        with tracer.step(state):
            state, metrics = engine.train(state, source.resident, feed, hyper)
        tracer.after(state)
        return metrics

    metrics, data_wait_s = _run_steps(step, feeds, n_steps, watchdog, "training", is_asked)
    return TrainedEpoch(state, metrics, len(metrics), data_wait_s)


def evaluate(
    engine: Engine, variables: Any, source: Source, feeds: Feeds, n_steps: int, hyper: Hyper,
    watchdog: Watchdog | None = None, is_asked: Callable[[], bool] = lambda: False,
) -> tuple[list[Evaluation], float]:
    """Evaluations of the next steps, on the devices, and seconds that these waited for data.

    Fewer where `is_asked` said, before a step, to stop early.
    """

    def step(feed: Feed) -> Evaluation:
        return engine.evaluate(variables, source.resident, feed, hyper)

    return _run_steps(step, feeds, n_steps, watchdog or Watchdog(), "evaluation", is_asked)


def fetch_sums(metrics: Sequence[StepMetrics]) -> EpochSums:
    """All steps' sums on the host."""
    parts = hosts.fetch([(m.loss_sum, m.n, m.sound) for m in metrics])
    return EpochSums(*(np.concatenate([np.atleast_2d(part) for part in column]) for column in zip(*parts, strict=True)))


def add_sums(before: EpochSums, trained: TrainedEpoch) -> EpochSums:
    """Sums of the updates made `before` and of those made now, on the host."""
    if not trained.metrics:
        return before
    now = fetch_sums(trained.metrics)
    return EpochSums(*(np.concatenate([old, new[-trained.n_steps :]]) for old, new in zip(before, now, strict=True)))


def _blank(plan: EpochPlan, first: int) -> EpochPlan:
    """The plan with steps of no weight, which change nothing, before step `first`: it keeps its shape."""
    weight = plan.weight.copy()
    weight[:first] = 0
    return plan._replace(weight=weight)


def _run_steps(
    step: Callable[[Feed], Any], feeds: Feeds, n_steps: int, watchdog: Watchdog, kind: str,
    is_asked: Callable[[], bool],
) -> tuple[list[Any], float]:
    """Call `step` on the next feeds; results, and seconds with nothing to compute and no data."""
    results: list[Any] = []
    data_wait_s = 0.0
    for number in range(1, n_steps + 1):
        if is_asked():
            break
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
    if results:
        watchdog.beat()
    return results, data_wait_s
