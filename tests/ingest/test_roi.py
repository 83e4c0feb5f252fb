"""ImageJ regions: geometry as another decoder reads it, pixels by their centres, tissues by name, readers apart."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.roi import SPELLINGS, Shape, draw_shape, find_shape, load_rois
from tests.ingest.conftest import Z_MM, make_dicom, make_hu, save_dicom, save_nifti

SAT, VAT, ESM = schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM
SHAPE = (60, 80)
BOX = np.array([[10, 20], [30, 20], [30, 40], [10, 40]], np.int32)


def moved(x: int, y: int) -> np.ndarray:
    return BOX + np.array([x, y], np.int32)


def make_roi(name: str, points: np.ndarray = BOX, position: int = 0) -> ImagejRoi:
    roi = ImagejRoi.frompoints(points, name=name)
    roi.roitype, roi.position = ROI_TYPE.POLYGON, position
    return roi


def make_ring(name: str, outer: np.ndarray, inner: np.ndarray) -> ImagejRoi:
    """A composite: two closed paths."""
    path = [number for points in (outer, inner) for i, (x, y) in enumerate(points) for number in (int(i > 0), x, y)]
    parts = np.array_split(np.array(path, np.float32), [3 * len(outer)])
    low, high = outer.min(axis=0), outer.max(axis=0)
    path = np.concatenate([parts[0], [4], parts[1], [4]]).astype(np.float32)
    return ImagejRoi(roitype=ROI_TYPE.RECT, name=name, left=int(low[0]), top=int(low[1]), right=int(high[0]),
                     bottom=int(high[1]), multi_coordinates=path, shape_roi_size=len(path))  # fmt: skip


def save_zip(path: Path, rois: list[ImagejRoi]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, roi in enumerate(rois):
            archive.writestr(f"{number:04}.roi", roi.tobytes())
    return path


def _load(path: Path, k: int = 0, n_slices: int = 1) -> tuple[dict[int, np.ndarray], list[str]]:
    regions, notes = load_rois(path, SHAPE, k, n_slices)
    return regions, [note.code for note in notes]


# --- Geometry: files saved by ImageJ, beside another decoder's values ------------------------------

AREAS_PX = {"composite-brush-donut": 18, "composite-oval-in-rect": 938, "composite-rect-in-rect": 2004}


def _of_imagej(shared: Path, name: str) -> tuple[ImagejRoi, dict]:
    folder = shared / "data" / "imagej_roi"
    roi = ImagejRoi.frombytes((folder / f"{name}.roi").read_bytes())
    return roi, json.loads((folder / f"{name}.json").read_text())[name]


@pytest.mark.parametrize("name", ["polygon", "polygon-left", "freehand"])
def test_polygons_of_imagej(shared: Path, name: str) -> None:
    roi, told = _of_imagej(shared, name)
    (points,) = find_shape(roi, name).paths
    np.testing.assert_array_equal(points, np.transpose([told["x"], told["y"]]))


@pytest.mark.parametrize("name", AREAS_PX)
def test_composites_of_imagej(shared: Path, name: str) -> None:
    roi, told = _of_imagej(shared, name)
    outline = find_shape(roi, name)
    assert len(outline.paths) == len(told["paths"])
    for points, wanted in zip(outline.paths, told["paths"], strict=True):
        np.testing.assert_array_equal(points[: len(wanted)], wanted)
        np.testing.assert_array_equal(points[len(wanted) :], wanted[:1] * (len(points) - len(wanted)))
    assert draw_shape(outline, (200, 200)).sum() == AREAS_PX[name]


@pytest.mark.parametrize("name", ["oval-left", "rectangle"])
def test_boxes_of_imagej(shared: Path, name: str) -> None:
    roi, told = _of_imagej(shared, name)
    box = (told["left"], told["top"], told["width"], told["height"])
    outline = find_shape(roi, name)
    if name == "oval-left":
        assert outline.oval == box
        return
    (points,) = outline.paths
    assert (*points.min(axis=0), *np.ptp(points, axis=0)) == box
    assert draw_shape(outline, (200, 200)).sum() == told["width"] * told["height"]


def test_ellipse_of_imagej(shared: Path) -> None:
    """The file holds a polygon; its points lie on the ellipse of the decoded axis and aspect ratio, and so its area."""
    roi, told = _of_imagej(shared, "ellipse")
    (points,) = find_shape(roi, "ellipse").paths
    start, end = np.array([told["ex1"], told["ey1"]]), np.array([told["ex2"], told["ey2"]])
    half = np.linalg.norm(end - start) / 2
    along = (end - start) / (2 * half)
    centred = points - (start + end) / 2
    u, v = centred @ along, centred @ np.array([-along[1], along[0]])
    np.testing.assert_allclose((u / half) ** 2 + (v / (half * told["aspect_ratio"])) ** 2, 1, atol=0.02)
    area = np.pi * half**2 * told["aspect_ratio"]
    assert draw_shape(Shape((points * 20,)), (300, 300)).sum() == pytest.approx(area * 400, rel=0.01)


@pytest.mark.parametrize("name", ["point", "polyline"])
def test_lines_and_points_of_imagej_are_no_regions(shared: Path, name: str) -> None:
    roi, _ = _of_imagej(shared, name)
    with pytest.raises(InputDataError, match=f"({name})") as refusal:
        find_shape(roi, "x")
    assert refusal.value.code == "roi-no-area"


# --- The pixel-centre rule ------------------------------------------------------------------------


def test_polygons_equal_matplotlibs_test_of_every_centre() -> None:
    """200 random stars: polygons that do not cross themselves, for which even-odd and winding agree."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50] + 0.5
    centres = np.transpose([x.ravel(), y.ravel()])
    for _ in range(200):
        angles = np.sort(random.uniform(0, 2 * np.pi, 12))
        radius = random.uniform(2, 24, 12)
        star = np.transpose([25 + radius * np.cos(angles), 20 + radius * np.sin(angles)])
        wanted = Outline(np.vstack([star, star[:1]]), closed=True).contains_points(centres).reshape(40, 50)
        np.testing.assert_array_equal(draw_shape(Shape((star,)), (40, 50)), wanted)


def test_ties_go_to_the_left_and_upper_edge() -> None:
    """Edges through centres: columns 1 to 3 and rows 1 to 2 of edges at 1.5..4.5 and 1.5..3.5."""
    box = Shape((np.array([[1.5, 1.5], [4.5, 1.5], [4.5, 3.5], [1.5, 3.5]]),))
    wanted = np.zeros((6, 6), bool)
    wanted[1:3, 1:4] = True
    np.testing.assert_array_equal(draw_shape(box, (6, 6)), wanted)
    beside = Shape((np.array([[4.5, 1.5], [6.5, 1.5], [6.5, 3.5], [4.5, 3.5]]),))
    assert not (draw_shape(beside, (6, 6)) & wanted).any()


def test_ovals_hold_the_centres_inside() -> None:
    """A circle of diameter 6: 32 of 36 centres (the corners' lie outside); of diameter 1000 its area."""
    assert draw_shape(Shape(oval=(0, 0, 6, 6)), (6, 6)).sum() == 32
    assert draw_shape(Shape(oval=(-3, 1, 6, 6)), (9, 9)).sum() == 16
    assert draw_shape(Shape(oval=(0, 0, 1000, 1000)), (1000, 1000)).sum() == pytest.approx(np.pi * 250_000, rel=1e-4)


def test_sub_pixel_coordinates_count(tmp_path: Path) -> None:
    whole, shifted = BOX.astype(np.float64), BOX + 0.6
    for points, columns in ((whole, (10, 30)), (shifted, (11, 31))):
        (tmp_path / "SAT.roi").write_bytes(make_roi("SAT", points).tobytes())
        region = _load(tmp_path / "SAT.roi")[0][SAT]
        assert (np.flatnonzero(region.any(axis=0))[[0, -1]] + [0, 1]).tolist() == list(columns)


def test_sub_pixel_ovals_and_rectangles(tmp_path: Path) -> None:
    for kind in (ROI_TYPE.OVAL, ROI_TYPE.RECT):
        roi = ImagejRoi(roitype=kind, name="SAT", options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION, xd=2.6, yd=2.6,
                        widthd=10.0, heightd=10.0, left=2, top=2, right=12, bottom=12)  # fmt: skip
        again = ImagejRoi.frombytes(roi.tobytes())
        mask = draw_shape(find_shape(again, "x"), (20, 20))
        assert np.flatnonzero(mask.any(axis=0))[[0, -1]].tolist() == [3, 12]


# --- Names ----------------------------------------------------------------------------------------

NAMES = {
    "SAT": SAT, "sat-1": SAT, "Subcutaneous fat": SAT, "subcutaneous_adipose_tissue": SAT, "皮下脂肪": SAT,
    "VAT": VAT, "Visceral Fat 2": VAT, "内脏脂肪": VAT, "ESM": ESM, "erector spinae": ESM, "Paraspinal muscles": ESM,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_tell_the_tissue(tmp_path: Path, name: str) -> None:
    (tmp_path / "0001-0002.roi").write_bytes(make_roi(name).tobytes())
    regions, notes = _load(tmp_path)
    assert (list(regions), notes) == ([NAMES[name]], [])
    assert regions[NAMES[name]].sum() == 400


def test_name_of_the_file_counts_where_the_region_has_none(tmp_path: Path) -> None:
    (tmp_path / "VAT.roi").write_bytes(make_roi("").tobytes())
    assert list(_load(tmp_path)[0]) == [VAT]


def test_spellings_are_of_one_tissue_each() -> None:
    names = [name for names in SPELLINGS.values() for name in names]
    assert len(names) == len(set(names))
    assert all(name == name.casefold() and not set(name) & set(" _-0123456789") for name in names)


def test_sides_are_joined_and_half_a_muscle_is_not_measured(tmp_path: Path) -> None:
    left, right = make_roi("ESM left"), make_roi("R ESM", moved(30, 0))
    regions, notes = _load(save_zip(tmp_path / "both.zip", [left, right]))
    assert (regions[ESM].sum(), notes) == (800, [])
    regions, notes = _load(save_zip(tmp_path / "half.zip", [left, make_roi("SAT")]))
    assert (list(regions), notes) == ([SAT], ["mask-half"])


def test_unknown_name_is_refused_untold(tmp_path: Path) -> None:
    """Free text may name the patient: the message counts regions and lists what is known."""
    rois = [make_roi("SAT"), make_roi("canary of ward 7")]
    with pytest.raises(InputDataError, match="region 2 of 2; known are SAT") as refusal:
        _load(save_zip(tmp_path / "a.zip", rois))
    assert refusal.value.code == "roi-name" and "canary" not in str(refusal.value)


# --- Slices ---------------------------------------------------------------------------------------


def test_slice_numbers(tmp_path: Path) -> None:
    """Of 20 slices the 7th from below is number 7, or 14 where ImageJ shows the head first."""
    for position in (7, 14):
        drawn = [make_roi("SAT", position=position), make_roi("SAT", moved(30, 0), position=3)]
        regions, notes = _load(save_zip(tmp_path / f"{position}.zip", drawn), 6, 20)
        assert (regions[SAT].sum(), notes) == (400, ["roi-other-slices"])
    with pytest.raises(InputDataError, match="drawn on slice 3; chosen 7 of 20") as refusal:
        _load(save_zip(tmp_path / "other.zip", [make_roi("SAT", position=3)]), 6, 20)
    assert refusal.value.code == "roi-other-slice"
    with pytest.raises(InputDataError, match="slices 7 and 14 of 20") as refusal:
        _load(save_zip(tmp_path / "two.zip", [make_roi("SAT", position=7), make_roi("VAT", position=14)]), 6, 20)
    assert refusal.value.code == "roi-two-slices"
    hyper = make_roi("SAT")
    hyper.z_position = 7
    assert _load(save_zip(tmp_path / "hyper.zip", [hyper]), 6, 20)[1] == []


# --- What is refused, what is told ----------------------------------------------------------------


def _with(**fields: object) -> ImagejRoi:
    roi = make_roi("SAT")
    for name, value in fields.items():
        setattr(roi, name, value)
    return roi


def _curved() -> ImagejRoi:
    roi = make_ring("SAT", BOX, moved(5, 5))
    roi.multi_coordinates = np.array([0, 1, 1, 2, 3, 3, 5, 5], np.float32)
    roi.shape_roi_size = 8
    return roi


def _not_finite() -> ImagejRoi:
    roi = make_roi("SAT", BOX.astype(np.float64))
    assert roi.subpixel_coordinates is not None
    roi.subpixel_coordinates[0, 0] = np.nan
    return roi


FAULTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "roi-damaged"),
    "text": (b"x" * 100, "roi-damaged"),
    "cut": (make_roi("SAT").tobytes()[:70], "roi-damaged"),
    "claims 10^9 points": (make_roi("SAT").tobytes()[:16] + b"\0\0\x3b\x9a\xca\0" + make_roi("SAT").tobytes()[22:],
                           "roi-damaged"),
    "line": (_with(roitype=ROI_TYPE.LINE).tobytes(), "roi-no-area"),
    "angle": (_with(roitype=ROI_TYPE.ANGLE).tobytes(), "roi-no-area"),
    "freehand line": (_with(roitype=ROI_TYPE.FREELINE).tobytes(), "roi-no-area"),
    "text box": (ImagejRoi(roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT, name="SAT", text="canary").tobytes(),
                 "roi-no-area"),
    "spline": (_with(options=ROI_OPTIONS.SPLINE_FIT).tobytes(), "roi-kind"),
    "rounded": (_with(roitype=ROI_TYPE.RECT, rounded_rect_arc_size=5).tobytes(), "roi-kind"),
    "curved": (_curved().tobytes(), "roi-kind"),
    "outside": (make_roi("SAT", moved(80, 0)).tobytes(), "roi-outside"),
    "above": (make_roi("SAT", moved(0, -60)).tobytes(), "roi-outside"),
    "not finite": (_not_finite().tobytes(), "roi-damaged"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_regions_not_understood_are_refused(tmp_path: Path, fault: str) -> None:
    content, code = FAULTS[fault]
    (tmp_path / "SAT.roi").write_bytes(content)
    with pytest.raises(InputDataError) as refusal:
        _load(tmp_path / "SAT.roi")
    assert refusal.value.code == code and refusal.value.fact
    assert "\n" not in str(refusal.value) and "canary" not in str(refusal.value)


def test_random_damage_is_refused_or_harmless(
    shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """1000 files of ImageJ with up to three bytes changed, a fifth of them cut."""
    random = np.random.default_rng(0)
    files = sorted((shared / "data" / "imagej_roi").glob("*.roi"))
    verdicts = set()
    for _ in range(1000):
        content = bytearray(files[random.integers(len(files))].read_bytes())
        for _ in range(random.integers(1, 4)):
            content[random.integers(0, len(content))] = random.integers(0, 256)
        (tmp_path / "SAT.roi").write_bytes(content[: len(content) if random.random() > 0.2 else random.integers(200)])
        try:
            verdicts.add(str(_load(tmp_path / "SAT.roi")[0][SAT].dtype))
        except InputDataError as error:
            assert "\n" not in str(error) and error.fact
            verdicts.add(error.code)
    assert {"bool", "roi-damaged", "roi-kind", "roi-no-area", "roi-outside"} <= verdicts
    assert "".join(capfd.readouterr()) == ""


def test_no_regions_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a note")
    with pytest.raises(InputDataError, match="1 files") as refusal:
        _load(tmp_path)
    assert refusal.value.code == "roi-missing"
    (tmp_path / "SAT.roi").write_bytes(make_roi("SAT").tobytes())
    assert _load(tmp_path)[1] == ["roi-other-files"]


def test_clipped_and_overlapping_regions_are_told(tmp_path: Path) -> None:
    regions, notes = _load(save_zip(tmp_path / "a.zip", [make_roi("SAT", moved(-20, 0))]))
    assert (regions[SAT].sum(), notes) == (200, ["roi-clipped"])
    regions, notes = _load(save_zip(tmp_path / "b.zip", [make_roi("SAT"), make_roi("VAT", moved(10, 0))]))
    assert notes == ["roi-overlap"]
    assert regions[SAT].sum() == regions[VAT].sum() == 400


# --- On a patient ---------------------------------------------------------------------------------

#: The made-up trunk's ring of fat as two polygons: outside the skin, and along the muscle.
_T = np.linspace(0, 2 * np.pi, 400, endpoint=False)
OUTER = np.transpose([40.5 + 34.5 * np.cos(_T), 30.5 + 23.3 * np.sin(_T)])
INNER = np.transpose([40.5 + 80 / 3 * np.cos(_T), 30.5 + 17.5 * np.sin(_T)])
RING_AREA_CM2 = float((make_hu()[0] == -100).sum() * 0.12)


@pytest.fixture
def rois(tmp_path: Path) -> dict[str, Path]:
    """Two readers; the second leaves out the ring's lower part. Named so that the first by name comes last."""
    whole = make_ring("SAT", OUTER, INNER)
    cut = make_ring("SAT", np.minimum(OUTER, [80, 45]), INNER)
    return {"b": save_zip(tmp_path / "b.zip", [whole]), "a": save_zip(tmp_path / "a.zip", [cut])}


def test_two_readers_are_kept_apart_on_one_trunk(nifti_folder: Path, rois: dict[str, Path]) -> None:
    found = read_source(nifti_folder, choice=Choice(slice_index=0, segment="none"), rois=rois)
    assert list(found.readers) == ["a", "b"]
    np.testing.assert_array_equal(found.image.tissue, found.readers["a"].tissue)
    np.testing.assert_array_equal(found.readers["a"].body, found.readers["b"].body)
    areas = {reader: compute_areas_cm2(image)["sfa_cm2"] for reader, image in found.readers.items()}
    assert areas["b"] == pytest.approx(RING_AREA_CM2, rel=0.01)
    assert areas["a"] < areas["b"]
    told = [str(finding) for finding in found.findings]
    assert not any("/b" in line or "a.zip" in line for line in told)
    assert [finding.code for finding in found.findings].count("roi-on-nifti") == 1


def test_one_reader_wins_over_the_masks(nifti_folder: Path, rois: dict[str, Path]) -> None:
    choice = Choice(slice_index=0, segment="none")
    drawn = read_source(nifti_folder, choice=choice, rois={"b": rois["b"]})
    assert compute_areas_cm2(drawn.image)["sfa_cm2"] == pytest.approx(RING_AREA_CM2, rel=0.01)
    assert read_source(nifti_folder, choice=choice).readers == {}


#: How the slice is stored -> (rows and columns along, first pixel, spacing), and the stored picture of an upright one.
STORED = {
    "upright": ([1, 0, 0, 0, 1, 0], [-118.5, -118.0], [4.0, 3.0], lambda image: image),
    "upside down": ([1, 0, 0, 0, -1, 0], [-118.5, -118.0 + 59 * 4.0], [4.0, 3.0], lambda image: image[::-1]),
    "mirrored": ([-1, 0, 0, 0, 1, 0], [-118.5 + 79 * 3.0, -118.0], [4.0, 3.0], lambda image: image[:, ::-1]),
    "columns first": ([0, 1, 0, 1, 0, 0], [-118.5, -118.0], [3.0, 4.0], lambda image: image.T),
}


@pytest.mark.parametrize("form", STORED)
def test_regions_lie_on_the_stored_picture(tmp_path: Path, form: str) -> None:
    """A box of muscle, drawn on the picture as it is stored: it turns with the slice."""
    cosines, corner, spacing, store = STORED[form]
    target = np.zeros(SHAPE, bool)
    target[32:40, 48:56] = True
    header = make_dicom(np.ascontiguousarray(store(make_hu()[0])))
    header.ImageOrientationPatient, header.PixelSpacing = cosines, spacing
    header.ImagePositionPatient = [*corner, Z_MM[0]]
    save_dicom(header, tmp_path / "p" / "0")
    stored = store(target)
    rows, columns = np.flatnonzero(stored.any(axis=1)), np.flatnonzero(stored.any(axis=0))
    (x0, x1), (y0, y1) = columns[[0, -1]] + [0, 1], rows[[0, -1]] + [0, 1]
    save_zip(tmp_path / "r.zip", [make_roi("ESM", np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.int32))])
    found = read_source(tmp_path / "p", choice=Choice(segment="none"), rois={"r": tmp_path / "r.zip"})
    np.testing.assert_array_equal(found.image.hu, make_hu()[0])
    np.testing.assert_array_equal(found.image.tissue == ESM, target)


def test_region_of_another_slice_is_refused(tmp_path: Path, rois: dict[str, Path]) -> None:
    save_nifti(make_hu(), tmp_path / "p" / "ct.nii.gz")
    other = save_zip(tmp_path / "c.zip", [make_roi("SAT", position=2)])
    with pytest.raises(InputDataError, match="drawn on slice 2; chosen 1 of 5"):
        read_source(tmp_path / "p", choice=Choice(slice_index=0), rois={**rois, "c": other})


def test_half_a_muscle_in_the_masks_is_not_called_unsegmented_where_a_reader_drew_it(tmp_path: Path) -> None:
    save_nifti(make_hu(), tmp_path / "p" / "ct.nii")
    left = np.zeros_like(make_hu(), np.uint8)
    left[2, 38:44, 46:56] = 1
    save_nifti(left, tmp_path / "p" / "masks" / "autochthon_left.nii.gz")
    choice = Choice(slice_index=2)
    alone = read_source(tmp_path / "p", choice=choice)
    assert any("stays unsegmented" in str(note) for note in alone.findings) and "esma_cm2" not in alone.origins
    box = np.array([[30, 38], [50, 38], [50, 44], [30, 44]], float)
    regions = save_zip(tmp_path / "p.zip", [make_roi("ESM", box)])
    drawn = read_source(tmp_path / "p", choice=choice, rois={"reader1": regions})
    assert drawn.origins["esma_cm2"] == "reader"
    (half,) = [str(note) for note in drawn.findings if note.code == "mask-half"]
    assert "the reader's region is used" in half and "unsegmented" not in half
