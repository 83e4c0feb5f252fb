"""Run by test_stream in a process with eight virtual devices: both sources, bit for bit, and the parts of hosts."""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import EpochPlan, epoch_batches, eval_batches
from bonemet_jax.input_pipeline.records import Records, load_records, open_records
from bonemet_jax.input_pipeline.source import local_parts, take_batch

NAMES = ("ct", "lbp", "hog", "mask")
BATCH = 8
Batches = list[dict[str, np.ndarray]]


def split_over(n_devices: int) -> NamedSharding:
    """A batch split over the first devices."""
    devices = jax.devices()[:n_devices]
    mesh = jax.make_mesh((n_devices,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec("data"))


def make_batches(mode: str, records: Records, n_devices: int, plans: list[EpochPlan]) -> Batches:
    """Every batch, as the compiled step sees it."""
    split = split_over(n_devices)
    source = make_source(mode, records, split, NAMES)
    take = jax.jit(take_batch, out_shardings=split)
    with source.feeds(plans) as feeds:
        batches = [take(source.resident, feed) for feed in feeds]
    for batch in batches:
        assert all(len(array.addressable_shards) == n_devices for array in batch.values())
    return jax.device_get(batches)


def check_same(one: Batches, other: Batches) -> None:
    """Equal names, types and bits."""
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


def check_hosts(records: Records, plan: EpochPlan) -> None:
    """What 1, 2 or 4 hosts of the same eight devices read, put together, is the batch; none reads another's rows."""
    split, index = split_over(8), plan.index[0]
    whole = records.read(index, NAMES)
    for n_hosts in (1, 2, 4):
        hosts = np.array(split.mesh.devices).reshape(n_hosts, -1)
        rows = [local_parts(split, (BATCH,), set(host)) for host in hosts]
        assert [len(part) for part in rows] == [8 // n_hosts] * n_hosts
        own = [part[device][0] for part, host in zip(rows, hosts, strict=True) for device in host]
        assert np.array_equal(np.concatenate([np.arange(BATCH)[part] for part in own]), np.arange(BATCH))
        parts = [records.read(index[part], NAMES) for part in own]
        for name in NAMES:
            assert np.array_equal(np.concatenate([part[name] for part in parts]), whole[name])


def main(directory: Path) -> None:
    """Two epochs and a validation of 13 patients, so that batches of 8 end in padding."""
    on_disk, in_memory = open_records(directory), load_records(directory)
    plans = [epoch_batches(13, BATCH, 0, 0, 1), eval_batches(5, BATCH), epoch_batches(13, BATCH, 0, 0, 2)]
    wanted = make_batches("resident", in_memory, 1, plans)
    assert len(wanted) == 5 and wanted[1]["weight"].sum() == 5
    for name in NAMES:
        assert np.array_equal(wanted[0][name], getattr(in_memory, name)[plans[0].index[0]])
    for n_devices in (1, 2, 4, 8):
        for mode in ("resident", "stream"):
            check_same(make_batches(mode, on_disk, n_devices, plans), wanted)
    check_hosts(on_disk, plans[0])
    print("equal on 1, 2, 4, 8 devices; parts of 1, 2, 4 hosts make the whole")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
