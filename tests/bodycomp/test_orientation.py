"""The spine's side: correct slices are measured, turned or flipped ones refused, or nothing is concluded."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.orientation import find_spine
from data_pipelines.bodycomp.slice import make_slice
from data_pipelines.bodycomp.trunk import compute_trunk
from data_pipelines.ingest.dicom import load_dicom
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.nifti import load_nifti
from data_pipelines.phantom import anatomy, render

Plane = tuple[np.ndarray, tuple[float, float]]
Change = Callable[[np.ndarray], np.ndarray]
#: A slice with a correct header, and with the six wrong ones; a mirrored one cannot be distinguished.
RIGHT: dict[str, Change] = {"upright": lambda hu: hu, "mirrored": lambda hu: hu[:, ::-1]}
WRONG: dict[str, Change] = {
    "front to back": lambda hu: hu[::-1], "half turn": lambda hu: hu[::-1, ::-1], "quarter turn": np.rot90,
    "quarter turn back": lambda hu: np.rot90(hu, 3), "transposed": np.transpose,
    "transposed, half turn": lambda hu: hu[::-1, ::-1].T,
}  # fmt: skip


def _make_phantom(seed: int, mm: float = 1.5) -> Plane:
    random = np.random.default_rng(seed)
    areas = anatomy.Areas(random.uniform(60, 220), random.uniform(30, 140), random.uniform(20, 50))
    image = render.render_slice(random, (round(330 / mm), round(410 / mm)), mm, areas, 5.0)
    return image.hu, image.spacing_mm


def _iter_real(shared: Path, step: int) -> Iterator[Plane]:
    """Slices of both real volumes."""
    folder = shared / "data" / "ct_t11_dicom"
    stacks = load_dicom(find_files(folder), folder), load_nifti(
        find_files(shared / "data" / "ct_t11_l2_nifti" / "ct.nii.gz")[0])
    for stack in stacks:
        for k in range(0, len(stack.grid.z_mm), step):
            yield stack.load_hu(k)[0], stack.grid.spacing_mm


def _judge(hu: np.ndarray, spacing_mm: tuple[float, float], change: Change) -> str:
    hu = np.ascontiguousarray(change(hu))
    if hu.shape[0] != change(np.empty((1, 2))).shape[0]:
        spacing_mm = spacing_mm if change(np.empty((1, 2))).shape == (1, 2) else spacing_mm[::-1]
    side, _ = find_spine(hu, compute_trunk(hu, spacing_mm), spacing_mm)
    return "undecided" if side is None else "measured" if side == "posterior" else "refused"


def _count(planes: Iterator[Plane] | list[Plane], changes: dict[str, Change]) -> Counter[str]:
    return Counter(_judge(hu, mm, change) for hu, mm in planes for change in changes.values())


def _pour(plane: Plane, ellipse: tuple[float, float, float, float], hu: float, noise: float) -> Plane:
    """Contrast agent in an ellipse: middle as a share of the trunk's half box (left, back), half axes in mm."""
    old, mm = plane
    left, back, wide_mm, deep_mm = ellipse
    trunk = compute_trunk(old, mm)
    rows, columns = (np.flatnonzero(trunk.any(axis=axis)) for axis in (1, 0))
    y, x = (((at[0] + at[-1]) + share * (at[-1] - at[0])) / 2 for at, share in ((rows, back), (columns, left)))
    down, right = np.indices(old.shape)
    inside = (((down - y) * mm[0] / deep_mm) ** 2 + ((right - x) * mm[1] / wide_mm) ** 2 <= 1) & (old < 150)
    filled = np.where(inside, hu + np.random.default_rng(0).normal(0, noise, old.shape), old)
    blurred = ndimage.gaussian_filter(filled, [0.7 / side for side in mm])
    near = ndimage.binary_dilation(inside, iterations=2) & (old < 150)
    return np.rint(np.where(near, blurred, old)).astype(np.int16), mm


#: Heart, aorta, both kidneys, stomach and a pacemaker.
CONTRAST: dict[str, list[tuple[tuple[float, float, float, float], float, float]]] = {
    "heart": [((0.2, -0.3, 40, 45), 330, 20)], "noisy heart": [((0.2, -0.3, 40, 45), 330, 40)],
    "aorta": [((0.1, 0.05, 13, 13), 380, 20)],
    "kidneys": [((-0.4, 0.35, 24, 28), 220, 20), ((0.4, 0.35, 24, 28), 220, 20)],
    "stomach": [((0.4, -0.4, 30, 45), 500, 25)],
    "bowel": [((side / 4, -0.5, 11, 11), 450, 20) for side in (-2, -1, 0, 1, 2)],
    "implant": [((0.3, -0.5, 20, 6), 3071, 0)],
}


def _fill(plane: Plane, name: str) -> Plane:
    for ellipse, hu, noise in CONTRAST[name]:
        plane = _pour(plane, ellipse, hu, noise)
    return plane


def test_phantoms_are_measured_turned_ones_refused() -> None:
    planes = [_make_phantom(seed) for seed in range(2)]
    assert _count(planes, RIGHT) == {"measured": 4}
    assert _count(planes, WRONG) == {"refused": 12}


@pytest.mark.parametrize("name", ["heart", "kidneys", "bowel"])
def test_contrast_agent_is_no_spine(name: str) -> None:
    assert _judge(*_fill(_make_phantom(0), name), RIGHT["upright"]) == "measured"


def test_real_slices_are_measured_turned_ones_refused(shared: Path) -> None:
    planes = list(_iter_real(shared, 25))
    assert _count(planes, RIGHT) == {"measured": 2 * len(planes)}
    assert _count(planes, WRONG) == {"refused": 6 * len(planes)}


def _shrink(plane: Plane, trunk_cm2: float) -> Plane:
    """The slice with pixels made smaller, as of a child."""
    hu, (row_mm, column_mm) = plane
    factor = math.sqrt(trunk_cm2 / (compute_trunk(hu, plane[1]).sum() * row_mm * column_mm / 100))
    return hu, (row_mm * factor, column_mm * factor)


@pytest.mark.parametrize("trunk_cm2", [110, 180, 270])
def test_a_small_trunk_is_judged_as_an_adult_one(trunk_cm2: float) -> None:
    planes = [_shrink(_make_phantom(0), trunk_cm2)]
    assert _count(planes, RIGHT) == {"measured": 2}
    assert _count(planes, WRONG) == {"refused": 6}


@pytest.mark.parametrize("trunk_cm2", [190, 274])
def test_small_real_slices_are_measured_turned_ones_refused(shared: Path, trunk_cm2: float) -> None:
    planes = [_shrink(plane, trunk_cm2) for plane in _iter_real(shared, 40)]
    assert _count(planes, RIGHT) == {"measured": 2 * len(planes)}
    assert _count(planes, WRONG) == {"refused": 6 * len(planes)}


def test_a_whole_trunk_without_bone_is_measured_with_a_warning() -> None:
    hu, mm = _make_phantom(2)
    without = np.minimum(hu, 140)
    codes = [note.code for note in make_slice(without, mm, {}, "x", segment="none").findings]
    assert "slice-orientation-unknown" in codes
    codes = [note.code for note in make_slice(hu, mm, {}, "x", segment="none").findings]
    assert "slice-orientation-unknown" not in codes


def test_message_and_trust() -> None:
    hu, mm = _make_phantom(1)
    flipped = np.ascontiguousarray(hu[::-1])
    with pytest.raises(InputDataError, match="spine anterior: bone posterior 0") as refusal:
        make_slice(flipped, mm, {}, "x", segment="none")
    assert refusal.value.code == "slice-orientation" and "--trust-geometry" in refusal.value.mend
    found = make_slice(flipped, mm, {}, "x", segment="none", trust_geometry=True)
    assert "slice-orientation-trusted" in [note.code for note in found.findings]
    found = make_slice(hu, mm, {}, "x", segment="none", trust_geometry=True)
    assert "slice-orientation-trusted" not in [note.code for note in found.findings]


def test_nothing_is_concluded_from_too_little() -> None:
    """No bone, or only a part of the trunk."""
    hu, mm = _make_phantom(2)
    trunk = compute_trunk(hu, mm)
    assert find_spine(np.minimum(hu, 140), trunk, mm)[0] is None
    small = np.zeros_like(trunk)
    small[60:90, 60:90] = True
    assert find_spine(hu, small, mm)[0] is None


@pytest.mark.parametrize("cut_mm", [45, 75, 105])
def test_a_small_field_of_view_is_no_coronal_picture(cut_mm: int) -> None:
    """Both flanks are outside."""
    hu, mm = _make_phantom(3)
    at = np.flatnonzero(compute_trunk(hu, mm).any(axis=0))
    n = round(cut_mm / mm[1])
    hu = np.ascontiguousarray(hu[:, at[0] + n : at[-1] - n])
    assert find_spine(hu, compute_trunk(hu, mm), mm)[0] in (None, "posterior")


@pytest.mark.parametrize("columns", [False, True])
def test_a_trunk_cut_lengthwise_is_no_axial_slice(columns: bool) -> None:
    """A sagittal picture of the spine: the trunk leaves at two opposite borders and only there."""
    hu = np.full((150, 150), -1000, np.int16)
    hu[:, 20:130] = 40
    hu[:, 90:110] = np.where(np.indices((150, 20)).sum(axis=0) % 4 < 2, 150, 450)
    hu = np.ascontiguousarray(hu.T) if columns else hu
    mm = (2.0, 2.0)
    assert find_spine(hu, compute_trunk(hu, mm), mm)[0] == "lengthwise"
    front = hu.copy()
    front[:5] = front[:, :5] = -1000
    assert find_spine(front, compute_trunk(front, mm), mm)[0] != "lengthwise"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_spine_on_many_slices(shared: Path) -> None:
    """Every real slice and 40 phantoms, plain and with seven kinds of contrast agent: no correct one is refused."""
    planes = [*_iter_real(shared, 1), *(_make_phantom(seed, 1.0) for seed in range(40))]
    right, wrong = _count(planes, RIGHT), _count(planes, WRONG)
    print(f"spine: {right['measured']} of {right.total()} correct slices measured, {wrong['refused']} of "
          f"{wrong.total()} wrong orientations refused, {right['undecided'] + wrong['undecided']} undecided")
    assert right == {"measured": right.total()} and wrong == {"refused": wrong.total()}
    filled = [_fill(plane, name) for plane in planes[::4] for name in CONTRAST]
    right, wrong = _count(filled, RIGHT), _count(filled, WRONG)
    print(f"spine with contrast agent or metal: {right['measured']} of {right.total()} correct slices measured, "
          f"{right['refused']} refused; {wrong['refused']} of {wrong.total()} wrong orientations refused, "
          f"{wrong['undecided']} undecided, {wrong['measured']} measured")
    assert right["refused"] == 0 and wrong["refused"] >= 0.9 * wrong.total()
