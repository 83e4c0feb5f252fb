"""Several acquisitions, or reconstructions, in one DICOM series, found by header elements or slice positions."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Int16

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.dicom_header import Frame

#: What differs between two volumes that share a series. Compared, never quoted but for AcquisitionNumber: the others
#: can hold free text or times.
ELEMENTS = ("AcquisitionNumber", "TemporalPositionIdentifier", "ConvolutionKernel")
#: What may also differ from slice to slice of one volume: it parts volumes only where each part is evenly spaced, and
#: numbers only where they differ by more than this share. Times that alternate are left to the pictures.
UNSTEADY, SAME_SHARE = ("ImageType", "SliceThickness", "KVP"), 0.02
#: Positions that differ by less are one, mm.
SAME_POSITION_MM = 0.01
#: So many slices in order make a volume.
MIN_SLICES = 3
#: Distances that alternate with at least this ratio are of two volumes, not rounded; their sums are constant within
#: this share.
MIN_RATIO, SAME_SUM = 1.5, 0.02

#: Slices compared by their pictures, from the middle of a stack; volumes that may be interleaved; so much more alike,
#: as a ratio and in HU, every n-th slices must be than neighbours.
N_COMPARED, MOST_VOLUMES, MIN_EXCESS, MIN_EXCESS_HU = 6, 3, 1.3, 3.0
#: Soft tissue and fat decide; every so many pixels are compared.
WINDOW_HU, STEP_PX = (-250, 350), 4

Height = Callable[[Frame], float]
Load = Callable[[Frame], Int16[np.ndarray, "rows columns"]]


def split_acquisitions(group: Sequence[Frame], height_mm: Height) -> list[list[Frame]]:
    """Volumes whose slices are between each other's; the whole group where there is one, or they follow each other.

    Args:
        group: frames of one series, by height.
        height_mm: position of a frame along the slices' normal, mm.

    Returns: each from the feet to the head; by AcquisitionNumber, then lowest slice.
    """
    names = [name for name in ELEMENTS if _is_mixed(_split_by(group, [name]), height_mm)]
    for name in UNSTEADY:
        parts = _split_by(group, [name])
        differs = _is_distinct([_read(part[0], name) for part in parts])
        if differs and all(_is_even(part, height_mm) for part in parts) and _is_mixed(parts, height_mm):
            names.append(name)
    parts = _split_by(group, names)
    if len(parts) == 1:
        parts = _split_by_instance(group, height_mm) or _split_by_gaps(group, height_mm) or parts
    return sorted(parts, key=lambda part: (_number(part[0]), height_mm(part[0]), -len(part)))


def split_by_pictures(group: Sequence[Frame], load: Load) -> list[list[Frame]]:
    """Volumes whose slices alternate and whose headers are alike, told apart by the pictures; else the whole group.

    In one volume neighbouring slices are the most alike. Where every second or third slice is more alike than
    neighbours are, as many volumes are interleaved, with the patient moved or breathing in between.

    Args:
        group: frames of one series, by height.
        load: Hounsfield units of a frame; InputDataError for one that cannot be decoded: nothing is concluded then.
    """
    start = max(0, len(group) - N_COMPARED) // 2
    middle = group[start : start + N_COMPARED]
    if len(middle) < 2 * MIN_SLICES or any(frame.file is middle[0].file for frame in middle[1:]):
        return [list(group)]  # frames of one file name their acquisition
    try:
        pictures = np.stack([np.clip(load(frame)[::STEP_PX, ::STEP_PX], *WINDOW_HU).astype(np.float32)
                             for frame in middle])  # fmt: skip
    except InputDataError:
        return [list(group)]
    apart = {n: float(np.abs(pictures[n:] - pictures[:-n]).mean()) for n in range(1, MOST_VOLUMES + 1)}
    n = min(apart, key=lambda n: apart[n])
    if apart[1] < MIN_EXCESS * apart[n] or apart[1] - apart[n] < MIN_EXCESS_HU:
        return [list(group)]
    return [list(group[first::n]) for first in range(n)]


def split_by_number(group: Sequence[Frame], height_mm: Height) -> list[list[Frame]]:
    """Frames by AcquisitionNumber, whether or not they are between each other; order as split_acquisitions."""
    parts = _split_by(group, ["AcquisitionNumber"])
    return sorted(parts, key=lambda part: (_number(part[0]), height_mm(part[0]), -len(part)))


def describe_number(part: Sequence[Frame]) -> str:
    """AcquisitionNumber of a part, where it has one and no other."""
    numbers = {_read(frame, "AcquisitionNumber") for frame in part}
    number = numbers.pop() if len(numbers) == 1 else None
    return f"AcquisitionNumber {number:g}, " if isinstance(number, float) else ""


def _split_by(group: Sequence[Frame], names: Sequence[str]) -> list[list[Frame]]:
    parts: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame in group:
        parts[tuple(_read(frame, name) for name in names)].append(frame)
    return list(parts.values())


def _read(frame: Frame, name: str) -> Hashable:
    """A value to be compared: a number as such, however it is written."""
    value = frame.header.get(name)
    if value is None or value == "":
        return None
    try:
        return round(float(value), 3)
    except (TypeError, ValueError, OverflowError):
        return str(value)


def _number(frame: Frame) -> float:
    number = _read(frame, "AcquisitionNumber")
    return number if isinstance(number, float) else np.inf


def _is_mixed(parts: list[list[Frame]], height_mm: Height) -> bool:
    """True where two parts share a position, or each has a slice between the other's: one stray slice is no volume."""
    heights = [np.array([height_mm(frame) for frame in part]) for part in parts]
    order = sorted(range(len(parts)), key=lambda n: float(heights[n].min()))
    # By their lowest slices, a part can only reach into the next ones that begin below its top.
    top: list[int] = []
    for n in order:
        low = float(heights[n].min())
        top = [m for m in top if float(heights[m].max()) >= low - SAME_POSITION_MM]
        if any(_interlock(heights[m], heights[n]) for m in top):
            return True
        top.append(n)
    return False


def _is_distinct(values: Sequence[Hashable]) -> bool:
    """False where two numbers are equal but for rounding."""
    numbers = sorted(value for value in values if isinstance(value, float))
    return all(high - low > SAME_SHARE * abs(high) for low, high in itertools.pairwise(numbers))


def _is_even(part: Sequence[Frame], height_mm: Height) -> bool:
    """True for a volume: enough slices at distances that are equal but for rounding."""
    gaps = np.diff(sorted(map(height_mm, part)))
    return len(part) >= MIN_SLICES and bool(gaps.max() < MIN_RATIO * max(gaps.min(), SAME_POSITION_MM))


def _interlock(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if np.abs(ours[:, None] - theirs).min() < SAME_POSITION_MM:
        return True
    return min(len(ours), len(theirs)) > 1


def _split_by_instance(group: Sequence[Frame], height_mm: Height) -> list[list[Frame]] | None:
    """Runs of InstanceNumber that each climb, or descend, through the same slices."""
    numbers = [_read(frame, "InstanceNumber") for frame in group]
    if not all(isinstance(number, float) for number in numbers):
        return None
    keys = [(number, frame.index) for number, frame in zip(numbers, group, strict=True)]
    if len(set(keys)) < len(keys):
        return None
    ordered = [group[n] for n in sorted(range(len(group)), key=lambda n: keys[n])]
    steps = np.diff([height_mm(frame) for frame in ordered])
    is_up = np.median(steps) > 0 if len(steps) else True
    breaks = np.flatnonzero((steps > 0) != is_up) + 1
    runs = [list(run) for run in np.split(np.array(ordered, dtype=object), breaks)]
    if len(runs) < 2 or min(map(len, runs)) < MIN_SLICES or not _is_mixed(runs, height_mm):
        return None
    return [sorted(run, key=height_mm) for run in runs]


def _split_by_gaps(group: Sequence[Frame], height_mm: Height) -> list[list[Frame]] | None:
    """Every other slice, where distances alternate: two even stacks that are not half a distance apart."""
    gaps = np.diff([height_mm(frame) for frame in group])
    if len(gaps) < 2 * MIN_SLICES - 1 or gaps.min() <= 0:
        return None
    sums = gaps[1:] + gaps[:-1]
    low, high = sorted((float(np.median(gaps[::2])), float(np.median(gaps[1::2]))))
    if high < MIN_RATIO * low or np.ptp(sums) > SAME_SUM * sums.mean():
        return None
    return [list(group[::2]), list(group[1::2])]
