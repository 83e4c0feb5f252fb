"""Which example comes when, and how it is flipped: pure functions of their arguments, the same on every host."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32


class EpochPlan(NamedTuple):
    """Every batch of one epoch. A tuple, so that `lax.scan` can walk its first axis."""

    index: Int32[np.ndarray, "step batch"]
    """Position 0..n-1 of each example; 0 where the weight is 0."""
    weight: Float32[np.ndarray, "step batch"]
    """1 for an example, 0 for padding of the last batch."""
    flip: Bool[np.ndarray, "step batch 2"]
    """(vertical, horizontal) flip of each example."""


def epoch_batches(n: int, batch_size: int, seed: int, fold: int, epoch: int) -> EpochPlan:
    """Random order and flips of one training epoch (row E1).

    Every example comes once; the last batch is padded with weight 0, never dropped (docs/paper.md).

    Args:
        n: Examples to deal; `index` counts them, the caller maps it to patients.
        batch_size: Global batch size, examples.
        seed, fold, epoch: Together they name the random stream; equal names give equal plans.

    Raises: ValueError when n or batch_size is below 1.
    """
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, fold, epoch])))
    order = random.permutation(n)
    flip = random.random((n, 2)) < 0.5
    return _deal(order, flip, batch_size)


def eval_batches(n: int, batch_size: int) -> EpochPlan:
    """Every example once, in order, without flips; the last batch padded with weight 0.

    Raises: ValueError when n or batch_size is below 1.
    """
    return _deal(np.arange(n), np.zeros((n, 2), bool), batch_size)


def place_plan(plan: EpochPlan, rows: Int32[np.ndarray, " n"]) -> EpochPlan:
    """The plan of a split's examples as one of the whole cohort: its indices become the examples' positions there.

    Args:
        plan: Counts the examples of one split.
        rows: Position in the records of each of them.
    """
    return plan._replace(index=np.asarray(rows, np.int32)[plan.index])


def _deal(order: np.ndarray, flip: np.ndarray, batch_size: int) -> EpochPlan:
    n = len(order)
    if n < 1 or batch_size < 1:
        raise ValueError(f"n = {n} examples in batches of {batch_size}: both must be at least 1")
    steps = -(-n // batch_size)
    padding = steps * batch_size - n

    def batched(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, [(0, padding)] + [(0, 0)] * (values.ndim - 1))
        return padded.reshape(steps, batch_size, *values.shape[1:])

    return EpochPlan(batched(order.astype(np.int32)), batched(np.ones(n, np.float32)), batched(flip))
