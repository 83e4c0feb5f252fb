"""DICOM folders: anatomical order whatever the orientation, Hounsfield units, and a clear refusal of the rest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.ingest import read_source
from data_pipelines.ingest.dicom import load_dicom
from tests.ingest.conftest import GRID, HEIGHT, N_SLICES, SPACING_MM, WIDTH, Z_MM, make_dicom, make_hu, save_dicom


def test_sorted_by_position_whatever_the_names(dicom_folder: Path) -> None:
    stack = load_dicom(dicom_folder)
    assert stack.grid == GRID
    for k in range(N_SLICES):
        np.testing.assert_array_equal(stack.load_hu(k)[0], np.maximum(make_hu()[k], -1024))


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
    header = make_dicom(stored.T if is_transposed else stored)
    header.ImagePositionPatient = [x, y, Z_MM[0]]
    axes, spacing = ((along_y, along_x), SPACING_MM[::-1]) if is_transposed else ((along_x, along_y), SPACING_MM)
    header.ImageOrientationPatient = [*axes[0], *axes[1]]
    header.PixelSpacing = list(spacing)
    save_dicom(header, tmp_path / "p" / "x")
    stack = load_dicom(tmp_path / "p")
    np.testing.assert_array_equal(stack.load_hu(0)[0], hu)
    assert stack.grid.corner_mm == pytest.approx(GRID.corner_mm)
    assert stack.grid.spacing_mm == SPACING_MM


def test_slope_and_intercept_are_each_slice_own(tmp_path: Path) -> None:
    hu = make_hu()
    for k in range(2):
        header = make_dicom(hu[k], k)
        header.RescaleSlope, header.RescaleIntercept = 0.5 + k, -500 * k
        stored = (hu[k] + 500 * k) / (0.5 + k)
        header.PixelData = np.rint(stored).astype("<i2").tobytes()
        save_dicom(header, tmp_path / str(k))
    stack = load_dicom(tmp_path)
    for k in range(2):
        np.testing.assert_allclose(stack.load_hu(k)[0], hu[k], atol=1)


def test_padding_is_air(tmp_path: Path) -> None:
    header = make_dicom(make_hu()[0])
    stored = np.frombuffer(header.PixelData, "<i2").reshape(HEIGHT, WIDTH).copy()
    stored[:5] = -2000
    stored[5:8] = 3000
    header.PixelData, header.PixelPaddingValue = stored.tobytes(), 3000
    save_dicom(header, tmp_path / "x")
    hu, _ = load_dicom(tmp_path).load_hu(0)
    assert (hu[:8] == schema.HU_PADDING).all()
    assert hu.dtype == np.int16


def _set(**values: object) -> Callable[[Dataset], None]:
    def change(header: Dataset) -> None:
        for name, value in values.items():
            setattr(header, name, value)

    return change


def _drop(name: str) -> Callable[[Dataset], None]:
    return lambda header: delattr(header, name)


def _add_lut(header: Dataset) -> None:
    header.ModalityLUTSequence = [Dataset()]


FAULTS: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "MR": (_set(Modality="MR"), "not a CT"),
    "structured report": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"), "SOP class"),
    "enhanced": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1"), "multi-frame"),
    "multi-frame": (_set(NumberOfFrames=2), "multi-frame"),
    "localiser": (_set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localiser"),
    "inverted": (_set(PhotometricInterpretation="MONOCHROME1"), "MONOCHROME2"),
    "colour": (_set(SamplesPerPixel=3), "greyscale"),
    "lookup table": (_add_lut, "lookup table"),
    "no slope": (_drop("RescaleSlope"), "slope"),
    "no intercept": (_drop("RescaleIntercept"), "intercept"),
    "other units": (_set(RescaleType="OD"), "Hounsfield"),
    "no spacing": (_drop("PixelSpacing"), "spacing"),
    "zero slope": (_set(RescaleSlope=0), "slope"),
    "empty slope": (_set(RescaleSlope=""), "slope"),
    "one spacing": (_set(PixelSpacing=1.0), "spacing"),
    "no rows": (_drop("Rows"), "rows or columns"),
    "two positions": (_set(ImagePositionPatient=[0, 0]), "position"),
    "zero spacing": (_set(PixelSpacing=[0, 1]), "spacing"),
    "no position": (_drop("ImagePositionPatient"), "position"),
    "no orientation": (_drop("ImageOrientationPatient"), "orientation"),
    "coronal": (_set(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "oblique"),
    "oblique": (_set(ImageOrientationPatient=[1, 0, 0, 0, 0.966, 0.259]), "oblique"),
    "turned in plane": (_set(ImageOrientationPatient=[0.966, 0.259, 0, -0.259, 0.966, 0]), "oblique"),
    "no orientation at all": (_set(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), "oblique"),
    "tilt": (_set(GantryDetectorTilt=10), "tilted"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_understood_is_refused(tmp_path: Path, fault: str) -> None:
    change, wanted = FAULTS[fault]
    header = make_dicom(make_hu()[0])
    change(header)
    save_dicom(header, tmp_path / "x")
    with pytest.raises(InputDataError, match=wanted) as refusal:
        read_source(tmp_path)
    _check_one_line(refusal.value)


def _check_one_line(error: InputDataError) -> None:
    assert "\n" not in str(error)
    assert error.where
    assert error.mend
    assert "canary" not in str(error)


@pytest.mark.parametrize("change", [_set(SeriesInstanceUID="1.9"), _set(PatientID="other"), _set(PixelSpacing=[1, 1])])
def test_mixed_series_are_refused(dicom_folder: Path, change: Callable[[Dataset], None]) -> None:
    header = make_dicom(make_hu()[0])
    header.ImagePositionPatient = [*GRID.corner_mm, 500.0]
    change(header)
    save_dicom(header, dicom_folder / "one_more")
    with pytest.raises(InputDataError, match="several series"):
        load_dicom(dicom_folder)


def test_two_files_at_one_position_are_refused(dicom_folder: Path) -> None:
    save_dicom(make_dicom(make_hu()[0]), dicom_folder / "copy")
    with pytest.raises(InputDataError, match="one slice position"):
        load_dicom(dicom_folder)


def test_other_files_are_left_out_and_gaps_are_told(dicom_folder: Path) -> None:
    (dicom_folder / "notes.txt").write_text("no DICOM")
    header = make_dicom(make_hu()[0])
    header.ImagePositionPatient = [*GRID.corner_mm, 500.0]
    save_dicom(header, dicom_folder / "far")
    notes = " ".join(load_dicom(dicom_folder).warnings)
    assert "1 files are not DICOM" in notes
    assert "uneven" in notes


@pytest.mark.parametrize("n_bytes", [0, 100, 200, 600, 5000])
def test_truncated_files_are_refused(tmp_path: Path, n_bytes: int) -> None:
    save_dicom(make_dicom(make_hu()[0]), tmp_path / "whole" / "x")
    whole = (tmp_path / "whole" / "x").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "x").write_bytes(whole[:n_bytes])
    with pytest.raises(InputDataError) as refusal:
        read_source(tmp_path / "cut")
    _check_one_line(refusal.value)


def test_real_edge_cases_are_refused(shared: Path) -> None:
    wanted = {
        "bad_sequence.dcm": "cuts the trunk", "eCT_Supplemental.dcm": "multi-frame",
        "emri_small_jpeg_2k_lossless_too_short.dcm": "not a CT", "mlut_18.dcm": "not a CT",
        "no-pixel-spacing.dcm": "not a CT", "parametric_map_float.dcm": "not a CT",
    }  # fmt: skip
    files = sorted((shared / "data" / "dicom_edge_cases").iterdir())
    assert {file.name for file in files} == set(wanted)
    for file in files:
        with pytest.raises(InputDataError, match=wanted[file.name]) as refusal:
            read_source(file)
        _check_one_line(refusal.value)


def test_lossless_encodings_are_equal_in_hu(shared: Path) -> None:
    """Lossless encodings decode to the plain file's values; a lossy one is told, an undecodable one refused."""
    folder = shared / "data" / "ct_transfer_syntaxes"
    plain, _ = load_dicom(folder / "CTImage.dcm").load_hu(0)
    n_equal = 0
    for file in sorted(folder.iterdir()):
        is_lossy = any(file.name.endswith(f".4.{n}.dcm") for n in (50, 51, 53, 55, 81, 91))
        try:
            hu, notes = load_dicom(file).load_hu(0)
        except InputDataError as error:
            assert is_lossy and "cannot be decoded" in str(error)
            continue
        if is_lossy:
            assert any("lossy" in note for note in notes) or file.name.endswith(".91.dcm")
        else:
            np.testing.assert_array_equal(hu, plain)
            n_equal += 1
    assert n_equal == 10


def test_water_is_zero(shared: Path) -> None:
    hu, _ = load_dicom(shared / "data" / "water_phantom.dcm").load_hu(0)
    assert hu[206:306, 206:306].mean() == pytest.approx(1.03, abs=0.05)
