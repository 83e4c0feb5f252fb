"""What happens to one shard: read, measure, channels, write. Each stage is a function of the one before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonemet_jax import schema
from bonemet_jax.channels.window import window_ct
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import InputDataError
from data_pipelines.bonemet_ct.channels import compute_channels
from data_pipelines.bonemet_ct.grid import compute_area_change, to_grid
from data_pipelines.bonemet_ct.source import Source
from data_pipelines.bonemet_ct.tasks import ShardTask
from data_pipelines.bonemet_ct.write import ShardNote, write_shard
from data_pipelines.canonical import CanonicalSlice

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ShardSlices:
    """A shard as it was read."""

    task: ShardTask
    rows: Rows
    images: Sequence[CanonicalSlice]
    places: Sequence[str]
    """What an error calls each slice."""


@dataclass(frozen=True)
class ShardArrays:
    """A shard's stored arrays, patients on the first axis: ct and mask at first, then lbp and hog too."""

    task: ShardTask
    rows: Rows
    arrays: Mapping[str, np.ndarray]
    area_change: Mapping[str, float]
    """Tissue -> worst relative change of its area from slice to grid."""


def read_shard(task: ShardTask, source: Source) -> ShardSlices:
    """Rows and slices of one shard's patients.

    Raises: CorruptFileError when a slice does not read.
    """
    rows = source.read_rows(task.start, task.stop)
    names = [row[schema.SLICE_ID] for row in rows]
    return ShardSlices(task, rows, [source.read_slice(n) for n in names], [source.locate(n) for n in names])


def measure_shard(shard: ShardSlices, config: RecordsConfig) -> ShardArrays:
    """Bring every slice to the grid, and tell what that did to its tissues' areas.

    Raises: InputDataError naming the slice when its trunk does not fit.
    """
    ct, mask, worst = [], [], {}
    for image, place in zip(shard.images, shard.places, strict=True):
        try:
            grid = to_grid(image, config)
        except InputDataError as error:
            raise InputDataError(error.what, place, error.mend) from error
        ct.append(window_ct(grid.hu))
        mask.append(grid.fat_mask)
        worst = max_area_change(worst, {schema.TISSUE_NAMES[k]: v for k, v in compute_area_change(image, grid).items()})
    return ShardArrays(shard.task, shard.rows, {"ct": np.stack(ct), "mask": np.stack(mask)}, worst)


def add_channels(shard: ShardArrays, config: RecordsConfig) -> ShardArrays:
    """LBP and HOG of every slice."""
    channels = compute_channels(shard.arrays["ct"], config.channel_backend)
    return ShardArrays(shard.task, shard.rows, {**shard.arrays, **channels}, shard.area_change)


def save_shard(shard: ShardArrays, directory: Path, config: RecordsConfig) -> ShardNote:
    """Write the shard and its note below `directory`, which every worker must see under the same path.

    Raises: DiskError when the disk is full.
    """
    return write_shard(directory, shard.task, make_examples(shard.rows, shard.arrays), shard.area_change, config)


def make_examples(rows: Rows, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One mapping a patient, as TFDS encodes it: the row's scalars but the slice's name, and its arrays."""
    return [
        {name: value for name, value in row.items() if name != schema.SLICE_ID}
        | {name: values[i] for name, values in arrays.items()}
        for i, row in enumerate(rows)
    ]


def max_area_change(*changes: Mapping[str, float]) -> dict[str, float]:
    """The largest of each tissue's changes."""
    names = sorted({name for change in changes for name in change})
    return {name: max(change.get(name, 0.0) for change in changes) for name in names}
