"""Hounsfield units and drawn regions -> one canonical slice with its tissues, and what to think of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int16

from bonemet_jax import schema
from data_pipelines.bodycomp.tissue import label_tissue
from data_pipelines.bodycomp.trunk import TISSUE_ABOVE_HU, compute_cut_mm, compute_trunk
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import Finding, find, refusal

Mask = Bool[np.ndarray, "height width"]
Segmenter = Literal["hu", "none"]
MAX_CUT_MM = 10.0
MIN_TRUNK_CM2 = 100.0
MAX_OUTSIDE_CM2 = 1.0


@dataclass(frozen=True)
class MeasuredSlice:
    """A canonical slice and how far its areas can be trusted."""

    image: CanonicalSlice
    findings: tuple[Finding, ...]
    incomplete: frozenset[str] = frozenset()
    """Area columns of which only a part is in view: never told as the whole."""


def make_slice(
    hu: Int16[np.ndarray, "height width"],
    spacing_mm: tuple[float, float],
    regions: Mapping[int, Mask],
    where: object,
    *,
    vertebra: Mask | None = None,
    tilt_deg: float = 0.0,
    is_hu: bool = True,
    segment: Segmenter = "hu",
) -> MeasuredSlice:
    """Find the trunk, judge masks and field of view, segment what has no mask.

    Args:
        hu: Hounsfield units, anatomical.
        spacing_mm: row and column spacing, mm.
        regions: tissue code -> region drawn by a reader or a network.
        where: named in errors.
        vertebra: the vertebra's label on this slice, a help for the muscle.
        tilt_deg: angle to the axial plane.
        is_hu: false when `hu` holds grey levels only.
        segment: "hu" finds subcutaneous and visceral fat where no mask gives them; "none" leaves fat unsegmented.

    Raises: InputDataError when the values are no Hounsfield units or no trunk is in view.
    """
    if hu.min() > TISSUE_ABOVE_HU:
        raise refusal("slice-no-air", where, f"no air on the slice (lowest value {hu.min()}): not in Hounsfield "
                      "units, or cut too closely")
    trunk = compute_trunk(hu, spacing_mm)
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] / 100
    if trunk.sum() * pixel_cm2 < MIN_TRUNK_CM2:
        raise refusal("slice-no-trunk", where, f"no trunk of {MIN_TRUNK_CM2:g} cm2 or more on the slice")
    cut_mm = compute_cut_mm(trunk, spacing_mm)
    if cut_mm > MAX_CUT_MM:
        raise refusal("field-cut", where, f"the image border cuts the trunk over {cut_mm:.0f} mm: its areas would "
                      "be too small")
    findings = [find("field-touched")] if cut_mm > 0 else []
    findings += [note for code, region in regions.items() for note in _judge_mask(code, region, trunk, pixel_cm2)]
    tissue = label_tissue(hu, trunk, regions)
    if schema.TISSUE_FAT_UNSEGMENTED in tissue:
        findings.append(find("fat-unsegmented"))
    return MeasuredSlice(CanonicalSlice(hu, spacing_mm, tissue, trunk.astype(np.uint8)), tuple(findings))


def _judge_mask(code: int, region: Mask, trunk: Mask, pixel_cm2: float) -> list[Finding]:
    name, outside_cm2 = schema.TISSUE_NAMES[code], float((region & ~trunk).sum() * pixel_cm2)
    if not region.any():
        return [find("mask-empty", f"the mask of {name} is empty on this slice")]
    if outside_cm2 <= MAX_OUTSIDE_CM2 and (region & trunk).any():
        return []
    return [find("mask-outside", f"{outside_cm2:.1f} cm2 of the mask of {name} lie outside the trunk and are left out")]
