"""What is not axial CT in Hounsfield units is refused by a rule that names the header element, never an identity."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from bonemet_jax.errors import InputDataError
from data_pipelines.check_codes import VERDICTS
from data_pipelines.ingest import read_source
from data_pipelines.ingest.dicom_header import PLAIN_TAGS
from data_pipelines.ingest.dicom_rules import RULES
from tests.ingest.conftest import GRID, Z_MM, load_stack, make_dicom, make_hu, save_dicom

CANARY = "canary"


def _set(**values: object) -> Callable[[Dataset], None]:
    def change(header: Dataset) -> None:
        for name, value in values.items():
            setattr(header, name, value)

    return change


def _drop(*names: str) -> Callable[[Dataset], None]:
    def change(header: Dataset) -> None:
        for name in names:
            delattr(header, name)

    return change


def _raw(name: str, vr: str, value: bytes) -> Callable[[Dataset], None]:
    """A value that its representation forbids, as bytes."""
    def change(header: Dataset) -> None:
        tag = Tag(tag_for_keyword(name) or 0)
        header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    return change


def _lut(kind: str, *, with_slope: bool) -> Callable[[Dataset], None]:
    def change(header: Dataset) -> None:
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], kind, b"\0\0\1\0"
        table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
        header.ModalityLUTSequence = [table]
        if not with_slope:
            del header.RescaleSlope, header.RescaleIntercept

    return change


#: Name -> change, code, fact.
FAULTS: dict[str, tuple[Callable[[Dataset], None], str, str]] = {
    "MR": (_set(Modality="MR"), "dicom-not-ct", "Modality MR"),
    "no modality": (_drop("Modality"), "dicom-not-ct", "Modality absent"),
    "odd modality": (_set(Modality="CANARY"), "dicom-not-ct", "Modality of another kind"),
    "structured report": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"), "dicom-other-class", "Basic Text SR"),
    "private class": (_set(SOPClassUID="1.3.12.2"), "dicom-other-class", "SOPClassUID of another kind"),
    "multi-frame": (_set(NumberOfFrames=2), "dicom-frames", "NumberOfFrames 2"),
    "enhanced without groups": (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=2), "dicom-frame-groups",
                                "PerFrameFunctionalGroupsSequence of 0, NumberOfFrames 2"),
    "localiser": (_set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "dicom-localiser", "ImageType LOCALIZER"),
    "no rows": (_drop("Rows"), "dicom-no-image", "Rows absent"),
    "zero rows": (_set(Rows=0), "dicom-no-image", "Rows 0"),
    "huge": (_set(Rows=65535, Columns=65535), "dicom-too-large", "65535 x 65535"),
    "colour": (_set(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "dicom-not-grey", "RGB, SamplesPerPixel 3"),
    "palette": (_set(PhotometricInterpretation="PALETTE COLOR"), "dicom-not-grey", "PALETTE COLOR"),
    "32 bit": (_set(BitsAllocated=32, BitsStored=32, HighBit=31), "dicom-bits", "BitsAllocated 32"),
    "more stored than allocated": (_set(BitsStored=17, HighBit=16), "dicom-bits", "BitsStored 17"),
    "high bit elsewhere": (_set(BitsStored=12), "dicom-bits", "HighBit 15"),
    "no sign": (_drop("PixelRepresentation"), "dicom-bits", "PixelRepresentation absent"),
    "other units": (_set(RescaleType="OD"), "dicom-not-hu", "RescaleType OD"),
    "unspecified units": (_set(RescaleType="US"), "dicom-not-hu", "RescaleType US"),
    "odd units": (_set(RescaleType="canary"), "dicom-not-hu", "RescaleType of another kind"),
    "lookup table beside slope": (_lut("HU", with_slope=True), "dicom-lookup-table", "beside ModalityLUTSequence"),
    "lookup table of density": (_lut("OD", with_slope=False), "dicom-lookup-table", "ModalityLUTType OD"),
    "no slope": (_drop("RescaleSlope"), "dicom-no-slope", "RescaleSlope absent, RescaleIntercept -1024"),
    "no intercept": (_drop("RescaleIntercept"), "dicom-no-slope", "RescaleIntercept absent"),
    "zero slope": (_set(RescaleSlope=0), "dicom-no-slope", "RescaleSlope 0"),
    "empty slope": (_set(RescaleSlope=""), "dicom-no-slope", "RescaleSlope absent"),
    "slope that is text": (_raw("RescaleSlope", "DS", b"canary"), "dicom-value", "RescaleSlope is not one number"),
    "slope not a number": (_raw("RescaleSlope", "DS", b"nan "), "dicom-no-slope", "RescaleSlope nan"),
    "no spacing": (_drop("PixelSpacing"), "dicom-no-spacing", "PixelSpacing absent"),
    "one spacing": (_set(PixelSpacing=1.0), "dicom-no-spacing", "PixelSpacing not two"),
    "spacing of a localiser": (_set(PixelSpacing=[8, 8]), "dicom-spacing", "PixelSpacing 8 mm, at most 5"),
    "zero spacing": (_set(PixelSpacing=[0, 1]), "dicom-no-spacing", "PixelSpacing not two"),
    "no position": (_drop("ImagePositionPatient"), "dicom-no-position", "ImagePositionPatient absent"),
    "two positions": (_set(ImagePositionPatient=[0, 0]), "dicom-no-position", "ImagePositionPatient not three"),
    "no orientation": (_drop("ImageOrientationPatient"), "dicom-no-orientation", "ImageOrientationPatient absent"),
    "no direction": (_set(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), "dicom-no-orientation", "perpendicular unit"),
    "not perpendicular": (_set(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "dicom-no-orientation", "not two"),
    "coronal": (_set(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "dicom-not-axial", "90.0 degrees"),
    "sagittal": (_set(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "dicom-not-axial", "90.0 degrees"),
    "oblique": (_set(ImageOrientationPatient=[1, 0, 0, 0, 0.966, 0.259]), "dicom-tilt-large", "15.0 degrees"),
    "turned": (_set(ImageOrientationPatient=[0.966, 0.259, 0, -0.259, 0.966, 0]), "dicom-turned", "15.0 degrees"),
    "tilt": (_set(GantryDetectorTilt=10), "dicom-tilt-contradicts", "GantryDetectorTilt 10"),
    "two tilts": (_set(GantryDetectorTilt=[1, 2]), "dicom-value", "GantryDetectorTilt is not one number"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")  # pydicom 3.0, of what the test plants
def test_what_is_not_understood_is_refused(tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    change, code, fact = FAULTS[fault]
    header = make_dicom(make_hu()[0])
    change(header)
    save_dicom(header, tmp_path / "x")
    caplog.clear()
    with pytest.raises(InputDataError) as refusal:
        read_source(tmp_path)
    error = refusal.value
    assert (error.code, fact in error.fact) == (code, True), str(error)
    assert error.mend and error.where and "\n" not in str(error)
    assert CANARY not in (str(error) + caplog.text).lower()


ODD_VALUES = (
    ("LO", b"canary"), ("DS", b"canary"), ("DS", b"1\\2\\3 "), ("DS", b"1e999 "), ("DS", b"16.0"), ("IS", b"1.5 "),
    ("FD", b"\0" * 6 + b"\xf0\x7f"), ("UN", b"canary"), ("US", b"\1\0\2\0"), ("SS", b"\xff\xff"), ("UI", b"canary"),
    ("SQ", b""), ("PN", b"canary^x"), ("OB", b"\0\1"), ("AT", b"\x28\0\x10\0"), ("US", b""),
)  # fmt: skip


def _save_with(name: str, vr: str, value: bytes, file: Path) -> None:
    """A whole CT file in which one element's bytes are replaced: pydicom itself would not write most of these."""
    header = make_dicom(make_hu()[0])
    header.NumberOfFrames, header.GantryDetectorTilt, header.LossyImageCompression = 1, 0, "00"
    header.AcquisitionNumber, header.InstanceNumber, header.TemporalPositionIdentifier = 1, 1, 1
    header.ConvolutionKernel, header.SliceThickness, header.KVP, header.AcquisitionTime = "B", 5, 120, "120000"
    for padding in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        header.add_new(padding, "SS", -2000)
    save_dicom(header, file)
    whole, tag = file.read_bytes(), Tag(tag_for_keyword(name) or 0)
    key = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    at = whole.index(key + header[tag].VR.encode(), 132)
    n = int.from_bytes(whole[at + 6:at + 8], "little")
    is_long = vr in ("UN", "SQ", "OB")
    length = b"\0\0" + len(value).to_bytes(4, "little") if is_long else len(value).to_bytes(2, "little")
    file.write_bytes(whole[:at] + key + vr.encode() + length + value + whole[at + 8 + n:])


@pytest.mark.parametrize("name", PLAIN_TAGS)
def test_no_value_of_another_kind_ends_in_a_traceback(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every element read, in sixteen representations that are not its own: read, or refused with the fact."""
    for vr, value in ODD_VALUES:
        _save_with(name, vr, value, tmp_path / "x")
        caplog.clear()
        try:
            load_stack(tmp_path).load_hu(0)
        except InputDataError as error:
            assert error.fact and error.code != "input", (vr, value)
            assert CANARY not in str(error).lower()
        assert CANARY not in caplog.text


def test_every_rule_is_shown() -> None:
    shown = {code for _, code, _ in FAULTS.values()}
    assert {rule.code for rule in RULES} <= shown
    assert all(VERDICTS[code].severity == "error" for code in shown)


def test_inverted_display_is_told_and_changes_nothing(tmp_path: Path) -> None:
    header = make_dicom(make_hu()[0])
    header.PhotometricInterpretation = "MONOCHROME1"
    save_dicom(header, tmp_path / "x")
    hu, findings = load_stack(tmp_path).load_hu(0)
    np.testing.assert_array_equal(hu, make_hu()[0])
    assert [(note.code, note.fact) for note in findings] == [
        ("dicom-inverted", "PhotometricInterpretation MONOCHROME1")
    ]


def test_the_refusal_told_is_of_the_file_nearest_to_use(tmp_path: Path) -> None:
    """MR beside a CT without slope: the CT is what was meant."""
    for name, change in (("a", _set(Modality="MR")), ("b", _drop("RescaleSlope")), ("c", _set(Modality="MR"))):
        header = make_dicom(make_hu()[0])
        change(header)
        save_dicom(header, tmp_path / name)
    with pytest.raises(InputDataError) as refusal:
        load_stack(tmp_path)
    assert refusal.value.code == "dicom-no-slope" and refusal.value.where.endswith("b")


def test_only_allowed_elements_are_kept(dicom_folder: Path) -> None:
    """Names, dates, private and nested elements never leave the file."""
    header = make_dicom(make_hu()[0])
    inner = Dataset()
    inner.PatientName = CANARY
    header.PatientBirthDate, header.PatientComments, header.InstitutionName = "19500101", CANARY, CANARY
    header.OtherPatientIDsSequence, header.RequestAttributesSequence = [inner], [inner]
    header.private_block(0x0029, "canary", create=True).add_new(1, "LO", CANARY)
    header.ImagePositionPatient = [*GRID.corner_mm, Z_MM[0] - 5]
    save_dicom(header, dicom_folder / "x")
    for frame in load_stack(dicom_folder).frames:
        names = {element.keyword for element in frame.header}
        assert not names & {"PatientName", "PatientBirthDate", "PatientComments", "InstitutionName"}
        assert CANARY not in str(frame.header).replace("canary^id", "")
