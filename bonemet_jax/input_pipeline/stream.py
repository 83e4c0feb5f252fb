"""Stream mode: threads read the next batches by position and put them on the devices ahead of need.

Memory stays flat however large the cohort: the batches ahead, the one in use, and an index of the records.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Self

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array

from bonemet_jax import schema
from bonemet_jax.input_pipeline.buffers import BufferPool
from bonemet_jax.input_pipeline.order import EpochPlan
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.input_pipeline.source import Feed, Mode, local_parts, plan_steps, put_parts

#: Batches read ahead of the one in use: one on its way to the device, one being read.
AHEAD = 2
#: Two threads: while one waits for the disk or the device, the other copies.
_THREADS = 2


class StreamSource:
    """A cohort on disk; a feed is a whole batch, each process reading only the rows of its own devices."""

    mode: Mode = "stream"

    def __init__(
        self, records: Records, split: NamedSharding, names: Sequence[str] = schema.CHANNELS, ahead: int = AHEAD
    ) -> None:
        """Args:
        records: The cohort, on disk or in memory.
        split: How a batch lies on the devices.
        names: Which arrays travel.
        ahead: Batches read ahead.
        """
        self.resident: dict[str, Array] = {}
        self._records, self._split, self._names, self._ahead = records, split, tuple(names), ahead
        self._pool = BufferPool()

    def feeds(self, plans: Iterable[EpochPlan]) -> "StreamFeeds":
        """As in Source. Raises, from the iterator: what reading raised, at the batch that it concerns."""
        steps = (partial(self._make_feed, step) for plan in plans for step in plan_steps(plan))
        return StreamFeeds(steps, self._ahead)

    def _make_feed(self, step: dict[str, Any]) -> Feed:
        """Read one batch and put it on this process's devices; returns once it is there."""
        shape = step["index"].shape
        parts = {device: self._read(step, own) for device, own in local_parts(self._split, shape).items()}
        return jax.block_until_ready(put_parts(parts, self._split, shape))

    def _read(self, step: dict[str, Any], own: tuple[slice, ...]) -> dict[str, np.ndarray]:
        """Arrays of this part, in memory that a CPU device may take as it is: the pool knows when it is free."""
        index = step["index"][own]
        stored = self._records.read(index.ravel(), self._names, self._pool.empty)
        return {
            **{name: array.reshape(*index.shape, *array.shape[1:]) for name, array in stored.items()},
            "label": self._records.label[index], "weight": step["weight"][own], "flip": step["flip"][own],
        }


class StreamFeeds:
    """Feeds in their order, made by threads, never more than `ahead` of them before they are taken."""

    def __init__(self, makers: Iterator[Callable[[], Feed]], ahead: int) -> None:
        self._makers, self._ahead = makers, ahead
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="bonemet-input")
        self._coming: deque[Future[Feed]] = deque()
        self._submit()

    def _submit(self) -> None:
        while len(self._coming) < self._ahead and (make := next(self._makers, None)) is not None:
            self._coming.append(self._pool.submit(make))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Feed:
        if not self._coming:
            raise StopIteration
        feed = self._coming.popleft()
        self._submit()
        return feed.result()

    def ready(self) -> bool:
        """As in Feeds."""
        return not self._coming or self._coming[0].done()

    def close(self) -> None:
        """As in Feeds; what is being read is finished first."""
        self._coming.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
