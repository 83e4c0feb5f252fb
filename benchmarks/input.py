"""Records to batches: images per core-second beside PyTorch's DataLoader and tf.data, and how long a step waits.

Synthetic records are built once into a temporary folder and stay in the page cache: no disk is measured. Readers: an
epoch is a sample, batches end on the host; all but tf.data shuffle. Loops: `input_wait`. Core-seconds count reader
processes and threads too. Full size: 256 patients at 400x500, 11 rounds. Quick: 12 at 112x144, 2 rounds.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from benchmarks.harness import Measurement, Options, Ratio, interleave, is_installed, ratio_interval, time_once
from benchmarks.input_wait import WaitSize, measure_waits
from benchmarks.peers.tf_data import make_dataset
from bonemet_jax import schema
from bonemet_jax.config import Config, ModelConfig, PhantomConfig, RecordsConfig, TrainConfig
from bonemet_jax.input_pipeline.shards import RecordReader, open_records
from bonemet_jax.progress import say
from data_pipelines.bonemet_ct.build import build_records
from data_pipelines.phantom import make_cohort

Samples = Float64[np.ndarray, " round"]
NAMES = (*schema.CHANNELS, schema.LABEL)
Batches = Iterable[Mapping[str, Any]]
"""One epoch each time it is walked."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    config: Config
    n_rounds: int
    batch_size: int
    workers: tuple[int, ...]
    """Reader processes that the DataLoader is given, in turn; 0: it reads in ours."""
    waits: tuple[WaitSize, ...]


FULL = Size(
    Config("input", phantom=PhantomConfig(n=256), model=ModelConfig(network="resnet50"),
           train=TrainConfig(batch_size=2)),
    11, 16, (0, 1, 2), (WaitSize("train", batch_size=2, n_steps=3, n_rounds=5), WaitSize("sum", 16, 64, 11)),
)  # fmt: skip
QUICK = Size(
    Config("input", phantom=PhantomConfig(n=12, height=112, width=144, spacing_mm=3.0),
           records=RecordsConfig(height=112, width=144, spacing_mm=3.0), model=ModelConfig(network="tiny"),
           train=TrainConfig(batch_size=2)),
    2, 4, (0, 1), (WaitSize("train", 2, 3, 2), WaitSize("sum", 4, 6, 2)),
)  # fmt: skip


def measure(options: Options) -> list[Measurement]:
    """The readers first, then the loops."""
    size = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        records_dir = make_records(size.config, Path(folder))
        reader = open_records(records_dir)
        found = [_measure_opening(size, records_dir), *_measure_readers(size, records_dir, reader, options)]
        return found + [m for wait in size.waits for m in measure_waits(size.config, wait, reader)]


def make_records(config: Config, folder: Path) -> Path:
    """A synthetic cohort and its records below `folder`; returns the records' directory."""
    make_cohort(config.phantom, folder / "cohort")
    return build_records(folder / "cohort", folder, config.records, config.name)


def _measure_opening(size: Size, records_dir: Path) -> Measurement:
    samples = [time_once(partial(open_records, records_dir))[0] for _ in range(3)]
    parameters = {"patients": size.config.phantom.n, "warm_up": 0, "includes": "sha256 of every file"}
    return Measurement("input", "open_records_s", "s", "lower", samples, parameters, size.config)


def _measure_readers(size: Size, records_dir: Path, reader: RecordReader, options: Options) -> list[Measurement]:
    readers, peers = make_readers(records_dir, reader, size, options)
    pixels = check_same(readers)
    timings = interleave({name: partial(walk, batches) for name, batches in readers.items()}, size.n_rounds)
    n = len(reader)
    parameters = {
        "patients": n, "height": reader.image_shape[0], "width": reader.image_shape[1], "batch_size": size.batch_size,
        "page_cache": "warm", "warm_up": 1, "peers": peers,
        "bytes_per_image": reader.bytes_per_patient(schema.CHANNELS),
    }  # fmt: skip

    def measurement(metric: str, unit: str, samples: Samples, ratio: Ratio | None = None) -> Measurement:
        quality = {"pixel_sum": float(pixels)}
        return Measurement("input", metric, unit, "higher", samples.tolist(), parameters, size.config, quality, ratio)

    found, own = [], timings["ours"]
    for name, timing in timings.items():
        found += [
            measurement(f"images_per_core_s_{name}", "images/core-s", n / timing.cpu_s),
            measurement(f"images_per_s_{name}", "images/s", n / timing.wall_s),
        ]
        if name != "ours":
            ratio = ratio_interval(timing.cpu_s, own.cpu_s)
            compared = ("images_per_core_s_ours", f"images_per_core_s_{name}")
            speedup = measurement(f"speedup_per_core_vs_{name}", "1", timing.cpu_s / own.cpu_s, ratio)
            found.append(replace(speedup, compared=compared))
    return found


def make_readers(
    records_dir: Path, reader: RecordReader, size: Size, options: Options
) -> tuple[dict[str, Batches], dict[str, str]]:
    """Ours and every peer that is run, and each peer's version or why it is left out."""
    readers: dict[str, Batches] = {"ours": ShuffledRecords(reader, size.batch_size)}
    peers = dict.fromkeys(("tensorflow-datasets", "torch"), "skipped: not asked for")
    if options.has_peer("torch"):
        readers |= make_torch_readers(records_dir, reader, size)
        peers["torch"] = metadata.version("torch")
    elif not is_installed("torch"):
        peers["torch"] = "skipped: not installed (make peers)"
        say("input: PyTorch is not installed (make peers): its DataLoader is skipped")
    if options.has_peer("tf.data"):
        readers["tf_data"] = make_dataset(records_dir, NAMES, size.batch_size)
        peers["tensorflow-datasets"] = metadata.version("tensorflow-datasets")
    return readers, peers


def make_torch_readers(records_dir: Path, reader: RecordReader, size: Size) -> dict[str, Batches]:
    """The DataLoader over records taken apart by protobuf, as is usual, and over our own reader."""
    from benchmarks.peers import torch_loader

    shards = sorted(records_dir.glob("*.tfrecord-*"))
    layout = {name: (f.shape, str(f.dtype)) for name, f in reader.features.items() if name in schema.CHANNELS}
    kinds = {
        "protobuf": torch_loader.ShardsByProtobuf(shards, layout, schema.LABEL),
        "our_reader": torch_loader.ShardsByOurReader(records_dir, NAMES),
    }
    return {
        f"torch_{kind}_{workers}w": torch_loader.make_loader(dataset, size.batch_size, workers)
        for kind, dataset in kinds.items() for workers in size.workers
    }  # fmt: skip


class ShuffledRecords:
    """Batches by position in a new order each walk: the reader that streaming uses, without its device."""

    def __init__(self, reader: RecordReader, batch_size: int) -> None:
        self.reader, self.batch_size, self.walks = reader, batch_size, 0

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        order = np.random.default_rng(self.walks).permutation(len(self.reader))
        self.walks += 1
        for start in range(0, len(order), self.batch_size):
            yield self.reader.read(order[start : start + self.batch_size], NAMES)


def walk(batches: Batches) -> None:
    """One epoch, batches dropped as they come."""
    for _ in batches:
        pass


def check_same(readers: Mapping[str, Batches]) -> int:
    """Sum of all pixels and labels, the same whoever reads. Raises: RuntimeError naming a reader that differs."""
    sums = {name: _sum_pixels(batches) for name, batches in readers.items()}
    for name, found in sums.items():
        if found != sums["ours"]:
            raise RuntimeError(f"{name} reads {found} (images, pixel sum), ours {sums['ours']}")
    return sums["ours"][1]


def _sum_pixels(batches: Batches) -> tuple[int, int]:
    n = total = 0
    for batch in batches:
        n += len(batch[schema.LABEL])
        # Histograms by their bits: a float sum depends on the order.
        total += sum(int(np.asarray(batch[name]).view(np.uint8).sum(dtype=np.int64)) for name in schema.CHANNELS)
        total += int(np.asarray(batch[schema.LABEL]).sum())
    return n, total
