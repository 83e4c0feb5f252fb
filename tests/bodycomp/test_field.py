"""What the field of view cuts off is flagged, and named; arms and table are no trunk."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import convex_hull_image

from bonemet_jax import schema
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.bodycomp.field import _fill_hull, compute_cut
from data_pipelines.bodycomp.slice import MeasuredSlice, make_slice
from data_pipelines.bodycomp.trunk import compute_trunk, largest
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.phantom import anatomy, render

MM = 1.0
SFA, TRUNK_FAT = "sfa_cm2", "trunk_fat_cm2"


@pytest.fixture(scope="module")
def phantom() -> CanonicalSlice:
    """A whole trunk with 170 cm2 under the skin, on its couch, in noisy air."""
    return render.render_slice(np.random.default_rng(8), (320, 400), MM, anatomy.Areas(170, 80, 30), 5.0)


def _trunk_box(image: CanonicalSlice) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(image.body)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def _codes(found: MeasuredSlice) -> set[str]:
    return {finding.code for finding in found.findings if finding.code.startswith("field")}


def test_whole_trunk_is_not_flagged(phantom: CanonicalSlice) -> None:
    found = make_slice(phantom.hu, phantom.spacing_mm, {}, "x")
    assert not _codes(found) and not found.incomplete


@pytest.mark.parametrize(
    ("side", "depth_mm", "incomplete"),
    [
        ("left", 8, {SFA, TRUNK_FAT}), ("right", 8, {SFA, TRUNK_FAT}), ("front", 6, {SFA, TRUNK_FAT}),
        ("left", 60, {SFA, TRUNK_FAT, "vfa_cm2"}), ("front", 60, {SFA, TRUNK_FAT, "vfa_cm2"}),
        ("back", 45, {SFA, TRUNK_FAT, "vfa_cm2", "esma_cm2"}),
    ],
)  # fmt: skip
def test_border_cut_names_the_areas_it_touches(
    phantom: CanonicalSlice, side: str, depth_mm: int, incomplete: set[str]
) -> None:
    """A shallow cut takes fat from the ring only; a deep one goes through the wall."""
    top, bottom, left, right = _trunk_box(phantom)
    crop = {"front": np.s_[top + depth_mm :], "back": np.s_[: bottom - depth_mm],
            "left": np.s_[:, left + depth_mm :], "right": np.s_[:, : right - depth_mm]}[side]  # fmt: skip
    found = make_slice(np.ascontiguousarray(phantom.hu[crop]), phantom.spacing_mm, {}, "x")
    assert _codes(found) == {"field-cut"}
    assert found.incomplete == incomplete
    whole = compute_areas_cm2(make_slice(phantom.hu, phantom.spacing_mm, {}, "x").image)
    areas = compute_areas_cm2(found.image)
    assert areas[SFA] < whole[SFA]
    for name in {"vfa_cm2"} - incomplete:
        assert areas[name] == pytest.approx(whole[name], rel=0.05)


def test_a_border_that_merely_touches_is_told_and_nothing_is_incomplete(phantom: CanonicalSlice) -> None:
    _, _, left, _ = _trunk_box(phantom)
    trunk = phantom.body > 0
    shift = next(k for k in range(left, left + 5) if 0 < trunk[:, k].sum() * MM <= 30)
    found = make_slice(np.ascontiguousarray(phantom.hu[:, shift:]), phantom.spacing_mm, {}, "x")
    assert _codes(found) == {"field-touched"} and not found.incomplete
    assert "image border" in next(f.fact for f in found.findings if f.code == "field-touched")


def _in_circle(phantom: CanonicalSlice, radius_mm: float) -> np.ndarray:
    """The scene in a square image whose reconstruction circle is centred on the trunk."""
    top, bottom, left, right = _trunk_box(phantom)
    size = round(2 * radius_mm / MM)
    square = np.full((size, size), -1000, np.int16)
    square += np.random.default_rng(0).normal(0, 9, square.shape).astype(np.int16)
    rows, columns = np.indices((size, size))
    from_row, from_column = rows + (top + bottom - size) // 2, columns + (left + right - size) // 2
    inside = (from_row >= 0) & (from_row < 320) & (from_column >= 0) & (from_column < 400)
    square[inside] = phantom.hu[from_row[inside], from_column[inside]]
    centre = (size - 1) / 2
    square[np.hypot(rows - centre, columns - centre) * MM > radius_mm] = schema.HU_PADDING
    return square


@pytest.mark.parametrize(("share", "codes"), [(1.15, set()), (0.93, {"field-cut"}), (0.8, {"field-cut"})])
def test_reconstruction_circle_cuts_the_flanks(phantom: CanonicalSlice, share: float, codes: set[str]) -> None:
    _, _, left, right = _trunk_box(phantom)
    half_width_mm = (right - left) / 2 * MM
    found = make_slice(_in_circle(phantom, share * half_width_mm), (MM, MM), {}, "x")
    assert _codes(found) == codes
    assert (SFA in found.incomplete) == bool(codes)


def test_circle_cut_is_measured_along_the_circle() -> None:
    """A band 100 mm high across a circle of 150 mm radius: two arcs of 2 asin(50 / 150) x 150 mm."""
    rows, columns = np.indices((300, 300)) - 149.5
    hu = np.random.default_rng(0).normal(-1000, 8, rows.shape).astype(np.int16)
    hu[np.abs(rows) <= 50] = 40
    hu[np.hypot(rows, columns) > 149.5] = -2000
    trunk = compute_trunk(hu, (MM, MM))
    cut = compute_cut(hu, trunk, (MM, MM))
    assert cut.circle_mm == pytest.approx(2 * 2 * np.arcsin(50 / 150) * 150, rel=0.05)


def test_masks_that_reach_the_cut_are_incomplete(phantom: CanonicalSlice) -> None:
    _, bottom, _, _ = _trunk_box(phantom)
    crop = np.s_[: bottom - 30]
    muscle = phantom.tissue == schema.TISSUE_ESM
    assert muscle[bottom - 31].any(), "the cut goes through the muscle"
    found = make_slice(phantom.hu[crop], phantom.spacing_mm, {schema.TISSUE_ESM: muscle[crop]}, "x")
    assert "esma_cm2" in found.incomplete


def _with_arm(phantom: CanonicalSlice, gap_mm: float) -> np.ndarray:
    """An arm of muscle around bone at the right flank."""
    wide = np.pad(phantom.hu, ((0, 0), (0, 100)), constant_values=-1000)
    top, bottom, _, right = _trunk_box(phantom)
    rows, columns = np.indices(wide.shape)
    distance = np.hypot(rows - (top + bottom) / 2, columns - (right + gap_mm + 35)) * MM
    air = np.pad(phantom.body == 0, ((0, 0), (0, 100)), constant_values=True)
    wide[(distance <= 35) & air] = 45
    wide[distance <= 9] = 700
    return wide


@pytest.mark.parametrize(("gap_mm", "codes"), [(8.0, set()), (-3.0, {"field-arm"})])
def test_arm_is_no_trunk_and_one_that_touches_is_told(phantom: CanonicalSlice, gap_mm: float, codes: set[str]) -> None:
    whole = compute_areas_cm2(make_slice(phantom.hu, phantom.spacing_mm, {}, "x").image)
    found = make_slice(_with_arm(phantom, gap_mm), phantom.spacing_mm, {}, "x")
    assert _codes(found) == codes and not found.incomplete
    areas = compute_areas_cm2(found.image)
    assert areas[SFA] == pytest.approx(whole[SFA], rel=0.02)
    assert areas[TRUNK_FAT] == pytest.approx(whole[TRUNK_FAT], rel=0.02)


def test_arm_pressed_into_the_flank_is_told(phantom: CanonicalSlice) -> None:
    """Over more than 30 mm of contact nothing parts them: the notches beside the arm give it away."""
    for gap_mm in (-8.0, -25.0):
        assert _codes(make_slice(_with_arm(phantom, gap_mm), phantom.spacing_mm, {}, "x")) == {"field-arm"}


@pytest.mark.parametrize("seed", range(6))
def test_hull_is_that_of_scikit_image(seed: int) -> None:
    """Blobs of any outline, some cut by the image border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 120)), 5)
    blob = largest(noise > 0)
    np.testing.assert_array_equal(_fill_hull(blob), convex_hull_image(blob))  # pyrefly: ignore[bad-argument-type]


def test_border_cut_is_told_in_grey_levels_too(phantom: CanonicalSlice) -> None:
    """A picture without Hounsfield units, both flanks cropped off."""
    columns = np.flatnonzero(phantom.body.any(axis=0))
    part = np.s_[:, columns[0] + 40 : columns[-1] - 40]
    grey = np.clip((phantom.hu[part].astype(int) + 200) // 2, 0, 255).astype(np.int16)
    drawn = {schema.TISSUE_SAT: phantom.tissue[part] == schema.TISSUE_SAT}
    found = make_slice(grey, phantom.spacing_mm, drawn, "x", is_hu=False)
    assert "sfa_cm2" in found.incomplete and "field-cut" in [finding.code for finding in found.findings]


@pytest.mark.parametrize("shift_hu", [60, -60])
def test_values_off_the_hounsfield_scale_are_told(phantom: CanonicalSlice, shift_hu: int) -> None:
    shifted = np.clip(phantom.hu.astype(int) + shift_hu, schema.HU_PADDING, 3000).astype(np.int16)
    codes = [finding.code for finding in make_slice(shifted, phantom.spacing_mm, {}, "x").findings]
    assert "slice-hu-shift" in codes
    assert "slice-hu-shift" not in [f.code for f in make_slice(phantom.hu, phantom.spacing_mm, {}, "x").findings]
