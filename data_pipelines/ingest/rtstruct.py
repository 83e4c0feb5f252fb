"""RTSTRUCT: closed planar contours on the image's slices -> regions on its grid.

A pixel belongs when its centre is inside, by the even-odd rule over all contours of a structure on the slice: an inner
contour is a hole. Edges as of ImageJ regions (roi.py).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int
from pydicom.dataset import Dataset

from data_pipelines.findings import refusal
from data_pipelines.ingest.dicom_header import get_value, load_elements
from data_pipelines.ingest.dicom_parts import (
    check_frame_of_reference,
    find_slice_of,
    get_items,
    get_numbers,
    get_whole,
)
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import TOLERANCE_PX, Grid
from data_pipelines.ingest.roi import Shape, draw_shape
from data_pipelines.ingest.structures import Structure, parse_structure

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: Contours of one file, and points of them all.
MAX_CONTOURS, MAX_POINTS = 50_000, 5_000_000

Path2d = Float64[np.ndarray, "point 2"]


@dataclass(frozen=True)
class ContourStructure:
    """One structure as contours."""

    where: str
    grid: Grid
    paths: Mapping[int, tuple[Path2d, ...]]
    """Slice -> closed polygons (x, y), pixels from the upper left corner of the first one."""

    def load(self, k: int) -> Bool[np.ndarray, "height width"]:
        return draw_shape(Shape(self.paths.get(k, ())), (self.grid.height, self.grid.width))

    def count(self) -> Int[np.ndarray, " slice"]:
        px = np.zeros(len(self.grid.z_mm), np.int64)
        for k in self.paths:
            px[k] = np.count_nonzero(self.load(k))
        return px


def load_rtstruct(file: InputFile, image: Grid, frame: str) -> Iterator[tuple[str, Structure]]:
    """Yield name and contours of every structure whose name is known.

    Args:
        file: the structure set.
        image: the image's grid.
        frame: the image's FrameOfReferenceUID; empty: unknown.

    Raises: InputDataError for damaged contours, those of another frame of reference, or off the image's slices.
    """
    dataset = load_elements(file, ["SOPClassUID", "StructureSetROISequence", "ROIContourSequence"])
    names: dict[int, str] = {}
    for item in get_items(dataset, "StructureSetROISequence", file):
        name = parse_structure(str(get_value(item, "ROIName", file) or ""))
        if name is not None:
            check_frame_of_reference(get_value(item, "ReferencedFrameOfReferenceUID", file), frame, file)
            number = get_whole(item, "ROINumber", file)
            if number in names:
                raise refusal("dicom-value", file.where, fact="ROINumber given twice")
            names[number] = name
    n_points = 0
    for item in get_items(dataset, "ROIContourSequence", file):
        number = get_whole(item, "ReferencedROINumber", file)
        if number not in names:
            continue
        contours = get_items(item, "ContourSequence", file)
        if len(contours) > MAX_CONTOURS:
            raise refusal("mask-contour", file.where, fact=f"{len(contours)} contours, at most {MAX_CONTOURS}")
        paths = _load_paths(contours, image, file)
        n_points += sum(len(path) for own in paths.values() for path in own)
        if n_points > MAX_POINTS:
            raise refusal("mask-contour", file.where, fact=f"more than {MAX_POINTS} points")
        yield names[number], ContourStructure(file.where, image, paths)


def _load_paths(contours: Sequence[Dataset], image: Grid, file: InputFile) -> dict[int, tuple[Path2d, ...]]:
    paths: dict[int, list[Path2d]] = defaultdict(list)
    row_mm, column_mm = image.spacing_mm
    limit_mm = TOLERANCE_PX * (float(np.diff(image.z_mm).min()) if len(image.z_mm) > 1 else 1.0)
    for contour in contours:
        kind = get_value(contour, "ContourGeometricType", file)
        if kind not in _CLOSED:
            raise refusal("mask-contour", file.where, fact="ContourGeometricType is not CLOSED_PLANAR")
        numbers = get_numbers(contour, "ContourData", None, file)
        if len(numbers) == 0 or len(numbers) % 3:
            raise refusal("mask-contour", file.where, fact=f"ContourData of {len(numbers)} numbers")
        x_mm, y_mm, z_mm = numbers.reshape(-1, 3).T
        if float(np.ptp(z_mm)) > limit_mm:
            raise refusal("mask-contour", file.where, fact=f"a contour that rises by {np.ptp(z_mm):.3g} mm")
        k = find_slice_of(float(z_mm.mean()), image, file)
        x, y = (x_mm - image.corner_mm[0]) / column_mm + 0.5, (y_mm - image.corner_mm[1]) / row_mm + 0.5
        if x.max() <= 0 or y.max() <= 0 or x.min() >= image.width or y.min() >= image.height:
            raise refusal("mask-contour", file.where, fact="a contour outside the image")
        path = np.stack([x, y], axis=1)
        if not any(np.array_equal(path, other) for other in paths[k]):  # a copy would cancel it by the even-odd rule
            paths[k].append(path)
    return {k: tuple(own) for k, own in paths.items()}
