"""Shapes that measure what the row says."""

import numpy as np
import pytest
from scipy import ndimage

from bonemet_jax import schema
from data_pipelines.phantom import anatomy, rows, texture

GRIDS = [((400, 500), 0.8), ((160, 200), 2.0)]
#: The corners of what fits a body, and the middle.
BODIES = [
    anatomy.Areas(157.0, 68.0, 28.7), anatomy.Areas(15.3, 1.1, 8.2), anatomy.Areas(15.3, 230.0, 56.9),
    anatomy.Areas(420.0, 80.0, 40.0), anatomy.Areas(529.1, 2.0, 8.2), anatomy.Areas(250.0, 236.0, 54.0),
    anatomy.Areas(60.0, 5.1, 56.9),
]  # fmt: skip


def _make(areas, shape, spacing_mm, seed=0):
    rng = np.random.default_rng(seed)
    return anatomy.make_anatomy(rng, shape, spacing_mm, areas, texture.make_smooth(rng, shape, spacing_mm, 14.0))


def measured(tissue, spacing_mm):
    return {name: (tissue == code).sum() * spacing_mm**2 / 100 for name, code in schema.AREA_CODES.items()}


@pytest.mark.parametrize(("shape", "spacing_mm"), GRIDS)
@pytest.mark.parametrize("areas", BODIES)
def test_areas_within_half_a_pixel(areas, shape, spacing_mm):
    for seed in range(3):
        found = measured(_make(areas, shape, spacing_mm, seed).tissue, spacing_mm)
        for name, area in found.items():
            assert area == pytest.approx(getattr(areas, name), abs=0.51 * spacing_mm**2 / 100), name


@pytest.mark.parametrize("areas", BODIES)
def test_the_trunk_is_one_piece_inside_the_picture(areas):
    shape, spacing_mm = GRIDS[1]
    for seed in range(4):
        body = _make(areas, shape, spacing_mm, seed).body
        assert ndimage.label(body)[1] == 1
        assert not (body[0].any() or body[-1].any() or body[:, 0].any() or body[:, -1].any())


def test_regions_lie_where_they_should():
    a = _make(BODIES[0], *GRIDS[0])
    body = a.body.astype(bool)
    assert body[a.tissue > 0].all()
    inside = ndimage.binary_erosion(body, iterations=2)
    assert inside[a.tissue == schema.TISSUE_SAT].mean() > 0.95
    row = {m: np.nonzero(a.material == m)[0].mean() for m in (anatomy.LIVER, anatomy.ESM, anatomy.CANAL, anatomy.COUCH)}
    column = {m: np.nonzero(a.material == m)[1].mean() for m in (anatomy.LIVER, anatomy.SPLEEN, anatomy.ESM)}
    assert row[anatomy.LIVER] < row[anatomy.CANAL] < row[anatomy.ESM] < row[anatomy.COUCH]
    assert column[anatomy.LIVER] < column[anatomy.ESM] < column[anatomy.SPLEEN]  # liver on the patient's right
    for code in range(anatomy.LIVER_VESSEL + 1):
        assert (a.material == code).any(), code


def test_the_largest_body_allowed_is_among_those_tried():
    assert max(b.sfa_cm2 + b.vfa_cm2 + b.esma_cm2 for b in BODIES) >= rows.LARGEST_AREAS_CM2 - 1


def test_smallest_takes_exactly_n_and_refuses_more_than_there_are():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)[::-1]
    allowed = values > 2
    chosen = anatomy.smallest(values, allowed, 4)
    assert sorted(values[chosen]) == [3, 4, 5, 6]
    assert not anatomy.smallest(values, allowed, 0).any()
    with pytest.raises(ArithmeticError, match="10 pixels wanted, 9"):
        anatomy.smallest(values, allowed, 10)
