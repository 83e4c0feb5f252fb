"""DICOM SEG: binary, fractional and label-map segments on the image's grid, decoded frame by frame."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt16
from pydicom.dataset import Dataset

from data_pipelines.findings import refusal
from data_pipelines.ingest.dicom_header import Frame, get_value, load_elements
from data_pipelines.ingest.dicom_parts import (
    check_frame_of_reference,
    find_slice_of,
    get_items,
    get_numbers,
    get_whole,
)
from data_pipelines.ingest.dicom_pixels import decode_frame
from data_pipelines.ingest.dicom_rules import COSINE_TOLERANCE
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import Axes, Grid, check_same_grid, turn
from data_pipelines.ingest.structures import WHOLE_MUSCLE, Structure, parse_structure

#: SNOMED CT codes (DICOM PS3.16, CID 7603 and 7166) -> structure. That of fat alone (55603005) leaves its place open.
CODES: dict[str, str] = {
    "14806007": "vertebrae_C1", "39976000": "vertebrae_C2", "113205007": "vertebrae_C3", "5329002": "vertebrae_C4",
    "36978003": "vertebrae_C5", "36054005": "vertebrae_C6", "87391001": "vertebrae_C7", "64864005": "vertebrae_T1",
    "53733008": "vertebrae_T2", "1626008": "vertebrae_T3", "73071006": "vertebrae_T4", "56401006": "vertebrae_T5",
    "45296009": "vertebrae_T6", "62487009": "vertebrae_T7", "11068009": "vertebrae_T8", "82687006": "vertebrae_T9",
    "7610001": "vertebrae_T10", "12989004": "vertebrae_T11", "23215003": "vertebrae_T12", "66794005": "vertebrae_L1",
    "14293000": "vertebrae_L2", "36470004": "vertebrae_L3", "11994002": "vertebrae_L4", "49668003": "vertebrae_L5",
    "71966008": "subcutaneous_fat", "44947003": WHOLE_MUSCLE,
}  # fmt: skip
_SIDES = {"7771000": "left", "24028007": "right"}
#: A pixel belongs to a fractional segment from this share of the maximum.
FRACTION = 0.5
MAX_FRAMES = 100_000
_ELEMENTS = (
    "SOPClassUID", "FrameOfReferenceUID", "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "SegmentationType", "MaximumFractionalValue",
    "LossyImageCompression", "SegmentSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip


@dataclass(frozen=True)
class Seg:
    """One object."""

    file: InputFile
    dataset: Dataset
    grid: Grid
    axes: Axes
    kind: str
    """BINARY, FRACTIONAL or LABELMAP."""
    frames: Mapping[tuple[int, int], tuple[int, ...]]
    """Segment and slice -> frames; of a label map the segment is 0."""

    def load(self, segment: int, k: int) -> Bool[np.ndarray, "height width"]:
        """A segment on slice k; false where the object has no frame there. Raises: InputDataError."""
        region = np.zeros((self.grid.height, self.grid.width), bool)
        for index in self.frames.get((0 if self.kind == "LABELMAP" else segment, k), ()):
            values = self._decode(index)
            if self.kind == "LABELMAP":
                inside = values == segment
            elif self.kind == "FRACTIONAL":
                inside = values >= FRACTION * get_whole(self.dataset, "MaximumFractionalValue", self.file)
            else:
                inside = values > 0
            region |= turn(inside, self.axes)
        return region

    def _decode(self, index: int) -> UInt16[np.ndarray, "rows columns"]:
        if self.dataset.BitsAllocated == 1 and not self.dataset.file_meta.TransferSyntaxUID.is_compressed:
            return self._unpack(index)
        values, notes = decode_frame(self.dataset, Frame(self.file, index, self.dataset, is_syntax_told=True))
        if any(note.code == "dicom-lossy" for note in notes):
            raise refusal("mask-values", self.file.where, fact="lossy compression changes labels")
        if values.shape != (self.dataset.Rows, self.dataset.Columns):
            raise refusal("dicom-size-contradicts", self.file.where)
        return values.astype(np.uint16)

    def _unpack(self, index: int) -> UInt16[np.ndarray, "rows columns"]:
        """Frame of packed bits: frames follow each other without a gap, the lowest bit first."""
        n = self.dataset.Rows * self.dataset.Columns
        start = index * n
        packed = np.frombuffer(self.dataset.PixelData, np.uint8, (start + n + 7) // 8 - start // 8, start // 8)
        bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + n]
        return bits.reshape(self.dataset.Rows, self.dataset.Columns).astype(np.uint16)


@dataclass(frozen=True)
class SegStructure:
    """One segment."""

    seg: Seg
    segment: int

    @property
    def where(self) -> str:
        return self.seg.file.where

    def load(self, k: int) -> Bool[np.ndarray, "height width"]:
        return self.seg.load(self.segment, k)

    def count(self) -> Int[np.ndarray, " slice"]:
        key = 0 if self.seg.kind == "LABELMAP" else self.segment
        px = np.zeros(len(self.seg.grid.z_mm), np.int64)
        for segment, k in self.seg.frames:
            if segment == key:
                px[k] = np.count_nonzero(self.load(k))
        return px


def load_seg(file: InputFile, image: Grid, frame: str) -> Iterator[tuple[str, Structure]]:
    """Yield name and pixels of every segment whose code or label is known.

    Args:
        file: the segmentation.
        image: the image's grid.
        frame: the image's FrameOfReferenceUID; empty: unknown.

    Raises: InputDataError for a damaged object, or one of another frame of reference or grid.
    """
    dataset = load_elements(file, _ELEMENTS)
    check_frame_of_reference(get_value(dataset, "FrameOfReferenceUID", file), frame, file)
    kind = get_value(dataset, "SegmentationType", file)
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise refusal("dicom-value", file.where, fact="SegmentationType is not BINARY, FRACTIONAL or LABELMAP")
    if kind == "FRACTIONAL" and get_whole(dataset, "MaximumFractionalValue", file) == 0:
        raise refusal("dicom-value", file.where, fact="MaximumFractionalValue 0")
    named = [(number, name) for number, name in _find_names(dataset, file) if name is not None]
    if named:
        seg = _place(dataset, kind, image, file)
        yield from ((name, SegStructure(seg, number)) for number, name in named)


def _find_names(dataset: Dataset, file: InputFile) -> list[tuple[int, str | None]]:
    found = [(get_whole(item, "SegmentNumber", file), _find_name(item, file))
             for item in get_items(dataset, "SegmentSequence", file)]  # fmt: skip
    if len({number for number, _ in found}) < len(found):
        raise refusal("dicom-value", file.where, fact="SegmentNumber given twice")
    return found


def _find_name(item: Dataset, file: InputFile) -> str | None:
    """The structure by code, else by label. Raises: InputDataError where the two contradict each other."""
    kind = next(iter(get_items(item, "SegmentedPropertyTypeCodeSequence", file)), None)
    coded = CODES.get(str(get_value(kind, "CodeValue", file) or ""))
    labelled = parse_structure(str(get_value(item, "SegmentLabel", file) or ""))
    if coded == WHOLE_MUSCLE:
        # The code has no side: its modifier or the label may.
        modifier = next(iter(get_items(kind, "SegmentedPropertyTypeModifierCodeSequence", file)), None)
        side = _SIDES.get(str(get_value(modifier, "CodeValue", file) or ""))
        coded = f"autochthon_{side}" if side else labelled if (labelled or "").startswith("autochthon") else coded
    if coded and labelled and coded != labelled:
        raise refusal("mask-numbering", file.where, "code and label of a segment contradict each other",
                      fact=f"{coded} and {labelled}", mend="name the segment by one of them")
    return coded or labelled


def _place(dataset: Dataset, kind: str, image: Grid, file: InputFile) -> Seg:
    """Frames on the image's grid. Raises: InputDataError."""
    frames = get_items(dataset, "PerFrameFunctionalGroupsSequence", file)
    shared = next(iter(get_items(dataset, "SharedFunctionalGroupsSequence", file)), None)
    n = get_whole(dataset, "NumberOfFrames", file)
    if n != len(frames) or not 1 <= n <= MAX_FRAMES:
        raise refusal("dicom-frame-groups", file.where, fact=f"PerFrameFunctionalGroupsSequence of {len(frames)}, "
                      f"NumberOfFrames {n}")
    shape = get_whole(dataset, "Rows", file), get_whole(dataset, "Columns", file)
    _check_pixels(dataset, n, shape, kind, file)
    at: dict[tuple[int, int], list[int]] = defaultdict(list)
    axes: Axes | None = None
    for index, groups in enumerate(frames):
        own, k = _place_frame((groups, shared), shape, image, file)
        if axes is not None and own != axes:
            raise refusal("dicom-value", file.where, fact="frames of several orientations")
        axes = own
        segment = 0
        if kind != "LABELMAP":
            item = _find_group((groups, shared), "SegmentIdentificationSequence", file)
            segment = get_whole(item, "ReferencedSegmentNumber", file)
        at[segment, k].append(index)
    return Seg(file, dataset, image, axes or (False, False, False), kind, {key: tuple(i) for key, i in at.items()})


def _check_pixels(dataset: Dataset, n: int, shape: tuple[int, int], kind: str, file: InputFile) -> None:
    bits = get_value(dataset, "BitsAllocated", file)
    if bits not in (1, 8, 16) or (bits == 1 and kind != "BINARY"):
        raise refusal("dicom-bits", file.where, fact=f"BitsAllocated {bits if isinstance(bits, int) else 'absent'}")
    pixels = get_value(dataset, "PixelData", file)
    if not isinstance(pixels, bytes):
        raise refusal("dicom-no-pixels", file.where)
    is_native = not dataset.file_meta.TransferSyntaxUID.is_compressed
    if is_native and len(pixels) * 8 < n * shape[0] * shape[1] * bits:
        raise refusal("dicom-truncated", file.where, fact=f"{len(pixels)} bytes for {n} frames")


def _find_group(groups: Sequence[Dataset | None], name: str, file: InputFile) -> Dataset | None:
    """A functional group: the frame's, else the shared one."""
    return next((item for group in groups for item in get_items(group, name, file)), None)


def _place_frame(
    groups: Sequence[Dataset | None], shape: tuple[int, int], image: Grid, file: InputFile
) -> tuple[Axes, int]:
    """How a frame is turned, and its slice. Raises: InputDataError where it is not on the image's grid."""
    orientation = get_numbers(
        _find_group(groups, "PlaneOrientationSequence", file), "ImageOrientationPatient", 6, file
    ).reshape(2, 3)
    position = get_numbers(_find_group(groups, "PlanePositionSequence", file), "ImagePositionPatient", 3, file)
    row_mm, column_mm = get_numbers(_find_group(groups, "PixelMeasuresSequence", file), "PixelSpacing", 2, file)
    if not np.allclose(orientation @ orientation.T, np.eye(2), rtol=0, atol=COSINE_TOLERANCE):
        raise refusal("dicom-no-orientation", file.where, fact="ImageOrientationPatient of a frame")
    # From the centre of the first pixel to that of the last one along rows and columns.
    last = np.array([(shape[1] - 1) * column_mm, (shape[0] - 1) * row_mm])
    centre = position + last @ orientation / 2
    is_transposed = abs(orientation[0, 0]) < abs(orientation[0, 1])
    along_x, along_y = orientation[::-1] if is_transposed else orientation
    size, spacing = (shape[::-1], (column_mm, row_mm)) if is_transposed else (shape, (row_mm, column_mm))
    corner = (centre[0] - (size[1] - 1) * spacing[1] / 2, centre[1] - (size[0] - 1) * spacing[0] / 2)
    axes = bool(is_transposed), bool(along_y[1] < 0), bool(along_x[0] < 0)
    if min(abs(along_x[0]), abs(along_y[1])) < np.cos(np.radians(6)):
        raise refusal("dicom-not-axial", file.where, fact="ImageOrientationPatient of a frame")
    k = find_slice_of(float(centre[2]), image, file)
    own = Grid(*size, (float(spacing[0]), float(spacing[1])), (float(corner[0]), float(corner[1])), (0.0,))
    check_same_grid(Grid(image.height, image.width, image.spacing_mm, image.corner_mm, (0.0,)), own, file.where)
    return axes, k
