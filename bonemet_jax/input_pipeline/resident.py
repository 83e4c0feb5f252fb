"""Resident mode: the whole cohort lies on every device as stored; batches are gathered inside the compiled step."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from bonemet_jax import hosts, schema
from bonemet_jax.input_pipeline.order import EpochPlan
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.input_pipeline.source import Feed, Mode, local_parts, plan_steps, put_parts


def put_resident(
    records: Records, sharding: jax.sharding.Sharding | None = None, names: Sequence[str] = schema.CHANNELS
) -> dict[str, Array]:
    """Copy the stored arrays to the device once, about 1 MB a patient at 400x500.

    Args:
        records: The cohort.
        sharding: Where to; the default device when None.
        names: Which arrays.

    Returns: these and label with the patient on the first axis, in the records' order.
    """
    stored = {**records.read(range(len(records)), names), "label": records.label}
    return jax.device_put(stored) if sharding is None else hosts.put(stored, sharding)


class ResidentSource:
    """A cohort on the devices; a feed is which patients, which weights, which flips."""

    mode: Mode = "resident"

    def __init__(self, resident: dict[str, Array], split: NamedSharding) -> None:
        """`resident` from `put_resident`; `split`: how a batch lies on the devices."""
        self.resident = resident
        self._split = split

    def feeds(self, plans: Iterable[EpochPlan]) -> "ResidentFeeds":
        """As in Source."""
        return ResidentFeeds(self._put(step) for plan in plans for step in plan_steps(plan))

    def _put(self, step: dict[str, np.ndarray]) -> Feed:
        shape = step["index"].shape
        parts = {
            device: {name: value[own] for name, value in step.items()}
            for device, own in local_parts(self._split, shape).items()
        }
        return put_parts(parts, self._split, shape)

    def stack(self, plan: EpochPlan) -> Feed:
        """All steps of a plan in one feed, the step on the first axis, for `lax.scan`."""
        stacked = NamedSharding(self._split.mesh, PartitionSpec(None, *self._split.spec))
        shape = plan.index.shape
        parts = {
            device: {name: value[own] for name, value in plan._asdict().items()}
            for device, own in local_parts(stacked, shape).items()
        }
        return put_parts(parts, stacked, shape)


class ResidentFeeds:
    """Feeds that are made when they are taken: a few hundred bytes each."""

    def __init__(self, feeds: Iterator[Feed]) -> None:
        self._feeds = feeds

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Feed:
        return next(self._feeds)

    def ready(self) -> bool:
        """As in Feeds."""
        return True

    def close(self) -> None:
        """As in Feeds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

