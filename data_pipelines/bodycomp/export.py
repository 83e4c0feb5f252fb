"""Tissue regions for a reader's correction: ImageJ ROI zip, DICOM segmentation.

`measure` and `ingest` write the zips: open the slice in ImageJ, the zip in its ROI manager, correct, save, give it back
as `--rois`. ImageJ shows pictures as they are stored: hence `to_stored`.
"""

import importlib
import io
import zipfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt8
from roifile import ROI_TYPE, ImagejRoi
from skimage.measure import find_contours

from bonemet_jax import __version__, schema
from bonemet_jax.errors import UsageError
from bonemet_jax.missing_package import install_command
from data_pipelines.canonical import CanonicalSlice

if TYPE_CHECKING:
    import pydicom

Mask = Bool[np.ndarray, "rows columns"]
Turn = Callable[[np.ndarray], np.ndarray]

#: Tissue code -> name of its region, as the reader of ImageJ regions spells it.
ROI_NAMES: dict[int, str] = {schema.TISSUE_SAT: "SAT", schema.TISSUE_VAT: "VAT", schema.TISSUE_ESM: "ESM"}
#: Tissue code -> SNOMED CT code and meaning. There is no code for visceral fat: the label tells.
SNOMED: dict[int, tuple[str, str]] = {
    schema.TISSUE_SAT: ("71966008", "Subcutaneous tissue"),
    schema.TISSUE_VAT: ("55603005", "Adipose tissue"),
    schema.TISSUE_ESM: ("44947003", "Erector spinae muscle"),
}
_MOVE_TO, _LINE_TO, _CLOSE = 0.0, 1.0, 4.0


def make_roi_zip(image: CanonicalSlice, slice_number: int = 0, to_stored: Turn = lambda picture: picture) -> bytes:
    """The slice's regions as an ImageJ ROI zip: SAT, VAT, ESM, those that the slice has; no bytes where it has none.

    Reading it back by the pixel-centre rule gives the same pixels. Regions are whole: Hounsfield ranges apply later.

    Args:
        image: the slice.
        slice_number: of the stack as ImageJ counts, from 1; 0: on every slice.
        to_stored: turns an anatomical picture to the order in which the file stores it.
    """
    regions, buffer = _find_regions(image, to_stored), io.BytesIO()
    if not regions:
        return b""
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mask in regions.items():
            roi = _make_roi(mask, name, slice_number)
            archive.writestr(zipfile.ZipInfo(f"{name}.roi"), roi.tobytes())  # no time of writing: equal bytes
    return buffer.getvalue()


def _find_regions(image: CanonicalSlice, to_stored: Turn) -> dict[str, Mask]:
    found = {name: to_stored(image.tissue == code) for code, name in ROI_NAMES.items()}
    return {name: mask for name, mask in found.items() if mask.any()}


def _make_roi(mask: Mask, name: str, slice_number: int) -> ImagejRoi:
    """A composite of every outline, holes included, filled even-odd; outlines run half a pixel from the centres."""
    segments: list[float] = []
    # ImageJ counts from the first pixel's corner, so its centre is at 0.5; the padding takes one pixel back.
    for outline in find_contours(np.pad(mask, 1).astype(np.float64), 0.5):
        points = outline[:-1, ::-1] - 0.5
        segments += [_MOVE_TO, *points[0].tolist()]
        for point in points[1:].tolist():
            segments += [_LINE_TO, *point]
        segments.append(_CLOSE)
    rows, columns = np.nonzero(mask)
    return ImagejRoi(
        roitype=ROI_TYPE.RECT, name=name, position=slice_number,
        top=int(rows.min()), left=int(columns.min()), bottom=int(rows.max()) + 1, right=int(columns.max()) + 1,
        shape_roi_size=len(segments), multi_coordinates=np.array(segments, np.float32),
    )  # fmt: skip


def make_dicom_seg(source: "pydicom.Dataset", regions: Mapping[int, Mask]) -> "pydicom.Dataset":
    """A DICOM segmentation of one CT image; it names the patient as the image does, so it stays where the image is.

    Args:
        source: the CT image that was segmented, with its header.
        regions: tissue code -> region on the image as stored.

    Raises: UsageError when highdicom is not installed or there is no region.
    """
    hd = _import_highdicom()
    codes = [code for code, mask in regions.items() if mask.any()]
    if not codes:
        raise UsageError("no region to write", "DICOM-SEG", "segment the slice first")
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    algorithm = hd.AlgorithmIdentificationSequence(
        name="bonemet-jax", version=__version__, family=hd.sr.CodedConcept("123104", "DCM", "Morphological Operations"),
    )  # fmt: skip
    described = [
        hd.seg.SegmentDescription(
            segment_number=number, segment_label=ROI_NAMES[code], segmented_property_category=tissue,
            segmented_property_type=hd.sr.CodedConcept(SNOMED[code][0], "SCT", SNOMED[code][1]),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC, algorithm_identification=algorithm,
        )
        for number, code in enumerate(codes, start=1)
    ]  # fmt: skip
    pixels: UInt8[np.ndarray, "1 rows columns segment"] = np.stack([regions[code] for code in codes], -1)[None]
    return hd.seg.Segmentation(
        source_images=[source], pixel_array=pixels.astype(np.uint8), segment_descriptions=described,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY, series_instance_uid=hd.UID(), series_number=1000,
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer="bonemet-jax", manufacturer_model_name="bonemet",
        software_versions=__version__, device_serial_number="0", omit_empty_frames=False,
    )  # fmt: skip


def _import_highdicom() -> Any:
    try:
        return importlib.import_module("highdicom")
    except ImportError as error:
        remedy = install_command("'bonemet-jax[dicom-seg]'")
        raise UsageError("highdicom is not installed", "DICOM-SEG", remedy) from error
