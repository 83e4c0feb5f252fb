"""Does a mask fit the picture it is laid on? A flipped mask, or another patient's, is found by what lies under it.

Limits lie between masks that are right and masks that are not, on the real slices and phantoms of
tests/ingest/test_masks.py, which counts how many of either are caught.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int16
from scipy import ndimage

from bonemet_jax import schema
from data_pipelines.findings import Finding, find, refusal

Mask = Bool[np.ndarray, "height width"]
Hu = Int16[np.ndarray, "height width"]
#: Share of the trunk that no tissue reaches, and share of a mask that must lie on the trunk (arms may lie outside).
MAX_OF_TRUNK, MIN_ON_TRUNK = 0.9, 0.5
MAX_OUTSIDE_CM2 = 1.0
#: Fat of any kind, wider than the counted ranges: edges are blurred.
FAT_HU, MUSCLE_HU = (-190, -30), (-29, 150)
#: Air and lung lie below the first, bone and contrast above the second: no soft tissue, HU.
SOFT_HU = (-300, 180)
#: Readers draw a little beyond the skin: air this near to the trunk tells nothing, mm.
RIM_MM = 6.0
#: Fat at this depth below the skin's surface is subcutaneous, mm.
SUPERFICIAL_MM = (4.0, 10.0)
#: A region was drawn as a whole where at least this share of it lies deeper inside it; else it follows the fat.
MASSIVE_MM, MASSIVE_SHARE = 3.5, 0.75


@dataclass(frozen=True)
class Limit:
    """A share under the mask: beyond the first value it fits badly, beyond the second it is another picture's."""

    what: str
    odd: float
    foreign: float

    @property
    def is_floor(self) -> bool:
        """True where small shares are the bad ones."""
        return self.foreign < self.odd

    def judge(self, share: float) -> int:
        """0 fits, 1 fits badly, 2 foreign."""
        sign = -1 if self.is_floor else 1
        return int(sign * share > sign * self.odd) + int(sign * share > sign * self.foreign)


COVERED = Limit("of the fat under the skin is in the mask", 0.86, 0.6)
NOT_SOFT = Limit("of the mask is air or bone", 0.05, 0.15)
IS_FAT = Limit("of the mask is fat", 0.65, 0.45)
IS_MUSCLE = Limit("of the mask is muscle", 0.7, 0.35)


def judge_mask(
    code: int, region: Mask, hu: Hu, trunk: Mask, spacing_mm: tuple[float, float], where: object, *, is_hu: bool = True
) -> list[Finding]:
    """What to think of a tissue's mask on a slice.

    Args:
        code: tissue code.
        region: the mask.
        hu: Hounsfield units.
        trunk: true inside the trunk.
        spacing_mm: row and column spacing, mm.
        where: named in findings.
        is_hu: false where `hu` holds grey levels: what lies under the mask is not judged then.

    Returns: warnings: empty, partly outside the trunk, fits badly.

    Raises: InputDataError for a mask that covers everything, lies outside the body, or is another picture's.
    """
    name = schema.TISSUE_NAMES[code]
    n, n_inside = np.count_nonzero(region), np.count_nonzero(region & trunk)
    if n == 0:
        return [find("mask-empty", f"the mask of {name} is empty on this slice", where=where)]
    if n_inside > MAX_OF_TRUNK * np.count_nonzero(trunk):
        raise refusal("mask-full", where, fact=f"{name}: {n_inside / np.count_nonzero(trunk):.0%} of the trunk, "
                      f"at most {MAX_OF_TRUNK:.0%}")
    on_body = np.count_nonzero(region & (trunk | _find_rim(trunk, spacing_mm))) / n
    if on_body < MIN_ON_TRUNK:
        raise refusal("mask-off-body", where, fact=f"{name}: {on_body:.0%} on the trunk, at least {MIN_ON_TRUNK:.0%}")
    outside_cm2 = (n - n_inside) * spacing_mm[0] * spacing_mm[1] / 100
    findings = []
    if outside_cm2 > MAX_OUTSIDE_CM2:
        findings.append(find("mask-outside", f"{outside_cm2:.1f} cm2 of the mask of {name} lie outside the trunk and "
                             "are left out", where=where))
    return findings + (_judge_content(code, region, hu, trunk, spacing_mm, where) if is_hu else [])


def compute_shares(
    code: int, region: Mask, hu: Hu, trunk: Mask, spacing_mm: tuple[float, float]
) -> list[tuple[Limit, float]]:
    """Shares that tell whether a mask fits, each with its limit."""
    if code == schema.TISSUE_VAT and _is_massive(region, spacing_mm):
        return []  # a cavity drawn as a whole: organs, gas and bone are in it by right
    values = hu[region]
    not_soft = ((values < SOFT_HU[0]) | (values > SOFT_HU[1])) & ~_find_rim(trunk, spacing_mm)[region]
    if code == schema.TISSUE_SAT:
        fit = COVERED, _compute_covered(region, hu, trunk, spacing_mm)
    elif code == schema.TISSUE_VAT:
        fit = IS_FAT, _share_in(values, FAT_HU)
    else:
        fit = IS_MUSCLE, _share_in(values, MUSCLE_HU)
    return [(NOT_SOFT, float(not_soft.mean())), fit]


def _judge_content(
    code: int, region: Mask, hu: Hu, trunk: Mask, spacing_mm: tuple[float, float], where: object
) -> list[Finding]:
    name = schema.TISSUE_NAMES[code]
    judged = [(limit.judge(share), limit, share) for limit, share in
              compute_shares(code, region, hu, trunk, spacing_mm)]  # fmt: skip
    for severity, limit, share in sorted(judged, key=lambda one: -one[0]):
        bound = "at least" if limit.is_floor else "at most"
        if severity == 2:
            raise refusal("mask-foreign", where, f"the mask of {name} does not fit the picture: flipped, or of another "
                          "image", fact=f"{share:.0%} {limit.what}, {bound} {limit.foreign:.0%}")
        if severity == 1:
            return [find("mask-misfit", f"the mask of {name} fits the picture badly",
                         f"{share:.0%} {limit.what}, {bound} {limit.odd:.0%}", where)]
    return []


def _compute_covered(region: Mask, hu: Hu, trunk: Mask, spacing_mm: tuple[float, float]) -> float:
    """Share of the fat just under the skin that the mask holds; 1 where there is none."""
    depth = np.asarray(ndimage.distance_transform_edt(trunk, sampling=spacing_mm))
    fat = (depth > SUPERFICIAL_MM[0]) & (depth <= SUPERFICIAL_MM[1]) & (hu >= FAT_HU[0]) & (hu <= FAT_HU[1])
    return float(region[fat].mean()) if fat.any() else 1.0


def _find_rim(trunk: Mask, spacing_mm: tuple[float, float]) -> Mask:
    """The surroundings of the trunk."""
    return ~trunk & (np.asarray(ndimage.distance_transform_edt(~trunk, sampling=spacing_mm)) <= RIM_MM)


def _is_massive(region: Mask, spacing_mm: tuple[float, float]) -> bool:
    """True where most of a region lies deep inside it."""
    depth = np.asarray(ndimage.distance_transform_edt(region, sampling=spacing_mm))
    return bool((depth[region] > MASSIVE_MM).mean() >= MASSIVE_SHARE)


def _share_in(values: Int16[np.ndarray, " pixel"], ends: tuple[int, int]) -> float:
    return float(((values >= ends[0]) & (values <= ends[1])).mean())
