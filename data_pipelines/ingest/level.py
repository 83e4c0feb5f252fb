"""Which slice is the vertebra's: from labels, from a given position, or because there is only one."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.grid import Grid, find_slice


def choose_slice(
    grid: Grid,
    level: str,
    slice_z_mm: float | None,
    slice_index: int | None,
    vertebra_px: Mapping[str, Int[np.ndarray, " slice"]],
    where: object,
) -> tuple[int, list[Finding]]:
    """Index of the slice to measure, and warnings.

    Args:
        grid: the stack.
        level: vertebra, "T11".
        slice_z_mm: given position; wins over labels.
        slice_index: given number, 0 the lowest; wins over labels.
        vertebra_px: pixels of the labelled vertebra and of those beside it on every slice; empty without labels.
        where: named in errors.

    Raises: InputDataError when nothing says where the vertebra is, or it is not in the volume.
    """
    n = len(grid.z_mm)
    if slice_z_mm is not None:
        return find_slice(grid, slice_z_mm, where), []
    if slice_index is not None:
        if not 0 <= slice_index < n:
            raise refusal("level-no-slice", where, fact=f"slice {slice_index} of {n}", mend=f"use 0 to {n - 1}")
        return slice_index, []
    if vertebra_px:
        return _largest_slice(level, vertebra_px, where)
    if n == 1:
        return 0, [find("slice-only", f"the only slice (z {grid.z_mm[0]:g} mm) is taken as {level}", where=where)]
    raise refusal("level-unknown", where, f"nothing says where {level} is", fact=f"{n} slices, no vertebra label")


def _largest_slice(
    level: str, vertebra_px: Mapping[str, Int[np.ndarray, " slice"]], where: object
) -> tuple[int, list[Finding]]:
    """Among slices where the level's label is the largest vertebra label, the one where it is largest.

    PAPER: says "at T11" and no more; this is our rule.
    """
    own = vertebra_px.get(level)
    if own is None or not own.any():
        found = ", ".join(name for name, px in vertebra_px.items() if px.any()) or "none"
        raise refusal("level-missing", where, f"{level} is not in the volume", fact=f"labelled beside it: {found}")
    leads = own >= np.max(list(vertebra_px.values()), axis=0)
    if not (leads & (own > 0)).any():
        raise refusal("level-edge", where, f"only the edge of {level} is in the volume: on no slice is it the largest "
                      "vertebra", fact=f"{level} on {np.count_nonzero(own)} slices")
    k, n = int(np.argmax(np.where(leads, own, -1))), len(own)
    if k not in (0, n - 1):
        return k, []
    return k, [find("level-at-end", f"{level} touches the volume's end: its largest slice may lie outside",
                    f"slice {k} of 0 to {n - 1}", where)]
