"""PyTorch's DataLoader over our TFRecord shards; needs torch (`make peers`).

Readers are spawned and import this module, so nothing heavy is imported here at the top but torch.
"""

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyrefly: ignore  # an extra: absent from most environments
from torch.utils.data import DataLoader, Dataset  # pyrefly: ignore

_HEAD, _FOOT = 12, 4

Layout = dict[str, tuple[tuple[int, ...], str]]
"""Shape and dtype of each array stored as raw bytes."""


class ShardsByProtobuf(Dataset):
    """One record an item, as is usual: seek, read, protobuf, `np.frombuffer`. Checksums are not looked at."""

    def __init__(self, shards: Sequence[Path], layout: Layout, label: str) -> None:
        self.layout, self.label = layout, label
        self.places = [(shard, *place) for shard in shards for place in _list_records(shard)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        from tensorflow_datasets.proto import tf_example_pb2  # its own few classes; tensorflow is not imported

        shard, start, length = self.places[index]
        with open(shard, "rb") as stream:
            stream.seek(start)
            record = stream.read(length)
        feature = tf_example_pb2.Example.FromString(record).features.feature  # pyrefly: ignore
        arrays = {name: np.frombuffer(feature[name].bytes_list.value[0], dtype).reshape(shape)
                  for name, (shape, dtype) in self.layout.items()}  # fmt: skip
        return arrays | {self.label: feature[self.label].int64_list.value[0]}


class ShardsByOurReader(Dataset):
    """One record an item by `open_records`: what is left is the DataLoader's own cost."""

    def __init__(self, records_dir: Path, names: Sequence[str]) -> None:
        from bonemet_jax.input_pipeline.shards import open_records

        self.reader, self.names = open_records(records_dir), tuple(names)

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: array[0] for name, array in self.reader.read([index], self.names).items()}


def make_loader(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    """Shuffled batches by `workers` spawned readers that live on from epoch to epoch; 0 reads in this process.

    With one thread in this process too, as torch itself gives each reader: on a busy machine more would only spin.
    """
    torch.set_num_threads(1)
    _allow_read_only(0)
    return DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, worker_init_fn=_allow_read_only,
        multiprocessing_context="spawn" if workers else None, persistent_workers=workers > 0,
    )  # fmt: skip


def _allow_read_only(worker: int) -> None:
    """Arrays that share protobuf's bytes are read-only, which torch warns about; collation copies them anyway."""
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


def _list_records(shard: Path) -> list[tuple[int, int]]:
    """First byte and length of each record, by TFRecord's framing."""
    found, at, size = [], 0, shard.stat().st_size
    with open(shard, "rb") as stream:
        while at < size:
            stream.seek(at)
            (length,) = struct.unpack("<Q", stream.read(8))
            found.append((at + _HEAD, length))
            at += _HEAD + length + _FOOT
    return found
