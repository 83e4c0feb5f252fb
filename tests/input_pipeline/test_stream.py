"""Streamed batches: read ahead but never far, errors come out, no thread stays; the same bits on any devices."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bonemet_jax import schema
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.buffers import aligned_empty
from bonemet_jax.input_pipeline.order import EpochPlan, epoch_batches, eval_batches
from bonemet_jax.input_pipeline.stream import AHEAD, StreamSource


class CountingRecords:
    """Records of which nothing exists: counts what is read, and fails at one position."""

    def __init__(self, n: int, fails_at: int | None = None, gate: threading.Event | None = None) -> None:
        self.patient_id, self.label = tuple(f"p{i}" for i in range(n)), np.arange(n, dtype=np.int32)
        self.image_shape, self.sha256 = (4, 5), ""
        self.fails_at, self.gate = fails_at, gate
        self.read_positions: list[int] = []
        self.threads: set[str] = set()
        self.places: set[int] = set()

    def __len__(self) -> int:
        return len(self.patient_id)

    def bytes_per_patient(self, names: Any) -> int:
        return 20 * len(names)

    def read(
        self, positions: Any, names: Any = schema.CHANNELS, allocate: Any = aligned_empty
    ) -> dict[str, np.ndarray]:
        if self.gate is not None:
            assert self.gate.wait(30)
        if self.fails_at in positions:
            raise CorruptFileError("shard became shorter while it was read", "shard 3")
        self.read_positions += list(positions)
        self.threads.add(threading.current_thread().name)
        found = {name: allocate((len(positions), 4, 5), np.int32) for name in names}
        for array in found.values():
            array[:] = np.asarray(positions)[:, None, None]
            self.places.add(array.ctypes.data)
        return found


@pytest.fixture
def split() -> NamedSharding:
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    return NamedSharding(mesh, PartitionSpec("data"))


def _input_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("bonemet-input")]


def _endless(n: int, batch_size: int) -> Iterator[EpochPlan]:
    epoch = 0
    while True:
        epoch += 1
        yield epoch_batches(n, batch_size, 0, 0, epoch)


def test_reads_no_more_than_the_batches_in_flight(split: NamedSharding) -> None:
    """Of an endless row of epochs."""
    records = CountingRecords(10)
    with StreamSource(records, split, ("ct",)).feeds(_endless(10, 4)) as feeds:
        for taken in range(1, 20):
            next(feeds)
            assert len(records.read_positions) <= (taken + AHEAD) * 4
    assert len(records.read_positions) >= 19 * 4
    assert len(records.threads) <= 2 and not _input_threads()


def test_batches_are_those_of_the_plans_in_their_order(split: NamedSharding) -> None:
    plans = [epoch_batches(10, 4, 0, 0, 1), eval_batches(6, 4)]
    with StreamSource(CountingRecords(10), split, ("ct", "mask")).feeds(plans) as feeds:
        found = list(feeds)
    steps = [step for plan in plans for step in zip(*plan, strict=True)]
    assert len(found) == len(steps) == 5
    for feed, (index, weight, flip) in zip(found, steps, strict=True):
        assert set(feed) == {"ct", "mask", "label", "weight", "flip"}
        assert np.array_equal(feed["label"], index) and np.array_equal(feed["mask"][:, 3, 4], index)
        assert np.array_equal(feed["weight"], weight) and np.array_equal(feed["flip"], flip)
        assert all(array.sharding == split for array in feed.values())


def test_memory_is_used_again_and_kept_batches_keep_their_content(split: NamedSharding) -> None:
    records, kept = CountingRecords(400), []
    with StreamSource(records, split, ("ct",)).feeds([eval_batches(400, 4)]) as feeds:
        for step, feed in enumerate(feeds):
            kept += [feed] if step % 10 == 0 else []
    assert len(kept) == 10 and len(records.places) < 60
    for step, feed in zip(range(0, 100, 10), kept, strict=True):
        assert np.array_equal(feed["ct"][:, 0, 0], np.arange(4 * step, 4 * step + 4))


def test_an_error_comes_out_at_its_batch_and_leaves_no_thread(split: NamedSharding) -> None:
    plan = eval_batches(40, 4)
    with StreamSource(CountingRecords(40, fails_at=21), split, ("ct",)).feeds([plan]) as feeds:
        for _ in range(5):
            next(feeds)
        with pytest.raises(CorruptFileError, match="shard 3"):
            next(feeds)
    assert not _input_threads()


def test_an_early_exit_leaves_no_thread(split: NamedSharding) -> None:
    records = CountingRecords(400)
    with pytest.raises(KeyboardInterrupt), StreamSource(records, split, ("ct",)).feeds([eval_batches(400, 4)]) as feeds:
        next(feeds)
        raise KeyboardInterrupt
    assert not _input_threads() and len(records.read_positions) <= 4 * (1 + AHEAD)


def test_ready_says_whether_taking_would_block(split: NamedSharding) -> None:
    gate = threading.Event()
    with StreamSource(CountingRecords(8, gate=gate), split, ("ct",)).feeds([eval_batches(8, 8)]) as feeds:
        assert not feeds.ready()
        gate.set()
        deadline = time.monotonic() + 30
        while not feeds.ready() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert feeds.ready()
        next(feeds)
        assert feeds.ready()  # nothing comes: the end blocks nobody
        with pytest.raises(StopIteration):
            next(feeds)


def test_nothing_is_moved_without_being_asked(split: NamedSharding) -> None:
    with StreamSource(CountingRecords(8), split).feeds([eval_batches(8, 4)]) as feeds, jax.transfer_guard("disallow"):
        assert len(list(feeds)) == 2


DEVICES = Path(__file__).parent / "eight_devices.py"


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_resident_equals_stream_on_1_2_4_8_devices(small_records: dict[str, Path], file_format: str) -> None:
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, DEVICES, small_records[file_format]]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "equal on 1, 2, 4, 8 devices; parts of 1, 2, 4 hosts make the whole"
