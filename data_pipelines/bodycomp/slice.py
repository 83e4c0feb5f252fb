"""Hounsfield units and drawn regions -> one canonical slice with its tissues, and what to think of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int16

from bonemet_jax import schema
from data_pipelines.bodycomp.field import compute_cut, judge_arms, judge_cut
from data_pipelines.bodycomp.mask_check import judge_mask
from data_pipelines.bodycomp.muscle import segment_muscle
from data_pipelines.bodycomp.orientation import find_spine, is_cut
from data_pipelines.bodycomp.segment import segment_fat
from data_pipelines.bodycomp.tissue import label_tissue
from data_pipelines.bodycomp.trunk import TISSUE_ABOVE_HU, compute_body, cut_arms, find_box
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import Finding, find, refusal

Mask = Bool[np.ndarray, "height width"]
Hu = Int16[np.ndarray, "height width"]
Segmenter = Literal["hu", "none"]
MIN_TRUNK_CM2, MAX_TRUNK_CM2 = 100.0, 2500.0
#: Medians beyond these, HU, show another scale; fat varies with the tube voltage. Told of more pixels than this.
AIR_HU, FAT_HU, MIN_PIXELS = (-1050, -950), (-135, -70), 100
#: In grey levels, tissue is lighter than this share of the range from black to white.
GREY_TISSUE = 0.1
#: Filters that smooth noise inside the body look no farther out than this, mm.
MARGIN_MM = 10.0


@dataclass(frozen=True)
class MeasuredSlice:
    """A canonical slice and how far its areas can be trusted."""

    image: CanonicalSlice
    findings: tuple[Finding, ...]
    incomplete: frozenset[str] = frozenset()
    """Area columns of which only a part is in view: never told as the whole."""


def make_slice(
    hu: Hu,
    spacing_mm: tuple[float, float],
    regions: Mapping[int, Mask],
    where: object,
    *,
    vertebra: Mask | None = None,
    tilt_deg: float = 0.0,
    is_hu: bool = True,
    segment: Segmenter = "hu",
    trust_geometry: bool = False,
) -> MeasuredSlice:
    """Find the trunk, judge masks and field of view, segment what has no mask.

    Args:
        hu: Hounsfield units, anatomical.
        spacing_mm: row and column spacing, mm.
        regions: tissue code -> region drawn by a reader or a network: wins over what would be segmented.
        where: named in errors.
        vertebra: the vertebra's label on this slice, a help for the muscle.
        tilt_deg: angle to the axial plane.
        is_hu: false when `hu` holds grey levels only: nothing is segmented and regions count whole.
        segment: "hu" finds subcutaneous and visceral fat, and with `vertebra` muscle, where no mask gives them; "none"
            leaves fat unsegmented.
        trust_geometry: measure with a warning where the spine is not on the posterior side of the header's axes.

    Raises: InputDataError when the values are no Hounsfield units, no trunk is in view, the spine is not posterior, or
        a mask cannot be this picture's.
    """
    body, trunk = _find_trunk(hu, spacing_mm, is_hu, where)
    findings = _judge_spine(hu, trunk, spacing_mm, where, is_trusted=trust_geometry) if is_hu else []
    findings += [note for code, region in regions.items()
                for note in judge_mask(code, region, hu, trunk, spacing_mm, where, is_hu=is_hu)]  # fmt: skip
    if not is_hu:
        tissue = label_tissue(hu, np.ones_like(trunk), regions, find_fat=False)
        image = CanonicalSlice(hu, spacing_mm, tissue, trunk.astype(np.uint8), tilt_deg, is_hu)
        of_field, incomplete = judge_cut(compute_cut(None, trunk, spacing_mm), trunk, None, regions, spacing_mm)
        return MeasuredSlice(image, (*findings, *of_field), incomplete)
    cut = compute_cut(hu, trunk, spacing_mm)
    # All else lies in the body's surroundings.
    box = find_box(body, spacing_mm, MARGIN_MM)
    inner_hu, inner_trunk, inner_cut = hu[box], trunk[box], replace(cut, edge=cut.edge[box])
    wall_depth_mm, segmented, notes = None, {code: region[box] for code, region in regions.items()}, []
    if segment == "hu":
        label = None if vertebra is None else vertebra[box]
        wall_depth_mm, segmented, notes = _segment(inner_hu, inner_trunk, spacing_mm, segmented, label)
    tissue = np.full(hu.shape, schema.TISSUE_NONE, np.uint8)
    tissue[box] = label_tissue(inner_hu, inner_trunk, segmented)
    if schema.TISSUE_FAT_UNSEGMENTED in tissue and not any(note.code == "fat-no-wall" for note in notes):
        notes.append(find("fat-unsegmented"))
    if wall_depth_mm is not None:
        notes += [find("fat-none", f"no {schema.TISSUE_NAMES[code]} was found: its area stays empty")
                  for code in (schema.TISSUE_SAT, schema.TISSUE_VAT) if code not in regions and code not in tissue]
    notes += _judge_values(hu, body, tissue)
    of_field, incomplete = judge_cut(inner_cut, inner_trunk, wall_depth_mm, segmented, spacing_mm)
    of_arms = judge_arms(body[box], inner_trunk, inner_cut, spacing_mm)
    image = CanonicalSlice(hu, spacing_mm, tissue, trunk.astype(np.uint8), tilt_deg, is_hu)
    return MeasuredSlice(image, (*findings, *notes, *of_field, *of_arms), incomplete)


def _find_trunk(hu: Hu, spacing_mm: tuple[float, float], is_hu: bool, where: object) -> tuple[Mask, Mask]:
    """Body and trunk."""
    black, white = float(hu.min()), float(hu.max())
    if is_hu and black > TISSUE_ABOVE_HU:
        raise refusal("slice-no-air", where, fact=f"lowest value {black:g} HU, above {TISSUE_ABOVE_HU}")
    above = TISSUE_ABOVE_HU if is_hu else black + GREY_TISSUE * (white - black)
    body = compute_body(hu, spacing_mm, above)
    trunk = cut_arms(hu, body, spacing_mm)
    trunk_cm2 = float(trunk.sum() * spacing_mm[0] * spacing_mm[1] / 100)
    if trunk_cm2 < MIN_TRUNK_CM2:
        raise refusal("slice-no-trunk", where, fact=f"largest body {trunk_cm2:.0f} cm2, a trunk has {MIN_TRUNK_CM2:g} "
                      "or more")
    if trunk_cm2 > MAX_TRUNK_CM2:
        raise refusal("slice-trunk-large", where, fact=f"{trunk_cm2:.0f} cm2, at most {MAX_TRUNK_CM2:g}")
    return body, trunk


def _judge_spine(
    hu: Hu, trunk: Mask, spacing_mm: tuple[float, float], where: object, *, is_trusted: bool
) -> list[Finding]:
    """A warning where a whole trunk shows no spine, or the spine is not posterior and this is trusted.

    Raises: InputDataError where the spine is not posterior and this is not trusted.
    """
    side, fact = find_spine(hu, trunk, spacing_mm)
    if side is None and not is_cut(trunk, spacing_mm):
        return [find("slice-orientation-unknown", fact=fact, where=where)]
    if side in (None, "posterior"):
        return []
    if is_trusted:
        return [find("slice-orientation-trusted", fact=f"spine {side}: {fact}", where=where)]
    raise refusal("slice-orientation", where, fact=f"spine {side}: {fact}")


def _judge_values(hu: Hu, body: Mask, tissue: np.ndarray) -> list[Finding]:
    """Air around the body and subcutaneous fat lie where the Hounsfield scale puts them."""
    outside = hu[~body]
    air = outside[(outside > schema.HU_PADDING) & (outside < TISSUE_ABOVE_HU)]
    fat = hu[tissue == schema.TISSUE_SAT]
    seen = (("air", air, AIR_HU), ("subcutaneous fat", fat, FAT_HU))
    return [
        find("slice-hu-shift", fact=f"{name} at {np.median(values):.0f} HU, expected {low} to {high}")
        for name, values, (low, high) in seen if values.size > MIN_PIXELS and not low <= np.median(values) <= high
    ]


def _segment(
    hu: Hu, trunk: Mask, spacing_mm: tuple[float, float], given: Mapping[int, Mask], vertebra: Mask | None
) -> tuple[Float64[np.ndarray, "height width"] | None, dict[int, Mask], list[Finding]]:
    """Depth below the wall, regions given and found, findings."""
    found = segment_fat(hu, trunk, spacing_mm)
    needs_fat = schema.TISSUE_SAT not in given or schema.TISSUE_VAT not in given
    if found is None:
        return None, dict(given), [find("fat-no-wall")] if needs_fat else []
    regions = {schema.TISSUE_SAT: found.subcutaneous_fat, schema.TISSUE_VAT: found.visceral_fat}
    notes = []
    if schema.TISSUE_ESM not in given and vertebra is not None:
        muscle = segment_muscle(hu, trunk, found.wall_depth_mm, vertebra, spacing_mm)
        if muscle is not None:
            regions[schema.TISSUE_ESM] = muscle
            notes.append(find("muscle-estimated"))
    # What was drawn wins, wherever it lies.
    drawn = np.logical_or.reduce([*given.values(), np.zeros_like(trunk)])
    return found.wall_depth_mm, {code: region & ~drawn for code, region in regions.items()} | dict(given), notes
