"""Enhanced multi-frame CT: every frame equals the single-frame file it came from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage, RLELossless

from bonemet_jax.errors import InputDataError
from tests.ingest.conftest import GRID, N_SLICES, load_stack, make_dicom, make_hu, save_dicom

#: Frames are stored in this order of slices.
ORDER = (3, 0, 4, 2, 1)
GROUP_OF = {
    "PixelSpacing": "PixelMeasuresSequence", "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence", "FrameType": "CTImageFrameTypeSequence",
    "RescaleSlope": "PixelValueTransformationSequence", "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence", "GantryDetectorTilt": "CTAcquisitionDetailsSequence",
}  # fmt: skip
SHARED = ("PixelSpacing", "ImageOrientationPatient", "FrameType", "RescaleSlope", "RescaleIntercept", "RescaleType")


def _put(groups: Dataset, name: str, value: object) -> None:
    if GROUP_OF[name] not in groups:
        setattr(groups, GROUP_OF[name], [Dataset()])
    setattr(getattr(groups, GROUP_OF[name])[0], name, value)


def make_enhanced(uid: str = EnhancedCTImageStorage) -> FileDataset:
    """The five slices of the made-up patient in one file."""
    header = make_dicom(make_hu()[0])
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = uid
    header.NumberOfFrames = N_SLICES
    shared = Dataset()
    header.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    for name in SHARED:
        _put(shared, name, header[name].value)
        delattr(header, name)
    del header.ImagePositionPatient
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = [Dataset() for _ in ORDER]
    for groups, k in zip(header.PerFrameFunctionalGroupsSequence, ORDER, strict=True):
        _put(groups, "ImagePositionPatient", [*GRID.corner_mm, GRID.z_mm[k]])
    header.PixelData = (make_hu()[list(ORDER)] + 1024).astype("<i2").tobytes()
    return header


def _check_like_single_frames(file: Path) -> None:
    stack = load_stack(file)
    assert stack.grid == GRID and stack.findings == ()
    for k in range(N_SLICES):
        hu, findings = stack.load_hu(k)
        np.testing.assert_array_equal(hu, make_hu()[k])
        assert findings == ()


@pytest.mark.parametrize("uid", [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage])
def test_frames_become_slices(tmp_path: Path, uid: str) -> None:
    save_dicom(make_enhanced(uid), tmp_path / "x")
    _check_like_single_frames(tmp_path)


def test_compressed_frames_become_slices(tmp_path: Path) -> None:
    header = make_enhanced()
    header.compress(RLELossless, generate_instance_uid=False)
    save_dicom(header, tmp_path / "x")
    _check_like_single_frames(tmp_path)


def test_every_frame_has_its_own_rescale(tmp_path: Path) -> None:
    """A frame's own groups win over the shared ones."""
    header = make_enhanced()
    for n, groups in enumerate(header.PerFrameFunctionalGroupsSequence):
        for name, value in (("RescaleSlope", 1 + n), ("RescaleIntercept", -1024 + n), ("RescaleType", "HU")):
            _put(groups, name, value)
    save_dicom(header, tmp_path / "x")
    stack = load_stack(tmp_path)
    for n, k in enumerate(ORDER):
        wanted = (make_hu()[k].astype(int) + 1024) * (1 + n) - 1024 + n
        np.testing.assert_array_equal(stack.load_hu(k)[0], np.maximum(wanted, -1024))


def test_frames_that_are_no_axial_ct_are_left_out(tmp_path: Path) -> None:
    header = make_enhanced()
    _put(header.PerFrameFunctionalGroupsSequence[0], "FrameType", ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
    save_dicom(header, tmp_path / "x")
    stack = load_stack(tmp_path)
    assert len(stack.frames) == N_SLICES - 1
    assert ("dicom-left-out", "ImageType LOCALIZER") in [(note.code, note.fact) for note in stack.findings]
    np.testing.assert_array_equal(stack.load_hu(3)[0], make_hu()[4])


def _drop_group(name: str) -> Callable[[Dataset], None]:
    return lambda header: header.SharedFunctionalGroupsSequence[0].__delattr__(GROUP_OF[name])


def _tilt(header: Dataset) -> None:
    _put(header.SharedFunctionalGroupsSequence[0], "GantryDetectorTilt", 12)


@pytest.mark.parametrize(("change", "code", "fact"), [
    (_drop_group("PixelSpacing"), "dicom-no-spacing", "PixelSpacing absent"),
    (_drop_group("RescaleSlope"), "dicom-no-slope", "RescaleSlope absent"),
    (_drop_group("ImageOrientationPatient"), "dicom-no-orientation", "ImageOrientationPatient absent"),
    (_tilt, "dicom-tilt-contradicts", "GantryDetectorTilt 12"),
    (lambda header: setattr(header, "NumberOfFrames", 6), "dicom-frame-groups", "of 5, NumberOfFrames 6"),
    (lambda header: header.__delattr__("NumberOfFrames"), "dicom-frame-groups", "NumberOfFrames absent"),
])
def test_missing_groups_are_refused(
    tmp_path: Path, change: Callable[[Dataset], None], code: str, fact: str
) -> None:
    header = make_enhanced()
    change(header)
    save_dicom(header, tmp_path / "x")
    with pytest.raises(InputDataError) as refusal:
        load_stack(tmp_path)
    assert (refusal.value.code, fact in refusal.value.fact) == (code, True), str(refusal.value)


def test_a_frame_cut_off_is_refused(tmp_path: Path) -> None:
    header = make_enhanced()
    header.PixelData = header.PixelData[:-2]
    save_dicom(header, tmp_path / "x")
    with pytest.raises(InputDataError) as refusal:
        load_stack(tmp_path).load_hu(0)
    assert refusal.value.code == "dicom-truncated"


def test_two_frames_at_one_position(tmp_path: Path) -> None:
    """The same picture twice is a copy; another one is another phase."""
    header = make_enhanced()
    own = header.PerFrameFunctionalGroupsSequence
    _put(own[0], "ImagePositionPatient", [*GRID.corner_mm, GRID.z_mm[0]])
    save_dicom(header, tmp_path / "x")
    with pytest.raises(InputDataError) as refusal:
        load_stack(tmp_path)
    assert refusal.value.code == "dicom-two-phases"
    n = len(header.PixelData) // N_SLICES
    header.PixelData = header.PixelData[n:2 * n] + header.PixelData[n:]
    save_dicom(header, tmp_path / "x")
    assert "dicom-copies" in [note.code for note in load_stack(tmp_path).findings]


def test_real_enhanced_file_said_to_be_in_hounsfield_units(shared: Path, tmp_path: Path) -> None:
    """A perfusion map (rescale type US, refused as it is): two frames, mirrored columns, the upper one stored last."""
    header = pydicom.dcmread(shared / "data" / "dicom_edge_cases" / "eCT_Supplemental.dcm")
    header.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType = "HU"
    header.save_as(tmp_path / "x")
    stack = load_stack(tmp_path)
    assert stack.grid.z_mm == (-159.0, -149.0)
    stored = np.frombuffer(header.PixelData, "<u2").reshape(2, 512, 512).astype(int)
    for k in range(2):
        np.testing.assert_array_equal(stack.load_hu(k)[0], np.clip(stored[k, :, ::-1] - 1024, -1024, 32767))
