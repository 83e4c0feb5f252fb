"""Which example comes when, and how it is flipped: pure functions of their arguments, the same on every host."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32


class EpochPlan(NamedTuple):
    """Every batch of one epoch. A tuple, so that `lax.scan` can walk its first axis.

    Between step and batch there may be more axes, as the devices want it: one for the members of a program.
    """

    index: Int32[np.ndarray, "step ... batch"]
    """Position 0..n-1 of each example; 0 where the weight is 0."""
    weight: Float32[np.ndarray, "step ... batch"]
    """1 for an example, 0 for padding."""
    flip: Bool[np.ndarray, "step ... batch 2"]
    """(vertical, horizontal) flip of each example."""


def epoch_batches(n: int, batch_size: int, seed: int, fold: int, epoch: int) -> EpochPlan:
    """Random order and flips of one training epoch (row E1).

    Every example comes once; the last batch is padded with weight 0, never dropped (docs/paper.md). Its examples are
    dealt evenly over the batch, so that each of several devices has its share of them.

    Args:
        n: Examples to deal; `index` counts them, the caller maps it to patients.
        batch_size: Global batch size, examples.
        seed, fold, epoch: Together they name the random stream; equal names give equal plans.

    Raises: ValueError when n or batch_size is below 1.
    """
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, fold, epoch])))
    order = random.permutation(n)
    flip = random.random((n, 2)) < 0.5
    return _spread_last(_deal(order, flip, batch_size))


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


def join_plans(plans: Sequence[EpochPlan], n_steps: int = 0) -> EpochPlan:
    """Plans of several members side by side, on a new axis behind the step's; short ones get steps of weight 0.

    Args:
        n_steps: At least so many steps.
    """
    n_steps = max(n_steps, *(len(plan.index) for plan in plans))

    def join(parts: Sequence[np.ndarray]) -> np.ndarray:
        padded = [np.pad(part, [(0, n_steps - len(part))] + [(0, 0)] * (part.ndim - 1)) for part in parts]
        return np.stack(padded, axis=1)

    return EpochPlan(*(join(parts) for parts in zip(*plans, strict=True)))


def _spread_last(plan: EpochPlan) -> EpochPlan:
    """The last batch's n examples at places 0, b / n, 2 b / n, ... of its b; all others keep theirs."""
    batch_size, n = plan.index.shape[1], int(plan.weight[-1].sum())
    source = np.arange(batch_size)
    places = np.arange(n) * batch_size // n
    target = np.concatenate([places, np.setdiff1d(source, places)])
    for field in plan:
        field[-1][target] = field[-1].copy()
    return plan


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
