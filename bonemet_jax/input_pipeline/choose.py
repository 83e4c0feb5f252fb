"""Which source a cohort is read through: resident where it fits, else streamed; as the config says where it says."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

from bonemet_jax.config import InputConfig
from bonemet_jax.host_memory import find_host_memory
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.input_pipeline.resident import ResidentSource, put_resident
from bonemet_jax.input_pipeline.source import Mode, Source
from bonemet_jax.input_pipeline.stream import StreamSource

#: Share of a device's memory that the cohort may take; the rest is for weights, activations and the compiler.
RESIDENT_SHARE = 0.25


class Choice(NamedTuple):
    """A mode and, for the person watching, why."""

    mode: Mode
    reason: str


def pick_mode(config: InputConfig, n: int, bytes_per_patient: int, device: jax.Device) -> Choice:
    """The mode that the config names; auto: resident where the cohort takes RESIDENT_SHARE of the device or less.

    Args:
        config: What was asked for.
        n: Patients.
        bytes_per_patient: Of the arrays that the network needs.
        device: One of the devices, all alike; each holds the whole cohort.
    """
    cohort, room = n * bytes_per_patient, RESIDENT_SHARE * _memory_bytes(device)
    mode: Mode = config.mode if config.mode != "auto" else "resident" if cohort <= room else "stream"
    asked = "as asked" if config.mode != "auto" else f"up to {room / 1e9:.2f} GB stay on a device"
    return Choice(mode, f"{mode}: {n} patients, {cohort / 1e9:.2f} GB; {asked}")


def _memory_bytes(device: jax.Device) -> float:
    """What the device may use; of the host's memory its share where it has none of its own."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return find_host_memory().usable / jax.local_device_count()


def make_source(mode: Mode, records: Records, split: NamedSharding, names: Sequence[str]) -> Source:
    """Batches of these arrays of the records; resident, the whole cohort is copied to every device of the mesh now.

    Args:
        mode: From `pick_mode`.
        records: The cohort.
        split: How a batch lies on the devices.
        names: Arrays that the network's channels are made of.
    """
    if mode == "stream":
        return StreamSource(records, split, names)
    return ResidentSource(put_resident(records, NamedSharding(split.mesh, PartitionSpec()), names), split)


class SourceKeeper:
    """Sources for fold after fold: a resident cohort is read and put on the devices once, and let go for the next."""

    def __init__(self) -> None:
        self._key: tuple[str, NamedSharding, tuple[str, ...]] | None = None
        self._kept: Source | None = None

    def get(self, mode: Mode, records: Records, split: NamedSharding, names: Sequence[str]) -> Source:
        """As `make_source`; the cohort kept is named by its digest, its devices and its arrays."""
        key = (records.sha256, split, tuple(names))
        if mode == "resident" and self._kept is not None and self._key == key:
            return self._kept
        self._key = self._kept = None  # before the next is read: two cohorts never lie on the devices at once
        source = make_source(mode, records, split, names)
        if mode == "resident":  # a stream is bound to its folder, which may be gone by the next call
            self._key, self._kept = key, source
        return source
