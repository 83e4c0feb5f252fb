"""Which slice is the vertebra's: from labels, from a given position, or because there is only one."""

from collections.abc import Collection, Mapping, Sequence

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
    numbering: str = "",
    levels: Sequence[str] = (),
) -> tuple[int, list[Finding]]:
    """Index of the slice to measure, and warnings.

    Args:
        grid: the stack.
        level: vertebra, "T11".
        slice_z_mm: given position; wins over labels.
        slice_index: given number, 0 the lowest; wins over labels.
        vertebra_px: pixels of the labelled vertebra and of its neighbours on every slice; empty without labels.
        where: named in errors.
        numbering: of the label map, named in errors; empty where structures are named.
        levels: those that the label map holds, named in errors.

    Raises: InputDataError when the position of the vertebra is not known, or it is not in the volume.
    """
    n = len(grid.z_mm)
    if slice_index is not None and not 0 <= slice_index < n:
        raise refusal("level-no-slice", where, fact=f"slice {slice_index} of {n}", mend=f"use 0 to {n - 1}")
    if slice_z_mm is not None or slice_index is not None:
        k = find_slice(grid, slice_z_mm, where) if slice_z_mm is not None else slice_index
        return int(k or 0), _check_level(level, int(k or 0), vertebra_px, where)
    if vertebra_px:
        _check_labelled(level, vertebra_px, where, numbering, levels)
        return _largest_slice(grid, level, vertebra_px, where)
    if n == 1:
        return 0, [find("slice-only", f"the only slice (z {grid.z_mm[0]:g} mm) is taken as {level}", where=where)]
    fact = f"{n} slices, no vertebra label"
    raise refusal("level-unknown", where, f"the position of {level} is not known", fact=fact)


def _check_level(
    level: str, k: int, vertebra_px: Mapping[str, Int[np.ndarray, " slice"]], where: object
) -> list[Finding]:
    """A warning where a slice chosen by hand is another vertebra's by the labels."""
    here = {name: int(px[k]) for name, px in vertebra_px.items() if px[k] > 0}
    largest = max(here, key=lambda name: (here[name], name == level), default=None)
    if not vertebra_px or largest == level:
        return []
    fact = f"labels put {largest} there" if largest else f"no label of {level} or its neighbours there"
    return [find("level-differs", f"by the labels the slice chosen is not {level}", fact, where)]


def describe_level(level: str, source: str, codes: Collection[str]) -> str:
    """The vertebra, and how it is known.

    Args:
        level: vertebra asked for.
        source: "labels" or "given", see IngestedSlice.
        codes: of the slice's findings.
    """
    if source == "labels":
        return level
    if "slice-only" in codes:
        return f"{level} assumed"
    return f"{level} as given, labels differ" if "level-differs" in codes else f"{level} as given"


def _check_labelled(
    level: str, vertebra_px: Mapping[str, Int[np.ndarray, " slice"]], where: object, numbering: str,
    levels: Sequence[str],
) -> None:  # fmt: skip
    """Raise InputDataError, naming the levels that are labelled, where the one asked for is not."""
    own = vertebra_px.get(level)
    if own is not None and own.any():
        return
    if numbering:
        fact = f"levels in this map: {', '.join(levels) or 'none'}; labels of {numbering}"
    else:
        fact = f"of its neighbours: {', '.join(name for name, px in vertebra_px.items() if px.any()) or 'none'}"
    raise refusal("level-missing", where, f"{level} is not in the volume", fact=fact)


def _largest_slice(
    grid: Grid, level: str, vertebra_px: Mapping[str, Int[np.ndarray, " slice"]], where: object
) -> tuple[int, list[Finding]]:
    """Among slices where the level's label is the largest vertebra label, the one where it is largest.

    PAPER: says "at T11" and no more; this is our rule.
    """
    own = vertebra_px[level]
    leads = own >= np.max(list(vertebra_px.values()), axis=0)
    if not (leads & (own > 0)).any():
        largest = max(vertebra_px, key=lambda name: int((vertebra_px[name] * (own > 0)).max()))
        raise refusal("level-edge", where, f"only the edge of {level} is in the volume: on no slice is it the largest "
                      "vertebra", f"{level} at z {' to '.join(f'{z:g}' for z in _ends(grid, own))} mm",
                      f"give a volume that holds all of {level}, or --level {largest}")
    k, n = int(np.argmax(np.where(leads, own, -1))), len(own)
    if k not in (0, n - 1):
        return k, []
    return k, [find("level-at-end", f"{level} touches the volume's end: its largest slice may be outside",
                    f"slice {k} of 0 to {n - 1}", where)]


def _ends(grid: Grid, px: Int[np.ndarray, " slice"]) -> list[float]:
    """Lowest and highest position with a pixel, mm."""
    z_mm = [z for z, n in zip(grid.z_mm, px, strict=True) if n]
    return sorted({z_mm[0], z_mm[-1]})
