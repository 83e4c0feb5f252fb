"""What is handed to a reader for correction comes back as the same pixels."""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import roifile
from matplotlib.path import Path as Outline
from pydicom.data import get_testdata_file

from bonemet_jax import schema
from bonemet_jax.errors import UsageError
from data_pipelines.bodycomp.export import make_dicom_seg, make_roi_zip
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.ingest.roi import load_rois
from data_pipelines.phantom import anatomy, render


def _image() -> CanonicalSlice:
    """A fat ring with an island in its hole, a diagonal pair of single pixels, muscle that touches the border."""
    tissue = np.zeros((20, 30), np.uint8)
    tissue[2:18, 2:20] = schema.TISSUE_SAT
    tissue[5:15, 5:15] = 0
    tissue[8:10, 8:12] = schema.TISSUE_SAT
    tissue[6, 6] = tissue[7, 7] = schema.TISSUE_VAT
    tissue[4:9, 25:] = schema.TISSUE_ESM
    return CanonicalSlice(np.zeros((20, 30), np.int16), (1.0, 1.0), tissue, np.ones_like(tissue))


def _read(content: bytes) -> dict[str, roifile.ImagejRoi]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: roifile.ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()}


def _rasterise(roi: roifile.ImagejRoi, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie inside an odd number of outlines, by matplotlib."""
    centres = np.stack(np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5), -1).reshape(-1, 2)
    odd = np.zeros(len(centres), bool)
    for outline in roi.coordinates(multi=True):
        odd ^= Outline(outline).contains_points(centres)
    return odd.reshape(shape)


def test_imagej_regions_decode_to_the_same_pixels() -> None:
    image = _image()
    rois = _read(make_roi_zip(image, slice_number=7))
    assert list(rois) == ["SAT.roi", "VAT.roi", "ESM.roi"]
    for code, name in ((schema.TISSUE_SAT, "SAT"), (schema.TISSUE_VAT, "VAT"), (schema.TISSUE_ESM, "ESM")):
        roi = rois[f"{name}.roi"]
        assert (roi.name, roi.position) == (name, 7)
        np.testing.assert_array_equal(_rasterise(roi, image.tissue.shape), image.tissue == code)
    sat = rois["SAT.roi"]
    assert (sat.top, sat.left, sat.bottom, sat.right) == (2, 2, 18, 20)


def test_a_readers_regions_go_out_and_come_in(tmp_path: Path) -> None:
    """A whole phantom, through the room that reads ImageJ regions."""
    image = render.render_slice(np.random.default_rng(3), (320, 400), 1.0, anatomy.Areas(120, 60, 30), 5.0)
    (tmp_path / "reader.zip").write_bytes(make_roi_zip(image))
    masks, _ = load_rois(tmp_path / "reader.zip", image.hu.shape, 0, 1)
    for code in schema.AREA_CODES.values():
        np.testing.assert_array_equal(masks[code], image.tissue == code)


def test_regions_lie_on_the_stored_picture() -> None:
    image = _image()
    rois = _read(make_roi_zip(image, to_stored=lambda picture: picture[::-1, ::-1]))
    stored = _rasterise(rois["ESM.roi"], image.tissue.shape)
    np.testing.assert_array_equal(stored, (image.tissue == schema.TISSUE_ESM)[::-1, ::-1])


def test_zip_repeats_to_the_byte() -> None:
    assert make_roi_zip(_image()) == make_roi_zip(_image())


def _source() -> pydicom.Dataset:
    source = get_testdata_file("CT_small.dcm", read=True)
    assert isinstance(source, pydicom.Dataset)
    return source


def test_dicom_segmentation_holds_the_regions() -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    source = _source()
    fat = np.zeros((source.Rows, source.Columns), bool)
    fat[10:40, 20:50] = True
    muscle = np.roll(fat, 60, axis=1)
    seg = make_dicom_seg(source, {schema.TISSUE_SAT: fat, schema.TISSUE_ESM: muscle, schema.TISSUE_VAT: fat & False})
    buffer = io.BytesIO()
    seg.save_as(buffer)
    buffer.seek(0)
    read = pydicom.dcmread(buffer)
    assert [segment.SegmentLabel for segment in read.SegmentSequence] == ["SAT", "ESM"]
    frames = read.pixel_array
    order = [frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
             for frame in read.PerFrameFunctionalGroupsSequence]  # fmt: skip
    np.testing.assert_array_equal(frames[order.index(1)] > 0, fat)
    np.testing.assert_array_equal(frames[order.index(2)] > 0, muscle)
    referenced = read.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    assert referenced == source.SOPInstanceUID
    with pytest.raises(UsageError, match="no region"):
        make_dicom_seg(source, {schema.TISSUE_SAT: fat & False})


def test_without_highdicom_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"dicom-seg"):
        make_dicom_seg(_source(), {})
