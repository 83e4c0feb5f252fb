"""What the picture shows under a map's labels, compared with what a numbering calls them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16, Shaped

from data_pipelines.bodycomp.trunk import compute_trunk
from data_pipelines.ingest.anatomy_rules import compute_rank, find_stacks
from data_pipelines.ingest.label_stats import LabelStats
from data_pipelines.ingest.label_tables import VERTEBRAE, LabelTable

#: Slices that are looked at.
N_SLICES = 9
#: Fewer pixels decide nothing.
_MIN_PX = 20
#: Beginning of a structure's name -> mean Hounsfield units that it can have. Left out: what may hold gas.
_HU = {
    "vertebrae": (60, 2000), "rib": (60, 2000), "sacrum": (60, 2000), "humerus": (60, 2000), "scapula": (60, 2000),
    "clavicula": (60, 2000), "femur": (60, 2000), "hip": (60, 2000), "skull": (60, 3000), "sternum": (20, 2000),
    "lung": (-1100, -300), "subcutaneous_fat": (-200, -30), "torso_fat": (-200, -30), "intermuscular_fat": (-200, -10),
    "skeletal_muscle": (-30, 200), "autochthon": (-30, 200), "gluteus": (-30, 200), "iliopsoas": (-30, 200),
    "kidney_cyst": (-60, 120), "lung_tumor": (-400, 150), "pancreas_tumor": (-60, 150), "liver_tumor": (-60, 180),
    "liver": (-40, 300), "spleen": (-20, 350), "kidney": (-60, 400), "adrenal": (-60, 250), "pancreas": (-80, 250),
    "gallbladder": (-40, 150), "heart": (-40, 600), "aorta": (-20, 900), "brain": (0, 120), "spinal_cord": (-40, 200),
    "urinary_bladder": (-40, 1500), "thyroid": (0, 400), "inferior_vena_cava": (-40, 600),
    "stomach": (-700, 180), "duodenum": (-700, 180), "small_bowel": (-700, 180), "colon": (-900, 180),
    "rectum": (-900, 180), "intervertebral_discs": (0, 300), "prostate": (-40, 200), "bone": (60, 2000),
    "portal": (-60, 500),
}  # fmt: skip
#: Labels stacked as vertebrae are and as dense as this are no soft tissue, HU.
_STACKED_BONE_HU = 120
#: A neck has less body on a slice, cm2; at mid-chest this share of the trunk is lung, below the ribs no more is gas.
NECK_CM2, CHEST_AIR, ABDOMEN_AIR, AIR_HU = 450.0, 0.08, 0.35, -500
_NECK, _CHEST, _ABDOMEN = ("C2", "C5"), ("T3", "T8"), ("L2", "L5")


@dataclass(frozen=True)
class Sample:
    """One slice of image and map."""

    z_mm: float
    hu: Int16[np.ndarray, "height width"]
    labels: Shaped[np.ndarray, "height width"]
    spacing_mm: tuple[float, float]


#: Numbers of slices -> samples.
Look = Callable[[Sequence[int]], list[Sample]]


def choose_slices(stats: LabelStats) -> list[int]:
    """Slices with labels, evenly spread along the body."""
    filled = np.flatnonzero(np.sum([stats.px[label] for label in stats.px] or [np.zeros(1)], axis=0))
    if len(filled) == 0:
        return []
    return sorted({int(filled[i]) for i in np.linspace(0, len(filled) - 1, N_SLICES).round().astype(int)})


@dataclass(frozen=True)
class Picture:
    """What the samples show, whatever the labels mean."""

    mean_hu: dict[int, float]
    """Label -> mean Hounsfield units, of those with enough pixels."""
    slices: tuple[tuple[float, float, float], ...]
    """Position, body (cm2) and share of the trunk that is air, of every sample."""


def look_at(samples: Sequence[Sample]) -> Picture:
    """Mean values under every label, and body and air of every slice."""
    sums: dict[int, np.ndarray] = {}
    slices = []
    for sample in samples:
        labels = sample.labels.astype(np.int64).ravel()
        n, total = np.bincount(labels), np.bincount(labels, sample.hu.ravel().astype(np.float64))
        for label in np.flatnonzero(n).tolist():
            sums[label] = np.add(sums.get(label, np.zeros(2)), (n[label], total[label]))
        trunk = compute_trunk(sample.hu, sample.spacing_mm)
        area_cm2 = float(trunk.sum()) * sample.spacing_mm[0] * sample.spacing_mm[1] / 100
        slices.append((sample.z_mm, area_cm2, float((sample.hu[trunk] < AIR_HU).mean()) if trunk.any() else 0.0))
    means = {label: float(total / n) for label, (n, total) in sums.items() if label and n >= _MIN_PX}
    return Picture(means, tuple(slices))


def count_other_tissue(table: LabelTable, stats: LabelStats, picture: Picture) -> int:
    """Labels whose Hounsfield units are not those of their structure."""
    stacked = {label for stack in find_stacks(stats, at_least=2) for label in stack} - set(table.ranks)
    return sum(
        _is_other_tissue(table.names[label], hu) or (label in stacked and hu > _STACKED_BONE_HU)
        for label, hu in picture.mean_hu.items() if label in table.names and label in stats.solid
    )  # fmt: skip


def is_at_other_level(table: LabelTable, stats: LabelStats, picture: Picture) -> bool:
    """True where most slices of neck, chest and abdomen cannot be at the level that the table gives them.

    One answer per map: slices of one patient share an effusion, a collapse or a large neck.
    """
    if not any(label in stats.solid for label in table.ranks):
        return False
    verdicts = [_is_other_level(compute_rank(z_mm, table, stats), area_cm2, air)
                for z_mm, area_cm2, air in picture.slices]  # fmt: skip
    judged = [verdict for verdict in verdicts if verdict is not None]
    return 2 * sum(judged) > len(judged)


def _is_other_tissue(name: str, hu: float) -> bool:
    stem = next((start for start in sorted(_HU, key=len, reverse=True) if re.match(rf"{start}(_|$)", name)), None)
    if stem is None:
        return False
    low, high = _HU[stem]
    return not low <= hu <= high


def _is_other_level(rank: float, area_cm2: float, air: float) -> bool | None:
    """True where a slice cannot be at this level; None for levels that the picture does not show."""
    rules = ((_NECK, area_cm2 > NECK_CM2), (_CHEST, air < CHEST_AIR), (_ABDOMEN, air > ABDOMEN_AIR))
    return next((is_other for (highest, lowest), is_other in rules
                 if VERTEBRAE.index(highest) <= rank <= VERTEBRAE.index(lowest)), None)  # fmt: skip
