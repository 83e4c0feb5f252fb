"""Regions that a reader drew in ImageJ (.roi, or a zip of them) -> tissue regions on the stored picture.

A pixel belongs to a region when its centre lies inside, by the even-odd rule. ImageJ counts from the upper left corner
of the first pixel, so the centre of row i, column j is (x, y) = (j + 0.5, i + 0.5). A centre on a polygon's edge
belongs when the edge is the region's left or upper one, so that regions side by side share no pixel.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Bool, Float64
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from bonemet_jax.process_state import make_quiet
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.files import InputFile, find_files

#: Tissue code -> spellings: small letters, without blanks, sides and numbers.
SPELLINGS: dict[int, tuple[str, ...]] = {
    schema.TISSUE_SAT: ("sat", "sfa", "scat", "subcutaneous", "subcutaneousfat", "subcutaneousadipose",
                        "subcutaneousadiposetissue", "subcutaneousfatarea", "皮下脂肪"),
    schema.TISSUE_VAT: ("vat", "vfa", "visceral", "visceralfat", "visceraladipose", "visceraladiposetissue",
                        "visceralfatarea", "内脏脂肪"),
    schema.TISSUE_ESM: ("esm", "esma", "es", "erectorspinae", "erectorspinaemuscle", "erectorspinaemuscles",
                        "erectorspinaemusclearea", "paraspinal", "paraspinalmuscle", "paraspinalmuscles", "竖脊肌"),
}  # fmt: skip
SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
MAX_FILE_BYTES, MAX_REGIONS = 16 << 20, 1000
MAX_OVERLAP_PX = 20
#: roifile prints on standard error what it finds odd.
_QUIET_ROIFILE = make_quiet("roifile")
_CODE_OF_SPELLING = {name: code for code, names in SPELLINGS.items() for name in names}
_NO_AREA = (ROI_TYPE.LINE, ROI_TYPE.FREELINE, ROI_TYPE.POLYLINE, ROI_TYPE.NOROI, ROI_TYPE.ANGLE, ROI_TYPE.POINT)
_POLYGONS = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)

Mask = Bool[np.ndarray, "rows columns"]
Path2d = Float64[np.ndarray, "point 2"]


@dataclass(frozen=True)
class Shape:
    """The outline of a region."""

    paths: tuple[Path2d, ...] = ()
    """Closed polygons (x, y), even-odd."""
    oval: tuple[float, float, float, float] | None = None
    """Left, top, width, height."""


@_QUIET_ROIFILE
def load_rois(
    path: Path, shape: tuple[int, int], k: int, n_slices: int
) -> tuple[dict[int, Mask], tuple[Finding, ...]]:
    """Tissue regions that a reader drew on one slice.

    Args:
        path: a .roi file, a zip of such, or a folder.
        shape: rows and columns of the stored picture.
        k: number of the slice, 0 the lowest.
        n_slices: slices of the stack. ImageJ counts from 1, from either end: a region's slice number may be k + 1 or
            n_slices - k. Regions without a slice number belong to the slice.

    Raises: InputDataError for a file that is damaged or holds what is no tissue region.
    """
    regions, notes = _load_files(path)
    regions, more = _choose_slice(regions, k, n_slices, path)
    masks: dict[int, Mask] = {}
    sides: dict[int, set[str]] = defaultdict(set)
    notes += more
    for number, (file, roi) in enumerate(regions, start=1):
        code, side = _name_tissue(roi, file, number, len(regions))
        mask, is_clipped = _draw_inside(find_shape(roi, file.where), shape, file)
        if is_clipped:
            notes.append(find("roi-clipped", fact=f"region {number} of {len(regions)}", where=file.where))
        masks[code] = masks.get(code, np.zeros(shape, bool)) | mask
        sides[code].add(side)
    half = [code for code in masks if sides[code] in ({"left"}, {"right"})]
    notes += [find("mask-half", fact=f"{schema.TISSUE_NAMES[code]}: one side", where=path) for code in half]
    masks = {code: mask for code, mask in masks.items() if code not in half}
    return masks, (*notes, *_find_overlaps(masks, path))


def find_shape(roi: ImagejRoi, where: object) -> Shape:
    """The outline of one region.

    Raises: InputDataError for lines, points, text, and curves that are not stored as points.
    """
    kind = f"{roi.roitype.name} {roi.subtype.name}".lower().removesuffix(" undefined")
    if roi.roitype in _NO_AREA or roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.ARROW, ROI_SUBTYPE.IMAGE):
        raise refusal("roi-no-area", where, fact=kind)
    # Rounded corners and splines are computed by ImageJ when it draws: the file holds no outline.
    is_rounded = roi.roitype == ROI_TYPE.RECT and roi.rounded_rect_arc_size
    if is_rounded or roi.options & ROI_OPTIONS.SPLINE_FIT:
        raise refusal("roi-kind", where, fact=f"{kind}, rounded or spline")
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL) and not roi.composite:
        box = (roi.xd, roi.yd, roi.widthd, roi.heightd) if roi.subpixelrect else (
            float(roi.left), float(roi.top), float(roi.right - roi.left), float(roi.bottom - roi.top))  # fmt: skip
        left, top, width, height = box
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        return Shape(oval=box) if roi.roitype == ROI_TYPE.OVAL else Shape((np.array(corners),))
    if not (roi.composite or roi.roitype in _POLYGONS):
        raise refusal("roi-kind", where, fact=kind)
    try:
        paths = [np.asarray(path, np.float64) for path in roi.coordinates(multi=True)]
    except (RuntimeError, IndexError, ValueError, OverflowError) as error:  # paths with curves, or damaged ones
        raise refusal("roi-kind", where, fact=f"{kind}, curved") from error
    if not all(np.isfinite(path).all() for path in paths):
        raise refusal("roi-damaged", where, fact="coordinates that are not finite")
    return Shape(tuple(paths))


def draw_shape(outline: Shape, shape: tuple[int, int]) -> Mask:
    """Pixels whose centres lie inside; what lies outside the picture is cut off. An oval's own edge is inside."""
    rows, columns = shape
    x, y = np.arange(columns) + 0.5, np.arange(rows) + 0.5
    if outline.oval is not None:
        left, top, width, height = outline.oval
        if width <= 0 or height <= 0:
            return np.zeros(shape, bool)
        across, down = (x - left - width / 2) / (width / 2), (y - top - height / 2) / (height / 2)
        return across[None, :] ** 2 + down[:, None] ** 2 <= 1.0
    return _draw_polygons(outline.paths, x, y)


def _draw_polygons(paths: Sequence[Path2d], x: np.ndarray, y: np.ndarray) -> Mask:
    """Even-odd, row by row: a centre is inside when an odd number of edges lies on its left or on it."""
    mask = np.zeros((len(y), len(x)), bool)
    if not paths:
        return mask
    starts = np.concatenate(paths)
    ends = np.concatenate([np.roll(path, -1, axis=0) for path in paths])
    low, high = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    for i in np.flatnonzero((y >= low.min()) & (y < high.max())):
        at = (low <= y[i]) & (y[i] < high)
        (x0, y0), (x1, y1) = starts[at].T, ends[at].T
        crossings = np.sort(x0 + (y[i] - y0) * (x1 - x0) / (y1 - y0))
        mask[i] = np.searchsorted(crossings, x, side="right") % 2 == 1
    return mask


def _load_files(path: Path) -> tuple[list[tuple[InputFile, ImagejRoi]], list[Finding]]:
    files = find_files(path)
    named = [f for f in files if f.name.lower().endswith(".roi")]
    if not named:
        raise refusal("roi-missing", path, fact=f"{len(files)} files, none ends in .roi")
    if len(named) > MAX_REGIONS:
        raise refusal("roi-damaged", path, fact=f"{len(named)} regions, at most {MAX_REGIONS}")
    n_other = len(files) - len(named)
    notes = [find("roi-other-files", fact=f"{n_other} files", where=path)] if n_other else []
    return [(file, _load_roi(file)) for file in named], notes


def _load_roi(file: InputFile) -> ImagejRoi:
    if file.n_bytes > MAX_FILE_BYTES:
        raise refusal("roi-damaged", file.where, fact=f"{file.n_bytes} bytes, at most {MAX_FILE_BYTES}")
    try:
        with file.open() as stream:
            return ImagejRoi.frombytes(stream.read())
    except InputDataError:
        raise
    except Exception as error:  # roifile raises many kinds for a damaged file, and quotes it
        raise refusal("roi-damaged", file.where, fact=type(error).__name__) from error


def _choose_slice(
    regions: Sequence[tuple[InputFile, ImagejRoi]], k: int, n_slices: int, path: Path
) -> tuple[list[tuple[InputFile, ImagejRoi]], list[Finding]]:
    """Regions of slice k."""
    positions = [roi.z_position or roi.position for _, roi in regions]
    meant = {p for p in positions if p in (k + 1, n_slices - k)}
    if len(meant) == 2:
        raise refusal("roi-two-slices", path, fact=f"slices {min(meant)} and {max(meant)} of {n_slices}")
    chosen = [region for region, p in zip(regions, positions, strict=True) if p in meant or p <= 0]
    if not chosen:
        drawn = ", ".join(map(str, sorted(set(positions))[:5]))
        raise refusal("roi-other-slice", path, fact=f"drawn on slice {drawn}; chosen {k + 1} of {n_slices} from below")
    n_left = len(regions) - len(chosen)
    return chosen, [find("roi-other-slices", fact=f"{n_left} regions", where=path)] if n_left else []


def parse_name(name: str) -> tuple[int, str] | None:
    """Tissue code and side that a region's name tells; None for any other name."""
    words = [word for word in re.split(r"[\W_\d]+", name.casefold()) if word]
    sides = [SIDES[word] for word in words if word in SIDES]
    code = _CODE_OF_SPELLING.get("".join(word for word in words if word not in SIDES))
    return None if code is None else (code, sides[0] if len(sides) == 1 else "")


def _name_tissue(roi: ImagejRoi, file: InputFile, number: int, n: int) -> tuple[int, str]:
    """Tissue code and side that the region's name tells, or its file's."""
    for name in (roi.name, PurePath(file.name).stem):
        tissue = parse_name(name)
        if tissue is not None:
            return tissue
    # The name itself is free text, and stays untold.
    known = "; ".join(f"{names[0].upper()}: {', '.join(names[1:4])}" for names in SPELLINGS.values())
    raise refusal("roi-name", file.where, fact=f"region {number} of {n}; known are {known}")


def _draw_inside(outline: Shape, shape: tuple[int, int], file: InputFile) -> tuple[Mask, bool]:
    """The region's pixels, and whether a part of it lies outside the picture."""
    if outline.oval is not None:
        left, top, width, height = outline.oval
        low, high = np.array([left, top]), np.array([left + width, top + height])
    else:
        points = np.concatenate([np.zeros((0, 2)), *outline.paths])
        if len(points) == 0:
            raise refusal("roi-damaged", file.where, fact="no points")
        low, high = points.min(axis=0), points.max(axis=0)
    size = np.array(shape[::-1], float)
    if (high <= 0).any() or (low >= size).any():
        raise refusal("roi-outside", file.where, fact=f"picture of {shape[0]} rows, {shape[1]} columns")
    return draw_shape(outline, shape), bool((low < 0).any() or (high > size).any())


def _find_overlaps(masks: dict[int, Mask], path: Path) -> list[Finding]:
    codes = sorted(masks)
    pairs = [(a, b) for i, a in enumerate(codes) for b in codes[i + 1 :]]
    shared = {(a, b): int((masks[a] & masks[b]).sum()) for a, b in pairs}
    return [
        find("roi-overlap", fact=f"{schema.TISSUE_NAMES[a]} and {schema.TISSUE_NAMES[b]}: {n} pixels", where=path)
        for (a, b), n in shared.items() if n > MAX_OVERLAP_PX
    ]  # fmt: skip
