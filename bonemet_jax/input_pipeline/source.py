"""Batches on the devices: one interface, whether the cohort lies there (`resident`) or is read as it comes (`stream`).

Both deal by the same EpochPlan and give the same batches, bit for bit. What a compiled step takes is `resident`, which
never changes, and a feed, which does; `take_batch` makes the batch of the two.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array

from bonemet_jax.input_pipeline.order import EpochPlan

Mode = Literal["resident", "stream"]
Feed = dict[str, Array]
"""One step: weight, flip and, resident, index; streamed, the batch's stored arrays and label."""
Batch = dict[str, Array]


class Feeds(Iterator[Feed], Protocol):
    """The steps of several plans, one after another. To be closed: streamed, threads read ahead."""

    def ready(self) -> bool:
        """Whether the next feed is there already, so that taking it blocks nobody."""
        ...

    def close(self) -> None:
        """Stop reading; no thread is left."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class Source(Protocol):
    """Where batches come from."""

    mode: Mode
    resident: dict[str, Array]
    """Arrays that stay on the devices; none when streaming."""

    def feeds(self, plans: Iterable[EpochPlan]) -> Feeds:
        """Feeds of every step of these plans, whose indices are positions in the records.

        Plans are asked for when they are needed: an endless iterable will do, and reading ahead knows no epochs.
        """
        ...


def take_batch(resident: dict[str, Array], feed: Feed) -> Batch:
    """One batch: stored arrays and label of each example, weight and flip as given.

    Pure, for use in jit. Indices must lie in 0..n-1 (`order` sees to it): nothing is checked in the compiled step.
    """
    stored = {name: jnp.take(array, feed["index"], axis=0, mode="clip") for name, array in resident.items()}
    return stored | {name: value for name, value in feed.items() if name != "index"}


def local_parts(
    sharding: NamedSharding, shape: tuple[int, ...], devices: Collection[jax.Device] | None = None
) -> dict[jax.Device, tuple[slice, ...]]:
    """Part of a batch that each of these devices holds; of this process's devices when None.

    The mesh alone decides: however many hosts there are, each reads its part of the same batch.

    Args:
        sharding: Of the batch.
        shape: The batch's axes, as a plan has them behind the step's.
        devices: Which devices to tell of.
    """
    indices = sharding.devices_indices_map(shape)
    own = sharding.addressable_devices if devices is None else devices
    return {
        device: tuple(slice(*part.indices(n)) for part, n in zip(indices[device], shape, strict=True))
        for device in indices if device in own
    }


def put_parts(
    parts: Mapping[jax.Device, dict[str, np.ndarray]], sharding: NamedSharding, shape: tuple[int, ...]
) -> dict[str, Array]:
    """Arrays that lie on this process's devices as `sharding` says; every copy is asked for, none is implied.

    Args:
        parts: Each device's arrays, cut as `local_parts` says.
        sharding: Of the whole arrays.
        shape: First axes of the whole arrays, on all hosts.
    """
    placed = [jax.device_put(part, device) for device, part in parts.items()]

    def join(pieces: list[Array]) -> Array:
        whole = (*shape, *pieces[0].shape[len(shape) :])
        return jax.make_array_from_single_device_arrays(whole, sharding, pieces)

    return {name: join([part[name] for part in placed]) for name in placed[0]}


def plan_steps(plan: EpochPlan) -> list[dict[str, Any]]:
    """A plan's steps: index, weight and flip of each."""
    return [dict(zip(plan._fields, step, strict=True)) for step in zip(*plan, strict=True)]
