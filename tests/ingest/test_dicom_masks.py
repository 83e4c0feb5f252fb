"""DICOM SEG and RTSTRUCT as masks: areas equal numpy's own count; other grids, frames and damage are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from skimage.draw import polygon2mask

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.dicom_seg import CODES
from data_pipelines.ingest.label_tables import VERTEBRAE, WHOLE_MUSCLE
from data_pipelines.ingest.masks import load_masks
from data_pipelines.ingest.structures import parse_structure
from tests.ingest.conftest import GRID, HEIGHT, WIDTH, make_hu, save_nifti
from tests.ingest.dicom_mask_files import make_rtstruct, make_seg, make_series, save

FAT = (make_hu() < -50) & (make_hu() > -150)
MUSCLE = (make_hu() > 0) & (make_hu() < 100)
MUSCLE[:, :35] = False
T11, T12 = np.zeros_like(FAT), np.zeros_like(FAT)
T11[2:5, 28, 30:40] = T11[3, 29, 30:40] = True
T12[:2, 27, 30:45] = True
NONE = Choice(segment="none")
REGIONS = {"T11": T11, "vertebrae_T12": T12, "SAT": FAT, "erector spinae": MUSCLE}
PIXEL_CM2 = 0.12


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom") / "p1"
    make_series(make_hu(), folder)
    return folder


def _sources(patient: Path) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(file) for file in sorted(patient.glob("*.dcm"))]


def _refused(patient: Path, masks: Path) -> str:
    with pytest.raises(InputDataError) as refusal:
        read_source(patient, masks, NONE)
    return refusal.value.code


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_segments_are_measured_as_numpy_counts_them(patient: Path, tmp_path: Path, kind: str) -> None:
    regions = REGIONS if kind != "LABELMAP" else {name: one & ~T11 & ~T12 if name in ("SAT", "erector spinae") else one
                                                  for name, one in REGIONS.items()}  # fmt: skip
    file = save(make_seg(_sources(patient), regions, kind), tmp_path / "seg.dcm")
    found = read_source(patient, file, NONE)
    areas = compute_areas_cm2(found.image)
    assert (found.index, found.level_source, found.label_numbering) == (3, "labels", "names")
    assert areas["sfa_cm2"] == pytest.approx(regions["SAT"][3].sum() * PIXEL_CM2)
    assert areas["esma_cm2"] == pytest.approx(regions["erector spinae"][3].sum() * PIXEL_CM2)


def test_fractional_segments_begin_at_half_the_maximum(patient: Path, tmp_path: Path) -> None:
    share = np.where(FAT, 0.4, 0.0)
    share[:, 30:] = np.where(FAT[:, 30:], 0.6, 0)
    file = save(make_seg(_sources(patient), {"SAT": share, "T11": T11.astype(float)}, "FRACTIONAL"), tmp_path / "s.dcm")
    regions, _ = load_masks(file, GRID).on_slice(3)
    np.testing.assert_array_equal(regions[schema.TISSUE_SAT], FAT[3] & (np.indices((HEIGHT, WIDTH))[0] >= 30))


def test_codes_name_segments_whatever_their_label(patient: Path, tmp_path: Path) -> None:
    seg = make_seg(_sources(patient), {"structure of interest": T11}, code="12989004")
    assert read_source(patient, save(seg, tmp_path / "seg.dcm"), NONE).index == 3
    seg.SegmentSequence[0].SegmentLabel = "T12"
    assert _refused(patient, save(seg, tmp_path / "seg2.dcm")) == "mask-numbering"


def test_codes_are_those_of_the_standard() -> None:
    """pydicom's copy of the context groups."""
    theirs = {f"vertebrae_{level}": getattr(codes.SCT, f"{level}Vertebra").value for level in VERTEBRAE}
    theirs["subcutaneous_fat"] = codes.SCT.SubcutaneousTissue.value
    theirs[WHOLE_MUSCLE] = codes.SCT.ErectorSpinaeMuscle.value
    assert {code: name for name, code in theirs.items()} == CODES


def test_segments_on_a_nifti_image_and_in_a_folder(patient: Path, tmp_path: Path) -> None:
    save_nifti(make_hu(), tmp_path / "p1" / "ct.nii.gz")
    save(make_seg(_sources(patient), {"T11": T11}), tmp_path / "p1" / "masks" / "spine.dcm")
    save(make_seg(_sources(patient), {"SAT": FAT}), tmp_path / "p1" / "masks" / "fat.dcm")
    found = read_source(tmp_path / "p1", None, NONE)
    assert found.index == 3
    assert (found.image.tissue == schema.TISSUE_SAT).sum() == FAT[3].sum()


def _move(seg: pydicom.Dataset, axis: int, mm: float) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        position = list(map(float, frame.PlanePositionSequence[0].ImagePositionPatient))
        position[axis] += mm
        frame.PlanePositionSequence[0].ImagePositionPatient = position


def _set_spacing(seg: pydicom.Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [4.0, 3.2]


def _turn_over(seg: pydicom.Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


FAULTS: dict[str, tuple[Callable[[pydicom.Dataset], object], str]] = {
    "half a pixel": (lambda seg: _move(seg, 0, 1.5), "mask-position"),
    "between slices": (lambda seg: _move(seg, 2, 2.5), "mask-slices"),
    "spacing": (_set_spacing, "mask-spacing"),
    "coronal": (_turn_over, "dicom-not-axial"),
    "frame of reference": (lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3.78"), "mask-frame"),
    "frames missing": (lambda seg: setattr(seg, "NumberOfFrames", 3), "dicom-frame-groups"),
    "pixels cut off": (lambda seg: setattr(seg, "PixelData", seg.PixelData[:90]), "dicom-truncated"),
    "no pixels": (lambda seg: seg.__delattr__("PixelData"), "dicom-no-pixels"),
    "upside down": (lambda seg: [setattr(one, "SegmentLabel", "T12" if one.SegmentLabel == "T11" else "T11")
                                 for one in seg.SegmentSequence], "mask-order"),
    "same name": (lambda seg: [setattr(one, "SegmentLabel", "T11") for one in seg.SegmentSequence], "mask-twice"),
    "names unknown": (lambda seg: [setattr(one, "SegmentLabel", "canary") for one in seg.SegmentSequence],
                      "mask-missing"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_segments_that_are_not_the_images_are_refused(patient: Path, tmp_path: Path, fault: str) -> None:
    change, wanted = FAULTS[fault]
    seg = make_seg(_sources(patient), {"T11": T11, "T12": T12})
    change(seg)
    file = save(seg, tmp_path / "seg.dcm")
    with pytest.raises(InputDataError) as refusal:
        read_source(patient, file, NONE)
    assert (refusal.value.code, "canary" in str(refusal.value)) == (wanted, False)


# --- Structure sets ---------------------------------------------------------------------------------

OUTER = [(10.2, 12.1), (60.7, 11.3), (66.4, 40.9), (35.0, 55.2), (12.8, 44.4)]
HOLE = [(25.3, 20.2), (45.1, 22.7), (40.4, 38.8), (28.6, 35.5)]


def _count(*paths: list[tuple[float, float]]) -> np.ndarray:
    """scikit-image's polygons, combined by exclusive or."""
    region = np.zeros((HEIGHT, WIDTH), bool)
    for path in paths:
        region ^= polygon2mask((HEIGHT, WIDTH), [(y, x) for x, y in path])
    return region


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_contours_are_filled_as_scikit_image_fills_them(patient: Path, tmp_path: Path, kind: str) -> None:
    square = [(30.5, 27.5), (39.5, 27.5), (39.5, 29.5), (30.5, 29.5)]
    rois = {"Th11": [(3, square)], "T12": [(0, square)], "Erector Spinae": [(3, OUTER), (3, HOLE), (2, HOLE)],
            "PTV": [(3, [(0, 0)])]}  # fmt: skip
    found = read_source(patient, save(make_rtstruct(rois, kind), tmp_path / "rt.dcm"), NONE)
    assert found.index == 3
    assert (found.image.tissue == schema.TISSUE_ESM).sum() == (_count(OUTER, HOLE) & (found.image.tissue > 0)).sum()


def test_region_of_contours_is_pixel_for_pixel_that_of_scikit_image(patient: Path, tmp_path: Path) -> None:
    file = save(make_rtstruct({"SAT": [(3, OUTER), (3, HOLE)]}), tmp_path / "rt.dcm")
    regions, _ = load_masks(file, GRID).on_slice(3)
    np.testing.assert_array_equal(regions[schema.TISSUE_SAT], _count(OUTER, HOLE))
    assert not load_masks(file, GRID).on_slice(2)[0][schema.TISSUE_SAT].any()


def _shift_z(dataset: pydicom.Dataset, values: list[float]) -> None:
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    numbers = np.array(contour.ContourData, float).reshape(-1, 3)
    numbers[:, 2] += values[: len(numbers)] if len(values) > 1 else values[0]
    contour.ContourData = [f"{value:.10g}" for value in numbers.ravel()]


CONTOUR_FAULTS: dict[str, tuple[Callable[[pydicom.Dataset], object], str]] = {
    "between slices": (lambda rt: _shift_z(rt, [2.0]), "mask-slices"),
    "beyond the volume": (lambda rt: _shift_z(rt, [500.0]), "mask-slices"),
    "not planar": (lambda rt: _shift_z(rt, [0, 1, 0, 1, 0]), "mask-contour"),
    "open": (lambda rt: setattr(rt.ROIContourSequence[0].ContourSequence[0], "ContourGeometricType", "OPEN_PLANAR"),
             "mask-contour"),
    "two numbers a point": (lambda rt: setattr(rt.ROIContourSequence[0].ContourSequence[0], "ContourData",
                                               [1, 2, 3, 4]), "mask-contour"),
    "frame of reference": (lambda rt: setattr(rt.StructureSetROISequence[0], "ReferencedFrameOfReferenceUID", "1.9"),
                           "mask-frame"),
    "same name": (lambda rt: setattr(rt.StructureSetROISequence[1], "ROIName", "T11"), "mask-twice"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CONTOUR_FAULTS)
def test_contours_that_are_not_the_images_are_refused(patient: Path, tmp_path: Path, fault: str) -> None:
    change, wanted = CONTOUR_FAULTS[fault]
    dataset = make_rtstruct({"T11": [(3, OUTER)], "T12": [(0, OUTER)]})
    change(dataset)
    assert _refused(patient, save(dataset, tmp_path / "rt.dcm")) == wanted


def test_bundled_structure_set_has_no_structure_of_ours(patient: Path) -> None:
    from pydicom.data import get_testdata_file

    assert _refused(patient, Path(str(get_testdata_file("rtstruct.dcm")))) == "mask-missing"


@pytest.mark.parametrize(("name", "wanted"), [
    ("T11", "vertebrae_T11"), ("Th11", "vertebrae_T11"), ("vertebrae_T11", "vertebrae_T11"),
    ("T11 vertebra", "vertebrae_T11"), ("VB_L1", "vertebrae_L1"), ("T 9", "vertebrae_T9"),
    ("T13", None), ("T111", None), ("C8", None), ("GTV", None),
    ("subcutaneous_fat", "subcutaneous_fat"), ("torso fat", "torso_fat"), ("VAT", "torso_fat"), ("sat left", None),
    ("ESM", WHOLE_MUSCLE), ("erector spinae left", "autochthon_left"), ("autochthon_right", "autochthon_right"),
    ("", None),
])  # fmt: skip
def test_names_of_structures(name: str, wanted: str | None) -> None:
    assert parse_structure(name) == wanted


# --- Damage -----------------------------------------------------------------------------------------


def _damage(content: bytes, random: np.random.Generator) -> bytes:
    """Bytes changed, cut off, doubled or filled."""
    damaged = bytearray(content)
    at = int(random.integers(132, len(damaged)))
    match int(random.integers(4)):
        case 0:
            for _ in range(int(random.integers(1, 30))):
                damaged[int(random.integers(132, len(damaged)))] = int(random.integers(256))
        case 1:
            del damaged[at:]
        case 2:
            damaged[at:at] = damaged[max(132, at - 200) : at]
        case _:
            damaged[at : at + 40] = bytes([int(random.integers(256))]) * 40
    return bytes(damaged)


@pytest.mark.parametrize("n", [8, pytest.param(300, marks=pytest.mark.slow)])
def test_damaged_objects_end_with_a_finding_or_are_read(patient: Path, tmp_path: Path, n: int) -> None:
    """No other kind of error, and no text of the file in a message."""
    files = {"SEG": save(make_seg(_sources(patient), REGIONS), tmp_path / "seg.dcm"),
             "RTSTRUCT": save(make_rtstruct({"T11": [(3, OUTER), (3, HOLE)]}), tmp_path / "rt.dcm")}
    random, counts = np.random.default_rng(n), {}
    for name, file in files.items():
        n_refused = 0
        for _ in range(n):
            (tmp_path / "damaged.dcm").write_bytes(_damage(file.read_bytes(), random))
            try:
                read_source(patient, tmp_path / "damaged.dcm", NONE)
            except InputDataError as error:
                n_refused += 1
                assert "\n" not in str(error) and error.code
        counts[name] = n_refused
    print("\n" + ", ".join(f"{name}: {count} of {n} damaged files refused" for name, count in counts.items()))


def test_a_contour_stored_twice_counts_once(tmp_path: Path, patient: Path) -> None:
    square = [(30.0, 20.0), (40.0, 20.0), (40.0, 28.0), (30.0, 28.0)]
    px = [int(load_masks(save(make_rtstruct({"T11": [(3, square)] * n}), tmp_path / f"{n}.dcm"), GRID)
              .count_vertebrae("T11")["T11"][3]) for n in (1, 2)]  # fmt: skip
    assert px == [80, 80]


def repeat_segment_number(dataset: pydicom.Dataset) -> None:
    dataset.SegmentSequence[1].SegmentNumber = 1


def clear_maximum(dataset: pydicom.Dataset) -> None:
    dataset.MaximumFractionalValue = 0


@pytest.mark.parametrize(("kind", "change"), [("BINARY", repeat_segment_number), ("FRACTIONAL", clear_maximum)])
def test_numbers_that_would_mix_segments_are_refused(
    patient: Path, tmp_path: Path, kind: str, change: Callable[[pydicom.Dataset], None]
) -> None:
    dataset = make_seg(_sources(patient), {"T11": T11, "T12": T12}, kind)
    change(dataset)
    assert _refused(patient, save(dataset, tmp_path / "seg.dcm")) == "dicom-value"


def test_repeated_roi_number_is_refused(patient: Path, tmp_path: Path) -> None:
    square = [(30.0, 20.0), (40.0, 20.0), (40.0, 28.0)]
    dataset = make_rtstruct({"T11": [(3, square)], "T12": [(1, square)]})
    dataset.StructureSetROISequence[1].ROINumber = 1
    assert _refused(patient, save(dataset, tmp_path / "rt.dcm")) == "dicom-value"


def test_damage_in_a_compressed_segmentation_is_refused(patient: Path, tmp_path: Path) -> None:
    dataset = make_seg(_sources(patient), {"T11": T11, "T12": T12}, "LABELMAP")
    dataset.compress(pydicom.uid.RLELossless)
    whole = save(dataset, tmp_path / "whole.dcm")
    assert read_source(patient, whole, NONE).level_source == "labels"
    frames = [bytearray(frame) for frame in pydicom.encaps.generate_frames(
        dataset.PixelData, number_of_frames=dataset.NumberOfFrames)]  # fmt: skip
    for frame in frames:
        frame[64] = 0x7F  # the first packet announces 128 bytes more
    dataset.PixelData = pydicom.encaps.encapsulate(list(map(bytes, frames)))
    assert _refused(patient, save(dataset, tmp_path / "damaged.dcm")) == "dicom-undecodable"
