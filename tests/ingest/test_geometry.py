"""Where a volume is in the patient: two forms of a header, placeholders, oblique stacks and masks that are turned."""

from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.nifti import load_nifti
from data_pipelines.ingest.nifti_affine import load_affine
from tests.ingest.conftest import GRID, N_SLICES, SPACING_MM, Z_MM, load_stack, make_dicom, make_hu, save_dicom

FLIPS = ((1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, -1), (1, -1, -1))
SHAPES = ((512, 512, 600), (1024, 1024, 300), (512, 512, 20))
WRITERS = ("nibabel", "sform in single precision", "quaternion in single precision")


def _turn(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn, (i, j) = np.eye(3), ((1, 2), (0, 2), (0, 1))[axis]
    turn[[i, j, i, j], [i, j, j, i]] = c, c, -s, s
    return turn


def _make_affine(random: np.random.Generator, n: int) -> np.ndarray:
    """Tilts of 0.1 to 4 degrees about two axes, spacings of 0.4 to 5 mm, origins up to 1.8 m away."""
    tilts = random.uniform(0.1, 4, 2) * random.choice([-1, 1], 2)
    affine = np.eye(4)
    spacing = np.array([*[random.uniform(0.4, 1.4)] * 2, random.uniform(0.5, 5)])
    affine[:3, :3] = _turn(tilts[0], 0) @ _turn(tilts[1], 1) @ np.diag(FLIPS[n % 6]) * spacing
    affine[:3, 3] = random.uniform(-1800, 1800, 3)
    return affine


def _write_quaternion(affine: np.ndarray, header: Any) -> None:
    """As the C library does: every step in single precision (the formulas of the NIfTI-1 standard's nifti1.h)."""
    rotation = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    handed = np.sign(np.linalg.det(rotation))
    r = (rotation * [1, 1, handed]).astype(np.float32)
    half, quarter, one = np.float32(0.5), np.float32(0.25), np.float32(1)
    signs = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    squares = [one + np.float32(x) * r[0, 0] + np.float32(y) * r[1, 1] + np.float32(z) * r[2, 2] for x, y, z in signs]
    k = int(np.argmax(squares))
    root = half * np.sqrt(squares[k])
    difference = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]], np.float32)
    total = np.array([[0, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]], [r[0, 1] + r[1, 0], 0, r[1, 2] + r[2, 1]],
                      [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 0]], np.float32)  # fmt: skip
    if k == 0:
        first, rest = root, quarter * difference / root
    else:
        first, rest = quarter * difference[k - 1] / root, quarter * total[k - 1] / root
        rest[k - 1] = root
    rest = rest if first >= 0 else -rest
    for name, value in zip("bcd", rest, strict=True):
        header[f"quatern_{name}"] = value
    header["pixdim"][0] = handed


def _make_header(sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...], writer: str = "nibabel") -> Any:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_sform(sform.astype(np.float32).astype(float) if writer == WRITERS[1] else sform, 1)
    header.set_qform(qform, 1)
    if writer == WRITERS[2]:
        _write_quaternion(qform, header)
    return header


def _judge(header: Any) -> str:
    """Code of the refusal; empty where the header is accepted."""
    try:
        load_affine(header, header.get_data_shape(), _File())
    except InputDataError as error:
        return error.code
    return ""


class _File:
    where = "x"


def _differ(affine: np.ndarray, random: np.random.Generator, n: int) -> np.ndarray:
    """Shifted by 0.2 to 8 mm, turned by 0.25 to 5 degrees, flipped, of another spacing, transposed."""
    other, kind = affine.copy(), n % 5
    if kind == 0:
        way = random.normal(size=3)
        other[:3, 3] += way / np.linalg.norm(way) * random.uniform(0.2, 8)
    elif kind == 1:
        other[:3, :3] = _turn(random.choice([-1, 1]) * random.uniform(0.25, 5), n % 3) @ affine[:3, :3]
    elif kind == 2:
        other[:3, n % 3] *= -1
    elif kind == 3:
        other[:3, n % 3] *= random.uniform(1.002, 1.05)
    else:
        other[:3, :2] = affine[:3, 1::-1]
    return other


@pytest.mark.parametrize("n_pairs", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_forms_equal_but_for_rounding_are_accepted_different_ones_refused(n_pairs: int) -> None:
    random = np.random.default_rng(0)
    equal, different = Counter[str](), Counter[str]()
    for n in range(n_pairs):
        affine, shape = _make_affine(random, n), SHAPES[n % 3]
        equal.update(_judge(_make_header(affine, affine, shape, writer)) for writer in WRITERS)
        different[_judge(_make_header(affine, _differ(affine, random, n), shape))] += 1
    print(f"sform and qform: {equal['']} of {equal.total()} pairs equal but for rounding accepted, "
          f"{different['nifti-two-orientations']} of {different.total()} different pairs refused")
    assert equal == {"": 3 * n_pairs}
    assert different == {"nifti-two-orientations": n_pairs}


def test_half_a_hundredth_voxel_is_no_rounding() -> None:
    affine = np.diag([-0.7, -0.7, 2.0, 1.0])
    other = affine.copy()
    other[2, 3] += 0.005 * 2.0
    assert _judge(_make_header(affine, other, SHAPES[0])) == "nifti-two-orientations"
    other[2, 3] = 0.0005 * 2.0
    assert _judge(_make_header(affine, other, SHAPES[0])) == ""


def test_shear_that_a_qform_cannot_hold_is_accepted() -> None:
    """A tilted gantry's series, converted: the qform has the nearest rotation (nibabel strips the shear)."""
    sheared = np.diag([-0.7, -0.7, 2.0, 1.0])
    sheared[1, 2] = 0.3
    header = _make_header(sheared, sheared, SHAPES[2])
    assert not np.allclose(header.get_sform(), header.get_qform(), atol=0.01)
    assert _judge(header) == ""


def test_a_quaternion_longer_than_one_is_refused() -> None:
    header = _make_header(np.diag([-0.7, -0.7, 2.0, 1.0]), np.diag([-0.7, -0.7, 2.0, 1.0]), SHAPES[2])
    header["quatern_b"] = 0.5
    assert _judge(header) == "nifti-two-orientations"


# --- Placeholders -----------------------------------------------------------------------------------


def _save(folder: Path, affine: np.ndarray, form: str = "sform") -> Path:
    image = nib.Nifti1Image(np.ascontiguousarray(make_hu().transpose(2, 1, 0)), affine)
    image.set_sform(affine, 2 if form == "sform" else 0)
    image.set_qform(affine, 1 if form == "qform" else 0)
    folder.mkdir(exist_ok=True)
    nib.save(image, folder / "ct.nii")
    return folder


def _at(affine: np.ndarray, *origin: float) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] = origin
    return moved


N_Y, N_X = make_hu().shape[1:]
SWAPPED = np.eye(4)[[1, 0, 2, 3]]
PLACEHOLDERS = {
    "identity": np.eye(4), "a reader's default in ITK": np.diag([-1.0, -1, 1, 1]), "flipped": np.diag([1.0, -1, 1, 1]),
    "swapped": SWAPPED, "thick slices": np.diag([1.0, 1, 5, 1]), "corner at the far end": _at(
        np.eye(4), 1 - N_X, 1 - N_Y, 0), "counted from 1": _at(np.eye(4), -1, -1, -1),
    "Analyze's default": _at(np.diag([-1.0, 1, 1, 1]), (N_X - 1) / 2, -(N_Y - 1) / 2, -(N_SLICES - 1) / 2),
}  # fmt: skip


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_placeholder_affines_are_refused_or_trusted(tmp_path: Path, name: str, form: str) -> None:
    folder = _save(tmp_path / "p", PLACEHOLDERS[name], form)
    with pytest.raises(InputDataError, match="--trust-geometry") as refusal:
        read_source(folder, choice=Choice(slice_index=1))
    assert refusal.value.code == "nifti-placeholder-affine"
    stack = load_nifti(find_files(folder)[0])  # masks on such a grid are read
    assert stack.placeholder and stack.findings == ()


def test_a_trusted_placeholder_is_measured_with_a_warning(tmp_path: Path) -> None:
    """The trunk of the made-up slice is 4 x 3 times too small with pixels of 1 mm: drawn larger here."""
    hu = np.repeat(np.repeat(make_hu(), 4, axis=1), 3, axis=2)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(hu.transpose(2, 1, 0)[::-1, ::-1]), np.eye(4)), tmp_path / "ct.nii")
    found = read_source(tmp_path, choice=Choice(slice_index=1, segment="none", trust_geometry=True))
    assert found.findings[0].code == "nifti-placeholder-trusted"
    assert found.image.spacing_mm == (1.0, 1.0)


@pytest.mark.parametrize(("affine", "codes"), [
    (_at(np.diag([-1.0, -1, 5, 1]), 120, 95.5, -700), ["nifti-unit-voxels"]),
    (_at(np.diag([-1.0, -1, 1, 1]), 120, 95.5, -700), ["nifti-unit-voxels"]),
    (_at(np.diag([-1.0, -0.9, 1, 1]), 0, 0, 0), ["nifti-origin-zero"]),
    (np.diag([-0.8, -0.8, 2, 1]), ["nifti-origin-zero"]), (np.diag([0.5, 0.5, 0.5, 1]), ["nifti-origin-zero"]),
    (_at(np.diag([0.5, 0.5, 5, 1]), 0, 0, -700), ["nifti-origin-zero"]),
    (_at(np.diag([0.5, -0.5, 5, 1]), 0, 0.5 * (N_Y - 1), -700), ["nifti-origin-zero"]),
    (_at(np.diag([0.5, 0.5, 5, 1]), -0.25 * (N_X - 1), -0.25 * (N_Y - 1), -2.5 * (N_SLICES - 1)),
     ["nifti-origin-zero"]),
    (_at(np.diag([0.5, 0.5, 5, 1]), -0.25 * (N_X - 1), -0.25 * (N_Y - 1), -700), []),
    (_at(np.diag([0.5, 0.5, 5, 1]), 0, -20, 0), []),
])  # fmt: skip
def test_unit_voxels_and_zero_origins_are_a_warning(tmp_path: Path, affine: np.ndarray, codes: list[str]) -> None:
    stack = load_nifti(find_files(_save(tmp_path / "p", affine))[0])
    assert ([note.code for note in stack.findings], stack.placeholder) == (codes, "")


@pytest.mark.parametrize(("position", "spacing", "code"), [
    ((0, 0, 0), 1, "dicom-placeholder"), ((0, 0, -40), 1, "dicom-placeholder"), ((0, 0, 0), 0.9, "dicom-origin-zero"),
    ((-120, -118, 0), 0.9, ""), ((0, -118, 0), 0.9, ""),
    ((-120, -118, 0), 1, "dicom-unit-pixels"),
])  # fmt: skip
def test_placeholders_in_dicom(tmp_path: Path, position: tuple[float, ...], spacing: float, code: str) -> None:
    header = make_dicom(np.repeat(np.repeat(make_hu()[0], 4, axis=0), 3, axis=1))
    header.ImagePositionPatient, header.PixelSpacing = list(position), [spacing, spacing]
    save_dicom(header, tmp_path / "p" / "x")
    choice = Choice(segment="none")
    if code == "dicom-placeholder":
        with pytest.raises(InputDataError, match="--trust-geometry") as refusal:
            read_source(tmp_path / "p", choice=choice)
        assert refusal.value.code == code
        choice, code = Choice(segment="none", trust_geometry=True), "dicom-placeholder-trusted"
    codes = [note.code for note in read_source(tmp_path / "p", choice=choice).findings]
    assert [one for one in codes if one.startswith("dicom")] == ([code] if code else [])


# --- Oblique stacks of DICOM ------------------------------------------------------------------------


def _save_oblique(folder: Path, turn: np.ndarray, lean: np.ndarray, n: int = N_SLICES, step_mm: float = 5.0) -> None:
    """Slices turned in the patient whose origins move by step_mm along `lean`."""
    hu = make_hu()
    for k in range(n):
        header = make_dicom(hu[k % N_SLICES], k % N_SLICES)
        header.ImageOrientationPatient = [round(value, 8) for value in (*turn[:, 0], *turn[:, 1])]
        start = np.array([*GRID.corner_mm, Z_MM[0]])
        header.ImagePositionPatient = [round(float(value), 4) for value in start + k * step_mm * lean]
        save_dicom(header, folder / f"{k:03}")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("degrees", [0.5, -0.7, 2.0, 4.9])
def test_straight_oblique_stacks_are_measured(tmp_path: Path, degrees: float, axis: int) -> None:
    """Origins move along the slices' normal alone: nothing is shifted, and the tilt is reported."""
    turn = _turn(degrees, axis)
    _save_oblique(tmp_path, turn, turn[:, 2], n=10, step_mm=20)
    stack = load_stack(tmp_path)
    wanted = abs(degrees) if abs(degrees) > 0.6 else 0.0
    assert stack.tilt_deg == pytest.approx(wanted, abs=1e-3)
    assert len(stack.frames) == 10 and stack.findings == ()


def test_a_tilted_gantry_moves_along_the_table(tmp_path: Path) -> None:
    _save_oblique(tmp_path, _turn(3.0, 0), np.array([0, 0, 1.0]), n=10, step_mm=20)
    assert load_stack(tmp_path).tilt_deg == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize(("turn", "lean"), [
    (np.eye(3), _turn(2.0, 0)[:, 2]), (_turn(2.0, 0), _turn(4.0, 0)[:, 2]), (_turn(2.0, 0), _turn(2.0, 1)[:, 2]),
])  # fmt: skip
def test_sideways_shifts_are_refused(tmp_path: Path, turn: np.ndarray, lean: np.ndarray) -> None:
    _save_oblique(tmp_path, turn, lean, n=10, step_mm=20)
    with pytest.raises(InputDataError) as refusal:
        load_stack(tmp_path)
    assert refusal.value.code == "dicom-shifted"


@pytest.mark.parametrize("wrong", [False, True])
def test_masks_of_oblique_stacks(tmp_path: Path, wrong: bool) -> None:
    """The affine by the standard's formula; a straight one with the same corner and slice positions is refused."""
    turn = _turn(3.0, 0)
    _save_oblique(tmp_path / "p", turn, turn[:, 2])
    grid = load_stack(tmp_path / "p").grid
    affine = np.eye(4)
    if wrong:
        affine[:3, :3] = np.diag([SPACING_MM[1], SPACING_MM[0], 5 * np.cos(np.radians(3))])
        affine[:3, 3] = (*grid.corner_mm, grid.z_mm[0])
    else:
        affine[:3, :3] = turn * [SPACING_MM[1], SPACING_MM[0], 5.0]
        affine[:3, 3] = (*GRID.corner_mm, Z_MM[0])
    label = np.ascontiguousarray((make_hu() > 300).transpose(2, 1, 0).astype(np.uint8))
    (tmp_path / "m").mkdir()
    nib.save(nib.Nifti1Image(label, np.diag([-1.0, -1, 1, 1]) @ affine), tmp_path / "m" / "vertebrae_T11.nii.gz")
    choice = Choice(slice_index=1, segment="none")
    if wrong:
        with pytest.raises(InputDataError, match="ends 12") as refusal:
            read_source(tmp_path / "p", tmp_path / "m", choice)
        assert refusal.value.code == "mask-orientation"
    else:
        assert read_source(tmp_path / "p", tmp_path / "m", choice).level_source == "labels"


@pytest.mark.slow
def test_oblique_stacks_of_the_real_slices(shared: Path, tmp_path: Path) -> None:
    """Areas are those of the straight slice x the cosine of the tilt, 0.7 to 5 degrees about either axis."""
    folder = shared / "data" / "ct_t11_dicom"
    wanted = compute_areas_cm2(read_source(folder, choice=Choice(slice_index=18)).image)["sfa_cm2"]
    files = [pydicom.dcmread(frame.file.where, force=True) for frame in load_stack(folder).frames[16:]]
    off = []
    for degrees in (0.7, 1.0, 2.0, 3.5, 4.99, -0.7, -2.0, -4.99):
        for axis in (0, 1):
            turn, out = _turn(degrees, axis), tmp_path / f"{degrees}_{axis}"
            out.mkdir()
            start = np.array([float(value) for value in files[0].ImagePositionPatient])
            for k in range(40):
                header = files[k % 4]
                header.ImageOrientationPatient = [round(value, 8) for value in (*turn[:, 0], *turn[:, 1])]
                header.ImagePositionPatient = [round(float(value), 4) for value in start + 2 * k * turn[:, 2]]
                header.save_as(out / f"{k:02}")
            found = read_source(out, choice=Choice(slice_index=2))
            off.append(compute_areas_cm2(found.image)["sfa_cm2"] / wanted / np.cos(np.radians(degrees)) - 1)
            assert "dicom-tilt" in [note.code for note in found.findings]
    print(f"oblique stacks: {len(off)} of 16 measured, area / (area x cosine) off by at most {np.abs(off).max():.1e}")
    np.testing.assert_allclose(off, 0, atol=1e-6)
