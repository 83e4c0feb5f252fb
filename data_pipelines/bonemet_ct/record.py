"""Canonical slices to the arrays of their records: common grid, CT window, LBP, HOG, fat mask. Pure."""

from collections.abc import Sequence

import numpy as np

from bonemet_jax.channels.window import window_ct
from bonemet_jax.config import RecordsConfig
from data_pipelines.bonemet_ct.channels import compute_channels
from data_pipelines.bonemet_ct.grid import to_grid
from data_pipelines.canonical import CanonicalSlice


def make_record(image: CanonicalSlice, config: RecordsConfig) -> dict[str, np.ndarray]:
    """Stored arrays of one slice: ct, lbp, hog, mask, as docs/contracts.md gives their shapes.

    Raises: InputDataError when the trunk does not fit the grid.
    """
    return {name: arrays[0] for name, arrays in make_records([image], config, batch_size=1).items()}


def make_records(
    images: Sequence[CanonicalSlice], config: RecordsConfig, batch_size: int | None = None
) -> dict[str, np.ndarray]:
    """As make_record, slices on the first axis of every array.

    Raises: InputDataError when a trunk does not fit the grid.
    """
    grids = [to_grid(image, config) for image in images]
    ct = np.stack([window_ct(grid.hu) for grid in grids])
    mask = np.stack([grid.fat_mask for grid in grids])
    return {"ct": ct, "mask": mask, **compute_channels(ct, config.channel_backend, batch_size)}
