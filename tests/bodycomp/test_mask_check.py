"""A mask's fit on made-up slices; tests/ingest/test_masks.py counts on real ones and phantoms."""

import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.mask_check import COVERED, IS_FAT, NOT_SOFT, compute_shares, judge_mask

SAT, VAT, ESM = schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM
SPACING_MM = (2.0, 2.0)
Y, X = np.indices((120, 160)).astype(float)
RADIUS = np.hypot((Y - 60) / 50, (X - 80) / 70)
TRUNK = RADIUS <= 1
RING = TRUNK & (RADIUS > 0.75)
MUSCLE = (np.hypot((Y - 95) / 9, (X - 60) / 12) <= 1) | (np.hypot((Y - 95) / 9, (X - 100) / 12) <= 1)
BONE = np.hypot((Y - 88) / 7, (X - 80) / 7) <= 1
#: Strands of fat, as a network's visceral fat is, in front of the spine.
STRANDS = (RADIUS < 0.55) & (Y < 75) & (X.astype(int) % 3 > 0) & (X < 95)
HU = np.where(TRUNK, 40, -1000)
HU[RING | STRANDS] = -100
HU[BONE] = 400
HU = HU.astype(np.int16)
MASKS = {SAT: RING, VAT: STRANDS, ESM: MUSCLE & ~RING & ~BONE}


def _judge(code: int, region: np.ndarray, is_hu: bool = True) -> str:
    """Code of the verdict; empty when there is none."""
    try:
        findings = judge_mask(code, region, HU, TRUNK, SPACING_MM, "mask.nii.gz", is_hu=is_hu)
    except InputDataError as error:
        assert error.fact, "names what decides"
        return error.code
    return ", ".join(finding.code for finding in findings)


@pytest.mark.parametrize("code", MASKS)
def test_right_masks_have_no_finding(code: int) -> None:
    assert _judge(code, MASKS[code]) == ""


@pytest.mark.parametrize("code", MASKS)
def test_empty_full_and_off_the_body(code: int) -> None:
    assert _judge(code, np.zeros_like(TRUNK)) == "mask-empty"
    assert _judge(code, np.ones_like(TRUNK)) == "mask-full"
    assert _judge(code, TRUNK) == "mask-full"
    air = np.zeros_like(TRUNK)
    air[:8, :40] = True
    assert _judge(code, air) == "mask-off-body"


def test_part_outside_is_told_with_its_area() -> None:
    """30 pixels of 2 x 2 mm: 1.2 cm2, of fat: an arm."""
    arm = np.zeros_like(TRUNK)
    arm[50:60, 0:3] = True
    hu = np.where(arm, -100, HU).astype(np.int16)
    findings = judge_mask(SAT, RING | arm, hu, TRUNK, SPACING_MM, "x")
    assert [f.code for f in findings] == ["mask-outside"]
    assert "1.2 cm2 of the mask of subcutaneous fat" in str(findings[0])
    assert judge_mask(SAT, RING | (arm & (X < 2)), hu, TRUNK, SPACING_MM, "x") == [], "0.8 cm2 are not told"


def test_a_reader_who_draws_beyond_the_skin_is_right() -> None:
    """Two pixels, 4 mm, into the air: told with its area, not judged by it."""
    beyond = RADIUS <= 1 + 4 / 100
    assert _judge(SAT, RING | (beyond & ~TRUNK)) == "mask-outside"


def test_moved_masks_are_caught() -> None:
    assert _judge(SAT, np.roll(RING, 12, axis=1)) == "mask-foreign"
    assert _judge(VAT, np.roll(STRANDS, 1, axis=1)) == "mask-misfit"
    assert _judge(VAT, STRANDS[:, ::-1]) in ("mask-misfit", "mask-foreign")
    assert _judge(VAT, np.roll(STRANDS, 40, axis=0)) == "mask-foreign"
    assert _judge(ESM, np.roll(MASKS[ESM], 20, axis=1)) == "mask-foreign"


def test_grey_levels_are_not_judged() -> None:
    assert _judge(SAT, np.roll(RING, 12, axis=1), is_hu=False) == "mask-outside"
    assert _judge(SAT, np.ones_like(TRUNK), is_hu=False) == "mask-full"


def test_a_cavity_drawn_as_a_whole_holds_organs_by_right() -> None:
    cavity = (RADIUS < 0.6) & (Y < 75)
    assert compute_shares(VAT, cavity, HU, TRUNK, SPACING_MM) == []
    assert _judge(VAT, cavity) == ""
    assert IS_FAT in dict(compute_shares(VAT, STRANDS, HU, TRUNK, SPACING_MM))


def test_shares_are_counts() -> None:
    half = RING & (X < 80)
    shares = dict(compute_shares(SAT, half, HU, TRUNK, SPACING_MM))
    assert shares[NOT_SOFT] == 0.0
    assert shares[COVERED] == pytest.approx(0.5, abs=0.01)
    air = np.zeros_like(RING)
    air[0, :30] = True
    shares = dict(compute_shares(SAT, half | air, HU, TRUNK, SPACING_MM))
    assert shares[NOT_SOFT] == pytest.approx(30 / (half.sum() + 30))


def test_limits_judge_either_way() -> None:
    assert [COVERED.judge(share) for share in (0.9, 0.7, 0.5)] == [0, 1, 2]
    assert [NOT_SOFT.judge(share) for share in (0.0, 0.1, 0.2)] == [0, 1, 2]
