"""Where structures are in the body: what a numbering claims, compared with where its labels are.

Sizes are limits, not averages: a label that breaks one is not the structure that the numbering calls it.
"""

import itertools
import re
from dataclasses import dataclass

import numpy as np

from data_pipelines.ingest.label_stats import LabelStats
from data_pipelines.ingest.label_tables import VERTEBRAE, LabelTable

#: Distance between the centres of neighbouring vertebrae: along the body, and across it, mm.
STEP_MM, SHIFT_MM = (8.0, 65.0), 40.0
#: Largest standard deviation of a vertebra's voxels: across the body, and along it, mm.
VERTEBRA_SPREAD_MM = (45.0, 40.0)
#: Stacked labels of consecutive numbers are a spine where neighbours are this near to each other across the body, mm.
_STACK_SHIFT_MM = 25.0
#: Labels of such a stack: with vertebrae among them, and without.
_STACK, _STACK_ALONE = 3, 4
#: Vertebrae cut by the volume's ends may seem out of order by so much, mm; of thin volumes by a share of their height.
_CUT_MM, _CUT_SHARE, _THIN_MM = 2.0, 0.2, 40.0
#: Mean distance between the centres of neighbouring vertebrae, C1-C2 first, mm: body and disc heights of adults.
DISTANCES_MM = (
    17.0, 17.5, 17.0, 16.5, 16.5, 17.5, 19.0, 19.5, 20.0, 20.5, 21.0, 21.5, 22.0, 22.5, 23.5, 24.5, 26.0, 28.0, 30.5,
    33.0, 34.5, 35.5, 35.5,
)  # fmt: skip
#: Correlation beyond which a vertebra's slant shows where the head is.
_SLANT = 0.15
#: Spread of a body's size, of single distances (share and mm), and the most that one distance counts.
_SIZE_SD, _DISTANCE_SD, _MOST = 0.09, (0.08, 1.0), 4.5


@dataclass(frozen=True)
class _Place:
    """Levels between which a structure is."""

    highest: str
    lowest: str

    def contains(self, rank: float, slack: float) -> bool:
        order = (*VERTEBRAE, "pelvis")
        return order.index(self.highest) - slack <= rank <= order.index(self.lowest) + slack + (
            100 if self.lowest == "pelvis" else 0
        )


#: Beginning of a structure's name -> levels that any part of it can reach.
_PLACES = {
    "liver": _Place("T8", "L4"), "spleen": _Place("T8", "L3"), "kidney": _Place("T10", "L5"),
    "adrenal": _Place("T9", "L2"), "stomach": _Place("T7", "L5"), "pancreas": _Place("T10", "L4"),
    "gallbladder": _Place("T10", "L5"), "duodenum": _Place("T11", "L5"), "heart": _Place("T3", "T12"),
    "pulmonary": _Place("T3", "T10"), "lung": _Place("C7", "L2"), "trachea": _Place("C4", "T8"),
    "thyroid": _Place("C3", "T4"), "esophagus": _Place("C5", "L1"), "clavicula": _Place("C5", "T6"),
    "scapula": _Place("C6", "T11"), "sternum": _Place("T1", "L1"), "brain": _Place("C1", "C3"),
    "skull": _Place("C1", "C5"), "face": _Place("C1", "C6"), "urinary_bladder": _Place("L4", "pelvis"),
    "prostate": _Place("L5", "pelvis"), "gluteus": _Place("L3", "pelvis"), "hip": _Place("L3", "pelvis"),
    "femur": _Place("L5", "pelvis"), "iliopsoas": _Place("T11", "pelvis"), "iliac": _Place("L2", "pelvis"),
    "brachiocephalic": _Place("C5", "T7"), "subclavian": _Place("C5", "T7"), "common_carotid": _Place("C1", "T6"),
    "superior_vena_cava": _Place("T1", "T10"), "atrial": _Place("T3", "T10"), "inferior_vena_cava": _Place("T6", "L5"),
    "portal": _Place("T9", "L3"), "small_bowel": _Place("T10", "pelvis"), "colon": _Place("T8", "pelvis"),
    "aorta": _Place("T2", "L5"),
}  # fmt: skip
#: Structures of one side whose name does not contain it.
_SIDES = {"spleen": "left", "liver": "right", "gallbladder": "right"}
#: Vessels and heart may reach across the middle, mm.
_ACROSS = ("iliac", "brachiocephalic", "subclavian", "common_carotid", "atrial", "liver", "heart", "kidney_cyst")
_OFF_MIDLINE_MM, _ACROSS_MM = 3.0, -25.0
_BEHIND, _BEFORE = ("autochthon",), ("clavicula", "sternum", "costal_cartilages")


def find_order_fault(table: LabelTable, stats: LabelStats, *, is_reversed: bool = False) -> str:
    """Why the vertebrae cannot be those of the table: their order and distances along the body; empty where they can.

    Args:
        table: the numbering.
        stats: the map.
        is_reversed: true to expect the head at the low end of the volume.
    """
    seen = sorted((rank, label) for label, rank in table.ranks.items() if label in stats.solid)
    for _, label in seen:
        across, along = float(stats.spread_mm[label][:2].max()), float(stats.spread_mm[label][2])
        if across > VERTEBRA_SPREAD_MM[0] or along > VERTEBRA_SPREAD_MM[1]:
            return f"label {label} is too large for one vertebra"
    for (rank, label), (below, other) in itertools.pairwise(seen):
        step = (stats.centre_mm[label] - stats.centre_mm[other]) * (1, 1, -1 if is_reversed else 1)
        if fault := _judge_step(step, below - rank, label, other, stats):
            return fault
    return ""


def _judge_step(step: np.ndarray, n_levels: float, label: int, other: int, stats: LabelStats) -> str:
    """Fault of one pair of neighbours; `step` leads from the lower to the upper one, mm."""
    is_cut = stats.is_at_end(label) or stats.is_at_end(other)
    slack = max(_CUT_MM, _CUT_SHARE * stats.height_mm if stats.height_mm < _THIN_MM else 0.0)
    least = -slack if is_cut else STEP_MM[0] * min(n_levels, 1.0)
    if step[2] < least:
        return f"label {label} is not above label {other}"
    if step[2] > STEP_MM[1] * max(1.0, n_levels):
        return f"labels {label} and {other} are {step[2]:.0f} mm apart"
    if float(np.hypot(step[0], step[1])) > SHIFT_MM * max(1.0, n_levels):
        return f"labels {label} and {other} are not in one column"
    return ""


def find_stacks(stats: LabelStats, at_least: int = _STACK) -> list[tuple[int, ...]]:
    """Runs of consecutive labels, one above the other as vertebrae are, whatever they mean."""
    runs: list[list[int]] = []
    direction = 0.0
    for label in stats.solid:
        sign = _link(label - 1, label, stats) if runs and runs[-1][-1] == label - 1 else 0.0
        if sign and (len(runs[-1]) == 1 or sign == direction):
            runs[-1].append(label)
        elif sign:  # the last one is the first of another run
            runs.append([label - 1, label])
        else:
            runs.append([label])
        direction = sign
    return [tuple(run) for run in runs if len(run) >= at_least]


def _link(label: int, other: int, stats: LabelStats) -> float:
    """1 or -1 where two labels are stacked, by the direction; else 0."""
    step = stats.centre_mm[other] - stats.centre_mm[label]
    spread = [stats.spread_mm[one] for one in (label, other)]
    is_small = all(s[:2].max() <= VERTEBRA_SPREAD_MM[0] and s[2] <= VERTEBRA_SPREAD_MM[1] for s in spread)
    is_near = np.hypot(step[0], step[1]) <= _STACK_SHIFT_MM and STEP_MM[0] <= abs(step[2]) <= STEP_MM[1]
    return float(np.sign(step[2])) if is_small and is_near else 0.0


def find_stack_fault(table: LabelTable, stacks: list[tuple[int, ...]]) -> str:
    """Why stacked labels cannot be what the table calls them; empty where they can."""
    for stack in stacks:
        names = [table.names.get(label, "") for label in stack]
        other = [label for label in stack if label not in table.ranks]
        is_spine = len(other) < len(stack)
        if other and not all(name.startswith("rib_") for name in names) and (is_spine or len(stack) >= _STACK_ALONE):
            return f"label {other[0]} is stacked with labels {stack[0]} to {stack[-1]} as a vertebra is"
    return ""


def count_misplaced(table: LabelTable, stats: LabelStats) -> int:
    """Labels that are on the other side, at another level or at the other side of the spine than the table claims."""
    spine = [label for label in table.ranks if label in stats.solid]
    other = [label for label in stats.solid if label not in table.ranks and label in table.names]
    return sum(_is_misplaced(table.names[label], label, spine, table, stats) for label in other)


def _is_misplaced(name: str, label: int, spine: list[int], table: LabelTable, stats: LabelStats) -> bool:
    centre = stats.centre_mm[label]
    middle = np.array([stats.middle_mm, np.nan])
    if spine:
        middle = np.mean([stats.centre_mm[one][:2] for one in spine], axis=0)
    side = next((word for word in ("left", "right") if re.search(rf"_{word}(_|$)", name)), _SIDES.get(name, ""))
    if side:
        off_mm = float(centre[0] - middle[0]) * (1 if side == "left" else -1)
        if off_mm < (_ACROSS_MM if name.startswith(_ACROSS) else _OFF_MIDLINE_MM):
            return True
    behind_mm = float(centre[1] - middle[1])
    if (name.startswith(_BEHIND) and behind_mm < 0) or (name.startswith(_BEFORE) and behind_mm > 0):
        return True
    place = _find_place(name)
    return bool(spine) and place is not None and not place.contains(compute_rank(float(centre[2]), table, stats), 2.0)


def _find_place(name: str) -> _Place | None:
    rib = re.fullmatch(r"rib_(?:left|right)_(\d+)", name)
    if rib:  # a rib reaches from its vertebra down to where it meets its cartilage
        at = VERTEBRAE.index(f"T{rib[1]}")
        return _Place(VERTEBRAE[at - 1], VERTEBRAE[min(at + 7, len(VERTEBRAE) - 1)])
    return next((place for start, place in _PLACES.items() if name.startswith(start)), None)


def compute_rank(z_mm: float, table: LabelTable, stats: LabelStats) -> float:
    """Level at a position, as a place in VERTEBRAE; beyond the vertebrae in view by the mean distances."""
    seen = sorted((float(stats.centre_mm[label][2]), rank) for label, rank in table.ranks.items()
                  if label in stats.solid)  # fmt: skip
    z, ranks = zip(*seen, strict=True)
    rank = float(np.interp(z_mm, z, ranks))
    beyond_mm = (max(z[0] - z_mm, 0.0) - max(z_mm - z[-1], 0.0)) * (1 if ranks[0] >= ranks[-1] else -1)
    at = int(np.clip(round(rank), 0, len(DISTANCES_MM) - 1))
    return rank + beyond_mm / DISTANCES_MM[at]


def compute_distance_score(table: LabelTable, stats: LabelStats) -> float:
    """Log likelihood of the distances between whole neighbouring vertebrae, for the body size that fits best."""
    whole = {int(rank): label for label, rank in table.ranks.items()
             if label in stats.solid and rank < len(VERTEBRAE) and rank == int(rank) and not stats.is_at_end(label)}
    pairs = [(abs(float(stats.centre_mm[whole[i]][2] - stats.centre_mm[whole[i + 1]][2])), DISTANCES_MM[i])
             for i in whole if i + 1 in whole]  # fmt: skip
    if not pairs:
        return 0.0
    seen, mean = np.array(pairs).T
    sizes = np.linspace(0.6, 1.4, 81)
    off = (seen - sizes[:, None] * mean) / (_DISTANCE_SD[0] * mean + _DISTANCE_SD[1])
    scores = -np.minimum(off**2 / 2, _MOST).sum(axis=1) - ((sizes - 1) / _SIZE_SD) ** 2 / 2
    return float(scores.max())


def is_slant_wrong(table: LabelTable, stats: LabelStats, *, is_reversed: bool = False) -> bool:
    """True where the spinous processes of whole vertebrae point to the head."""
    whole = [stats.slant[label] for label in table.ranks if label in stats.solid and not stats.is_at_end(label)]
    slant = float(np.median(whole)) if whole else 0.0
    return slant * (-1 if is_reversed else 1) > _SLANT
