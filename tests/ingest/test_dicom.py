"""DICOM folders: one series, sorted, in anatomical order whatever its orientation; several are told apart."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.grid import turn, turn_back
from tests.ingest.conftest import (
    GRID,
    HEIGHT,
    N_SLICES,
    SPACING_MM,
    WIDTH,
    Z_MM,
    load_stack,
    make_dicom,
    make_hu,
    save_dicom,
)


def _check_refused(path: Path, code: str, series: int | None = None) -> InputDataError:
    with pytest.raises(InputDataError) as refusal:
        load_stack(path, series)
    assert refusal.value.code == code
    assert refusal.value.mend and "\n" not in str(refusal.value) and "canary" not in str(refusal.value)
    return refusal.value


def test_sorted_by_position_whatever_the_names(dicom_folder: Path) -> None:
    stack = load_stack(dicom_folder)
    assert stack.grid == GRID
    assert (stack.kind, stack.is_hu, stack.tilt_deg, stack.findings) == ("dicom", True, 0.0, ())
    for k in range(N_SLICES):
        hu, findings = stack.load_hu(k)
        np.testing.assert_array_equal(hu, np.maximum(make_hu()[k], -1024))
        assert findings == ()


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("is_row_flipped", [False, True])
@pytest.mark.parametrize("is_column_flipped", [False, True])
def test_every_orientation_comes_out_anatomical(
    tmp_path: Path, is_transposed: bool, is_row_flipped: bool, is_column_flipped: bool
) -> None:
    """The stored picture is turned and its cosines say so: the slice and its place must not change."""
    hu = make_hu()[0]
    stored = hu[:: -1 if is_row_flipped else 1, :: -1 if is_column_flipped else 1]
    x, y = GRID.corner_mm
    along_x, along_y = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    if is_column_flipped:
        x, along_x = x + SPACING_MM[1] * (WIDTH - 1), -along_x
    if is_row_flipped:
        y, along_y = y + SPACING_MM[0] * (HEIGHT - 1), -along_y
    stored = stored.T if is_transposed else stored
    header = make_dicom(stored)
    header.ImagePositionPatient = [x, y, Z_MM[0]]
    axes, spacing = ((along_y, along_x), SPACING_MM[::-1]) if is_transposed else ((along_x, along_y), SPACING_MM)
    header.ImageOrientationPatient = [*axes[0], *axes[1]]
    header.PixelSpacing = list(spacing)
    save_dicom(header, tmp_path / "p" / "x")
    stack = load_stack(tmp_path / "p")
    np.testing.assert_array_equal(stack.load_hu(0)[0], hu)
    np.testing.assert_array_equal(turn(stored, stack.axes), hu)
    np.testing.assert_array_equal(turn_back(hu, stack.axes), stored)
    assert stack.grid.corner_mm == pytest.approx(GRID.corner_mm)
    assert stack.grid.spacing_mm == SPACING_MM


def _save_tilted(folder: Path, tilt_deg: float, tag_deg: float | None = None) -> None:
    """The gantry turned about the left-right axis: columns rise or fall towards the back."""
    radians = math.radians(tilt_deg)
    for k in range(N_SLICES):
        header = make_dicom(make_hu()[k], k)
        header.ImageOrientationPatient = [1, 0, 0, 0, round(math.cos(radians), 6), round(math.sin(radians), 6)]
        header.GantryDetectorTilt = tilt_deg if tag_deg is None else tag_deg
        save_dicom(header, folder / str(k))


@pytest.mark.parametrize(("tilt_deg", "told_deg"), [(0.5, 0.0), (0.7, 0.7), (-4.9, 4.9)])
def test_small_tilt_is_accepted_and_told(tmp_path: Path, tilt_deg: float, told_deg: float) -> None:
    _save_tilted(tmp_path, tilt_deg)
    stack = load_stack(tmp_path)
    assert stack.tilt_deg == pytest.approx(told_deg, abs=0.01)
    hu, findings = stack.load_hu(2)
    np.testing.assert_array_equal(hu, make_hu()[2])
    assert [note.code for note in findings] == ["dicom-tilt"] * bool(told_deg)
    # Positions are those of the slices' centres.
    rise_mm = (HEIGHT - 1) * SPACING_MM[0] * math.sin(math.radians(tilt_deg)) / 2 if told_deg else 0
    assert stack.grid.z_mm == pytest.approx(tuple(z + rise_mm for z in Z_MM), abs=1e-3)


@pytest.mark.parametrize("tilt_deg", [5.1, -22.0, 44.0])
def test_large_tilt_is_refused(tmp_path: Path, tilt_deg: float) -> None:
    _save_tilted(tmp_path, tilt_deg)
    error = _check_refused(tmp_path, "dicom-tilt-large")
    assert f"{abs(tilt_deg):.1f} degrees" in error.fact


def test_tilt_tag_beside_straight_cosines(tmp_path: Path) -> None:
    """The cosines decide; a contradiction larger than the largest tilt measured is refused."""
    _save_tilted(tmp_path / "small", 0.0, tag_deg=3.0)
    stack = load_stack(tmp_path / "small")
    assert stack.tilt_deg == 0
    assert [(note.code, note.fact[:20]) for note in stack.load_hu(0)[1]] == [("dicom-tilt-tag", "GantryDetectorTilt 3")]
    _save_tilted(tmp_path / "large", 0.0, tag_deg=-20.0)
    _check_refused(tmp_path / "large", "dicom-tilt-contradicts")


def _add_series(folder: Path, change: Callable[[Dataset], None], n: int = 2) -> None:
    for k in range(n):
        header = make_dicom(make_hu()[k], k)
        change(header)
        save_dicom(header, folder / f"other{k}")


def _set(**values: object) -> Callable[[Dataset], None]:
    def change(header: Dataset) -> None:
        for name, value in values.items():
            setattr(header, name, value)

    return change


@pytest.mark.parametrize(("change", "fact"), [
    (_set(Modality="MR"), "Modality MR"),
    (_set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "ImageType LOCALIZER"),
    (_set(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "90.0 degrees from axial"),
])
def test_other_images_in_the_folder_are_left_out_and_told(
    dicom_folder: Path, change: Callable[[Dataset], None], fact: str
) -> None:
    _add_series(dicom_folder, change)
    (dicom_folder / "notes.txt").write_text("no DICOM")
    stack = load_stack(dicom_folder)
    assert len(stack.frames) == N_SLICES
    left_out, other = stack.findings
    assert left_out.code == "dicom-left-out" and left_out.what.startswith("2 left out") and fact in left_out.fact
    assert other.code == "dicom-other-files" and other.what.startswith("1 files are not DICOM")


@pytest.mark.parametrize("change", [
    _set(SeriesInstanceUID="1.9"), _set(PixelSpacing=[1, 1]), _set(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]),
])
def test_several_series_are_listed_and_one_can_be_chosen(
    dicom_folder: Path, change: Callable[[Dataset], None]
) -> None:
    _add_series(dicom_folder, change)
    error = _check_refused(dicom_folder, "dicom-several-series")
    assert "series: 1: 5 slices of 60 x 80 pixels of 4 x 3 mm, every 5 mm, z -100 to -80; 2: 2 slices" in str(error)
    assert "--series" in error.mend and "1.9" not in str(error) and "1.2.3" not in str(error)
    assert load_stack(dicom_folder, 1).grid == GRID
    assert len(load_stack(dicom_folder, 2).frames) == 2
    for n in (0, 3):
        assert "use --series 1 to 2" in str(_check_refused(dicom_folder, "dicom-no-series", n))


def test_order_of_series_does_not_hang_on_file_names(tmp_path: Path) -> None:
    for folder, names in (("one", "ab"), ("two", "ba")):
        for name, z in zip(names, (10.0, -300.0), strict=True):
            header = make_dicom(make_hu()[0])
            header.SeriesInstanceUID, header.ImagePositionPatient = f"1.{int(400 - z)}", [*GRID.corner_mm, z]
            save_dicom(header, tmp_path / folder / name)
        assert [load_stack(tmp_path / folder, n).grid.z_mm for n in (1, 2)] == [(-300.0,), (10.0,)]


def test_rounding_makes_no_series_of_its_own(tmp_path: Path) -> None:
    for k in range(N_SLICES):
        header = make_dicom(make_hu()[k], k)
        header.ImageOrientationPatient = [1, 0.00049 + 0.00001 * k, 0, 0, 1, -1e-9 * k]
        header.PixelSpacing = [4.0, 3.000004 + 0.000001 * k]
        save_dicom(header, tmp_path / str(k))
    assert len(load_stack(tmp_path).frames) == N_SLICES


def test_empty_series_identifiers_are_one_series(dicom_folder: Path) -> None:
    for file in dicom_folder.rglob("*"):
        if file.is_file():
            header = pydicom.dcmread(file)
            header.SeriesInstanceUID = ""
            save_dicom(header, file)
    assert load_stack(dicom_folder).grid == GRID


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_two_patients_are_refused_and_not_named(dicom_folder: Path, modality: str) -> None:
    """Also where the other patient's images would be left out: the folder is mixed up."""
    _add_series(dicom_folder, _set(PatientID="canary^other", Modality=modality))
    assert _check_refused(dicom_folder, "dicom-two-patients").fact == "2 different PatientID"


def test_copies_are_dropped_two_phases_refused(dicom_folder: Path) -> None:
    save_dicom(make_dicom(make_hu()[0]), dicom_folder / "copy")
    save_dicom(make_dicom(make_hu()[3], 3), dicom_folder / "another")
    stack = load_stack(dicom_folder)
    assert stack.grid == GRID
    assert [(note.code, note.what) for note in stack.findings] == [("dicom-copies", "2 copies of slices were left out")]
    save_dicom(make_dicom(make_hu()[0] + 7, 0), dicom_folder / "phase")
    assert "z -100" in _check_refused(dicom_folder, "dicom-two-phases").fact


def test_same_pixels_with_another_intercept_are_no_copy(dicom_folder: Path) -> None:
    header = make_dicom(make_hu()[0])
    header.RescaleIntercept = -1000
    save_dicom(header, dicom_folder / "phase")
    _check_refused(dicom_folder, "dicom-two-phases")


def test_gaps_are_told_shifts_refused(dicom_folder: Path) -> None:
    header = make_dicom(make_hu()[0])
    header.ImagePositionPatient = [*GRID.corner_mm, 500.0]
    save_dicom(header, dicom_folder / "far")
    stack = load_stack(dicom_folder)
    assert [note.code for note in stack.findings] == ["dicom-uneven"]
    assert "gaps of 580 mm, most 5" in stack.findings[0].fact
    header.ImagePositionPatient = [GRID.corner_mm[0] + 4, GRID.corner_mm[1], 500.0]
    save_dicom(header, dicom_folder / "far")
    _check_refused(dicom_folder, "dicom-shifted")


def test_slope_and_intercept_are_each_slice_own(tmp_path: Path) -> None:
    hu = make_hu()
    for k in range(2):
        header = make_dicom(hu[k], k)
        header.RescaleSlope, header.RescaleIntercept = 0.5 + k, -500 * k
        stored = (hu[k] + 500 * k) / (0.5 + k)
        header.PixelData = np.rint(stored).astype("<i2").tobytes()
        save_dicom(header, tmp_path / str(k))
    stack = load_stack(tmp_path)
    for k in range(2):
        np.testing.assert_allclose(stack.load_hu(k)[0], hu[k], atol=1)


def test_zip_is_read_like_its_folder(dicom_folder: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "packed"), "zip", dicom_folder)
    stack = load_stack(tmp_path / "packed.zip")
    assert stack.grid == GRID
    for k in range(N_SLICES):
        np.testing.assert_array_equal(stack.load_hu(k)[0], load_stack(dicom_folder).load_hu(k)[0])
    assert sorted(f.name for f in tmp_path.iterdir()) == ["007", "packed.zip"], "something was unpacked"


def test_an_image_that_is_damaged_is_left_out_and_told(dicom_folder: Path) -> None:
    (dicom_folder / "cut").write_bytes((dicom_folder / "9").read_bytes()[:400])
    stack = load_stack(dicom_folder)
    assert stack.grid == GRID
    assert [note.code for note in stack.findings] == ["dicom-left-out"]


def test_real_series(shared: Path) -> None:
    """20 slices of 2 mm with empty identifiers and file names without endings."""
    stack = load_stack(shared / "data" / "ct_t11_dicom")
    assert len(stack.frames) == 20 and stack.findings == ()
    assert (stack.grid.z_mm[0], stack.grid.z_mm[-1]) == (-804.5, -766.5)
    assert np.diff(stack.grid.z_mm) == pytest.approx(2.0)


def test_water_is_zero(shared: Path) -> None:
    hu, findings = load_stack(shared / "data" / "water_phantom.dcm").load_hu(0)
    assert hu[206:306, 206:306].mean() == pytest.approx(1.03, abs=0.05)
    assert findings == ()
