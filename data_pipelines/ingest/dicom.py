"""A folder of CT files -> one series, sorted, with its grid; slice by slice Hounsfield units in anatomical order.

What is not understood is refused or left out and told; the rules are a table in dicom_rules.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int16
from pydicom.dataset import Dataset

from bonemet_jax.errors import InputDataError
from data_pipelines.check_codes import VERDICTS
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.acquisitions import (
    SAME_POSITION_MM,
    describe_number,
    split_acquisitions,
    split_by_number,
    split_by_pictures,
)
from data_pipelines.ingest.dicom_header import Frame, NotDicomError, load_frames, quiet_pydicom
from data_pipelines.ingest.dicom_pixels import is_copy, load_frame_hu
from data_pipelines.ingest.dicom_rules import STRAIGHT_DEG, check_frame, compute_plane, judge_frame, rank_of
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.formats import GIVE_IMAGES, find_format, find_own_directory
from data_pipelines.ingest.grid import UNIT_TOLERANCE, Axes, Grid, turn
from data_pipelines.ingest.subfolders import get_folder

#: Differences below these are rounding: cosines, pixel spacing.
SAME_COSINE, SAME_SPACING_MM = 1e-3, 1e-4
#: Largest sideways shift between slices of one series, pixels.
MAX_SHIFT_PX = 1.0
#: Largest ratio of two distances between slices that are even but for rounding.
MAX_UNEVEN = 1.5
#: Pixels of 1 mm, and an origin this near to 0: what an export writes that knows neither, mm.
ORIGIN_MM = 1.0


@dataclass(frozen=True)
class DicomStack:
    """One series, sorted from the feet to the head."""

    grid: Grid
    frames: tuple[Frame, ...]
    findings: tuple[Finding, ...]
    axes: Axes
    """Whether to transpose the stored picture, then flip its rows, then its columns."""
    tilt_deg: float = 0.0
    is_hu: bool = True
    holds_fat: bool = True
    kind: str = "dicom"
    placeholder: str = ""
    """Why position and spacing are placeholders; empty where they are none."""

    def load_hu(self, k: int) -> tuple[Int16[np.ndarray, "height width"], tuple[Finding, ...]]:
        """Decode slice k. Returns Hounsfield units, padding as schema.HU_PADDING, and findings."""
        hu, findings = load_frame_hu(self.frames[k])
        return turn(hu, self.axes), (*judge_frame(self.frames[k]), *findings)


@quiet_pydicom()
def load_dicom(
    files: Sequence[InputFile], path: Path, series: int | None = None, acquisition: int | None = None
) -> DicomStack:
    """Read the headers of every file, whatever their names, and take one axial CT series.

    Args:
        files: of one patient.
        path: named in errors.
        series: which one, counted from 1 as the refusal lists them, where there are several.
        acquisition: which one of the series, counted likewise.

    Raises: InputDataError when no series, or several, can be measured.
    """
    found = _sort_out(files)
    other = found.other
    if not found.frames and not found.refused:
        raise _refuse_unread(files, path, other[0] if other else "")
    if len(found.patients) > 1:
        raise refusal("dicom-two-patients", path, fact=f"{len(found.patients)} different PatientID")
    if not found.frames:
        raise max(found.refused, key=rank_of)
    notes = _tell_refused(found.refused, path)
    if other:
        notes.append(find("dicom-other-files", f"{len(other)} files are not DICOM and were left out", other[0], path))
    chosen = _choose(_group(found.frames), series, path)
    if acquisition is not None:
        chosen = _choose_acquisition(chosen, acquisition, path)
    chosen, more = _drop_copies(chosen, path)
    grid = _make_grid(chosen)
    placeholder = _describe_placeholder(chosen[0])
    notes += [*more, *_check_places(chosen, grid, path)]
    if _has_unit_pixels(chosen[0]) and not placeholder:
        notes.append(find("dicom-unit-pixels", fact="PixelSpacing 1 x 1 mm", where=path))
    if not placeholder and _has_zero_corner(chosen[0]):
        notes.append(find("dicom-origin-zero", fact="ImagePositionPatient: 0, 0 at a corner", where=path))
    tilt_deg = compute_plane(chosen[0].header).tilt_deg
    return DicomStack(
        grid, tuple(chosen), tuple(notes), _axes(chosen[0].header), tilt_deg if tilt_deg > STRAIGHT_DEG else 0.0,
        placeholder=placeholder,
    )  # fmt: skip


def _refuse_unread(files: Sequence[InputFile], path: Path, fact: str) -> InputDataError:
    """The error for files that hold no DICOM image: it names an output directory, or their format where it is known."""
    if (kind := find_own_directory(path)) is not None:
        return refusal("file-not-understood", path, f"this is {kind} directory of bonemet", mend=GIVE_IMAGES)
    unread = find_format(files)
    if unread is None:
        return refusal("file-not-understood", path, "no DICOM files and no ct.nii.gz found", fact)
    return refusal("file-not-understood", path, f"unsupported format: {unread.name}", fact, unread.remedy)


@dataclass
class _Found:
    """What a folder holds."""

    frames: list[Frame] = field(default_factory=list)
    """Axial CT."""
    refused: list[InputDataError] = field(default_factory=list)
    """Why the other DICOM files and frames are none."""
    other: list[str] = field(default_factory=list)
    """Why the remaining files hold no image at all."""
    patients: set[str] = field(default_factory=set)
    """PatientID of every image, also of those refused: compared, never told."""


def _sort_out(files: Sequence[InputFile]) -> _Found:
    found = _Found()
    for file in files:
        try:
            frames = load_frames(file)
        except NotDicomError as error:
            if file.name != "DICOMDIR" or len(files) == 1:  # a list of the images beside it
                found.other.append(str(error))
            continue
        except InputDataError as error:
            if error.code == "file-archive-damaged":  # its checksum differs: which slices are intact is unknown
                raise
            found.refused.append(error)
            continue
        for frame in frames:
            try:
                check_frame(frame)
                found.frames.append(frame)
            except InputDataError as error:
                found.refused.append(error)
        found.patients |= {_patient(frames[0])} - {""}
    return found


def _tell_refused(refused: Sequence[InputDataError], path: Path) -> list[Finding]:
    counts = Counter(error.code for error in refused)
    return [
        find("dicom-left-out", f"{n} left out: {VERDICTS[code].meaning}",
             next(error.fact for error in refused if error.code == code), path)
        for code, n in counts.items()
    ]  # fmt: skip


def _position(frame: Frame) -> np.ndarray:
    return np.array(frame.header.ImagePositionPatient, float)


def _height_mm(frame: Frame) -> float:
    """Position along the slice normal, mm."""
    return float(_position(frame) @ compute_plane(frame.header).normal)


def _spacing_mm(frame: Frame) -> tuple[float, float]:
    row, column = (float(v) for v in frame.header.PixelSpacing)
    return row, column


def _group(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Series, each sorted from the feet to the head; in an order that does not hang on file names."""
    groups: list[list[Frame]] = []
    for frame in frames:
        group = next((group for group in groups if _is_same_series(group[0], frame)), None)
        if group is None:
            groups.append([frame])
        else:
            group.append(frame)
    for group in groups:
        group.sort(key=_height_mm)
    return sorted(groups, key=lambda g: (-len(g), _height_mm(g[0]), _spacing_mm(g[0]), _series(g[0])))


def _patient(frame: Frame) -> str:
    return str(frame.header.get("PatientID") or "").strip()


def _series(frame: Frame) -> str:
    return str(frame.header.get("SeriesInstanceUID") or "")


def _identify(frame: Frame) -> tuple[object, ...]:
    """What the slices of one series share; without SeriesInstanceUID and PatientID also the folder: a patient's own."""
    series = _series(frame)
    folder = get_folder(frame.file) if not (series or _patient(frame)) else None
    return series, folder, frame.header.Rows, frame.header.Columns


def _is_same_series(one: Frame, other: Frame) -> bool:
    """Identifiers may be empty, and one may hold two reconstructions: what makes slices a stack counts too."""
    if _identify(one) != _identify(other):
        return False
    return all(
        abs(float(a) - float(b)) < tolerance
        for name, tolerance in (("ImageOrientationPatient", SAME_COSINE), ("PixelSpacing", SAME_SPACING_MM))
        for a, b in zip(one.header[name].value, other.header[name].value, strict=True)
    )


def _choose(groups: list[list[Frame]], series: int | None, path: Path) -> list[Frame]:
    if series is not None and not 1 <= series <= len(groups):
        raise refusal("dicom-no-series", path, f"no series {series}", f"{len(groups)} series",
                      f"use --series 1 to {len(groups)}")
    if series is None and len(groups) > 1:
        listed = "; ".join(f"{n}: {_describe(group)}" for n, group in enumerate(groups, start=1))
        raise refusal("dicom-several-series", path, f"{len(groups)} CT series: {listed}")
    return groups[(series or 1) - 1]


def _describe(group: list[Frame]) -> str:
    """Size and place of a series: no identifier and no description."""
    header, z = group[0].header, [float(frame.header.ImagePositionPatient[2]) for frame in group]
    row_mm, column_mm = _spacing_mm(group[0])
    every = f", every {np.median(np.diff(z)):.4g} mm" if len(z) > 1 else ""
    return (
        f"{len(group)} slices of {header.Rows} x {header.Columns} pixels of {row_mm:.4g} x {column_mm:.4g} mm{every}, "
        f"z {z[0]:g} to {z[-1]:g}"
    )


def _choose_acquisition(group: list[Frame], acquisition: int, path: Path) -> list[Frame]:
    """One acquisition of a series, as the refusal lists them; where none is listed, by AcquisitionNumber's order."""
    parts = _find_acquisitions(group)
    parts = parts if len(parts) > 1 else split_by_number(group, _height_mm)
    if not 1 <= acquisition <= len(parts):
        raise refusal("dicom-no-acquisition", path, f"no acquisition {acquisition}", f"{len(parts)} in the series",
                      f"use --acquisition 1 to {len(parts)}")
    return parts[acquisition - 1]


def _find_acquisitions(group: list[Frame]) -> list[list[Frame]]:
    """Acquisitions with slices between each other's, by the headers and positions, else by the pictures."""
    parts = split_acquisitions(group, _height_mm)
    return parts if len(parts) > 1 else split_by_pictures(group, lambda frame: load_frame_hu(frame)[0])


def _list_acquisitions(parts: list[list[Frame]]) -> str:
    return "; ".join(f"{n}: {describe_number(part)}{_describe(part)}" for n, part in enumerate(parts, start=1))


def _drop_copies(group: list[Frame], path: Path) -> tuple[list[Frame], list[Finding]]:
    """One frame a position. Raises: InputDataError for different pictures at one position, or acquisitions mixed."""
    kept, single = [group[0]], [True]
    for frame in group[1:]:
        if _height_mm(frame) - _height_mm(kept[-1]) >= SAME_POSITION_MM:
            kept.append(frame)
            single.append(True)
        elif is_copy(kept[-1], frame):
            single[-1] = False
        else:
            raise _two_phases(group, frame, path)
    # A slice that is there twice may belong to either export.
    parts = _find_acquisitions([frame for frame, is_single in zip(kept, single, strict=True) if is_single])
    if len(parts) > 1:
        raise refusal("dicom-interleaved", path, f"{len(parts)} acquisitions in one series, at interleaved positions: "
                      f"{_list_acquisitions(parts)}")
    n = len(group) - len(kept)
    return kept, [find("dicom-copies", f"{n} copies of slices were left out", where=path)] if n else []


def _two_phases(group: list[Frame], frame: Frame, path: Path) -> InputDataError:
    """The refusal of two pictures at one position, with the acquisitions where the headers part them."""
    fact = f"ImagePositionPatient: two at z {_position(frame)[2]:g}"
    parts = split_acquisitions(group, _height_mm)
    if len(parts) == 1:
        return refusal("dicom-two-phases", path, fact=fact)
    return refusal("dicom-two-phases", path, f"{VERDICTS['dicom-two-phases'].meaning}, of {len(parts)} acquisitions: "
                   f"{_list_acquisitions(parts)}", fact, "choose one with --acquisition N")


def _has_unit_pixels(frame: Frame) -> bool:
    return all(abs(mm - 1) < UNIT_TOLERANCE for mm in _spacing_mm(frame))


def _describe_placeholder(frame: Frame) -> str:
    """Why position and pixel spacing are placeholders: 1 mm pixels from the patient's zero."""
    if not _has_unit_pixels(frame) or np.abs(_position(frame)[:2]).max() > ORIGIN_MM:
        return ""
    return "PixelSpacing 1 x 1 mm, ImagePositionPatient 0, 0"


def _find_stored_corners(frame: Frame) -> np.ndarray:
    """Patient coordinates of the centres of the first and last pixel of the first stored row, then of the last, mm."""
    row_mm, column_mm = _spacing_mm(frame)
    along_row, along_column = np.array(frame.header.ImageOrientationPatient, float).reshape(2, 3)
    right = (frame.header.Columns - 1) * column_mm * along_row
    down = (frame.header.Rows - 1) * row_mm * along_column
    return _position(frame) + np.array([0 * right, right, down, right + down])


def _has_zero_corner(frame: Frame) -> bool:
    """True where the patient's zero is at a corner of the slice, which no scanner writes."""
    return bool((np.abs(_find_stored_corners(frame)[:, :2]).max(axis=1) <= ORIGIN_MM).any())


def _axes(header: Dataset) -> Axes:
    """Whether to transpose the stored picture, then flip its rows, then its columns."""
    along_row, along_column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    is_transposed = abs(along_row[0]) < abs(along_row[1])
    if is_transposed:
        along_row, along_column = along_column, along_row
    return bool(is_transposed), bool(along_column[1] < 0), bool(along_row[0] < 0)


def _make_grid(frames: list[Frame]) -> Grid:
    """The first slice's place, and every slice's position: of its centre where the stack is tilted."""
    first = frames[0].header
    shape, spacing = [int(first.Rows), int(first.Columns)], list(_spacing_mm(frames[0]))
    rise_mm = 0.0
    if compute_plane(first).tilt_deg > STRAIGHT_DEG:
        along_row, along_column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
        rise_mm = ((shape[1] - 1) * spacing[1] * along_row[2] + (shape[0] - 1) * spacing[0] * along_column[2]) / 2
    if _axes(first)[0]:
        shape, spacing = shape[::-1], spacing[::-1]
    corners = _find_corners(frames)
    x, y = corners[0, :2].tolist()
    z = tuple(float(frame.header.ImagePositionPatient[2]) + rise_mm for frame in frames)
    return Grid(shape[0], shape[1], (spacing[0], spacing[1]), (x, y), z, corners)


def _find_corners(frames: list[Frame]) -> np.ndarray:
    """Grid.corners_mm of a stack."""
    stored = _find_stored_corners(frames[0])
    order = turn(np.arange(4).reshape(2, 2), _axes(frames[0].header))
    corner, across, below = stored[[order[0, 0], order[0, 1], order[1, 0]]]
    return np.array([corner, across, below, corner + _position(frames[-1]) - _position(frames[0])])


def _check_places(frames: list[Frame], grid: Grid, path: Path) -> list[Finding]:
    """Refuse slices shifted against each other, tell of uneven distances."""
    shift_px = _compute_shift_mm(frames) / min(grid.spacing_mm)
    if shift_px > MAX_SHIFT_PX:
        fact = f"ImagePositionPatient: {shift_px:.1f} pixels, limit {MAX_SHIFT_PX:g}"
        raise refusal("dicom-shifted", path, fact=fact)
    gaps_mm = np.diff(grid.z_mm)
    usual_mm = float(np.median(gaps_mm)) if len(gaps_mm) else 0.0
    odd_mm = max(gaps_mm, key=lambda gap: max(gap / usual_mm, usual_mm / gap), default=0.0)
    if usual_mm / MAX_UNEVEN <= odd_mm <= MAX_UNEVEN * usual_mm:
        return []
    fact = f"gaps of {odd_mm:.4g} mm, most {usual_mm:.4g}"
    return [find("dicom-uneven", fact=f"ImagePositionPatient: {fact}", where=path)]


def _compute_shift_mm(frames: list[Frame]) -> float:
    """Largest sideways shift between slices, mm: across their normal, or across the patient's axis if that is smaller.

    A straight stack moves along its normal; that of a tilted gantry along the table.
    """
    positions = np.array([_position(frame) for frame in frames])
    moved, shifts = positions - positions[0], []
    for axis in (compute_plane(frames[0].header).normal, np.array([0.0, 0.0, 1.0])):
        sideways = moved - np.outer(moved @ axis, axis)
        shifts.append(float(np.ptp(sideways, axis=0).max()))
    return min(shifts)
