"""Which numbering a label map follows: decided from its labels, their places and the picture, or refused.

A numbering is impossible where the map holds a label that it has not, where its vertebrae are out of order, or where a
label that it calls something else is stacked with vertebrae. Among those possible, labels at a wrong place or of
another tissue count against a numbering; it must lead all others by MARGIN. Distances between vertebrae and what the
slices show of neck, chest and abdomen fit several levels in many patients: together they count as one label, and never
decide alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bonemet_jax.errors import InputDataError
from data_pipelines.findings import refusal
from data_pipelines.ingest.anatomy_rules import (
    compute_distance_score,
    count_misplaced,
    find_order_fault,
    find_stack_fault,
    find_stacks,
    is_slant_wrong,
)
from data_pipelines.ingest.label_picture import (
    Look,
    Picture,
    choose_slices,
    count_other_tissue,
    is_at_other_level,
    look_at,
)
from data_pipelines.ingest.label_stats import LabelStats
from data_pipelines.ingest.label_tables import KNOWN, TOTALSEGMENTATOR_1, VERTEBRAE_TASK, LabelTable

#: Natural logarithms of odds: of one label against a numbering, of spinous processes that point to the head, of a
#: volume upside down.
_AGAINST, _SLANTED, _UPSIDE_DOWN = 3.0, 6.0, 3.0
#: Lead over every other numbering that decides: odds of 400 to 1.
MARGIN = 6.0
#: A numbering that alone is possible must have at most this share of its labels at wrong places.
_MAX_MISPLACED = 0.4


@dataclass(frozen=True)
class Reading:
    """A numbering that is possible, and which end of the volume is the head."""

    table: LabelTable
    is_reversed: bool
    score: float


def identify(
    stats: LabelStats, where: object, claim: Mapping[int, str] | None = None, look: Look | None = None
) -> LabelTable:
    """The numbering of a label map.

    Args:
        stats: of the map.
        where: named in errors.
        claim: names that the file itself gives its labels.
        look: loads image and map of some slices; only called where the labels do not decide.

    Raises: InputDataError where no numbering fits (mask-numbering), several do (mask-undecided), the volume is upside
        down (mask-order), or the map follows TotalSegmentator 1 (mask-version).
    """
    own = _match(claim) if claim else None
    readings = rank_readings(stats, look, (own,) if own is not None and own.key not in KNOWN else ())
    if not readings:
        raise _refuse_all(stats, where)
    best = readings[0]
    if own is not None:
        return _accept(_check_claim(own, readings, where), stats, where)
    close = [reading for reading in readings if best.score - reading.score < MARGIN]
    # Where none of them gives a number there is nothing to decide.
    if len(close) > 1 and any(_gives_numbers(reading.table, stats) for reading in close):
        usual = [reading.table for reading in close if not reading.is_reversed and reading.table is not VERTEBRAE_TASK]
        if usual == [TOTALSEGMENTATOR_1]:
            raise _refuse_version(stats, where)
        titles = [reading.table.title + (", upside down" if reading.is_reversed else "") for reading in close]
        raise refusal("mask-undecided", where, fact=f"{_describe(stats)}: {' or '.join(titles)}")
    return _accept(best, stats, where)


def rank_readings(
    stats: LabelStats, look: Look | None = None, more: tuple[LabelTable, ...] = ()
) -> list[Reading]:
    """Numberings that are possible, the best first."""
    possible = [
        (table, is_reversed) for table in (*KNOWN.values(), *more) for is_reversed in (False, True)
        if not find_fault(table, stats) and not find_order_fault(table, stats, is_reversed=is_reversed)
        and (not is_reversed or _has_order(table, stats))
    ]  # fmt: skip
    if not possible:
        return []
    readings = _rank(possible, stats, None)
    # That volumes are upright is no evidence of this one.
    best, *others = sorted((reading.score + _UPSIDE_DOWN * reading.is_reversed for reading in readings), reverse=True)
    if others and best - others[0] < MARGIN and look is not None:
        readings = _rank(possible, stats, look_at(look(choose_slices(stats))))
    return readings


def _gives_numbers(table: LabelTable, stats: LabelStats) -> bool:
    """True where the map has a vertebra, or all parts of a tissue, by this numbering."""
    wholes = [(label,) for label in table.vertebrae.values()] + list(table.tissues.values())
    return any(all(label in stats.px for label in labels) for labels in wholes)


def _has_order(table: LabelTable, stats: LabelStats) -> bool:
    """True where the map has vertebrae whose order shows which end is the head."""
    return bool(find_order_fault(table, stats))


def _rank(
    possible: list[tuple[LabelTable, bool]], stats: LabelStats, picture: Picture | None
) -> list[Reading]:
    doubts = [_measure_doubt(table, stats, picture) for table, _ in possible]
    readings = [
        Reading(table, is_reversed, _score(table, is_reversed, stats, picture) - min(doubt - min(doubts), _AGAINST))
        for (table, is_reversed), doubt in zip(possible, doubts, strict=True)
    ]
    return sorted(readings, key=lambda reading: -reading.score)


def _measure_doubt(table: LabelTable, stats: LabelStats, picture: Picture | None) -> float:
    """What distances between vertebrae and the levels of the slices say against a numbering, natural logarithm."""
    is_other = picture is not None and is_at_other_level(table, stats, picture)
    return _AGAINST * is_other - compute_distance_score(table, stats)


def _score(table: LabelTable, is_reversed: bool, stats: LabelStats, picture: Picture | None) -> float:
    n_against = count_misplaced(table, stats)
    if picture is not None:
        n_against += count_other_tissue(table, stats, picture)
    before = _UPSIDE_DOWN * is_reversed + _SLANTED * is_slant_wrong(table, stats, is_reversed=is_reversed)
    return -_AGAINST * n_against - before


def _match(claim: Mapping[int, str]) -> LabelTable | None:
    """The known numbering that has all the names claimed, else a table of those names; None for names of no use."""
    known = [table for table in KNOWN.values() if all(table.names.get(label) == name for label, name in claim.items())]
    if known:
        return known[0] if len(known) == 1 else None
    own = LabelTable("file", "its own label table", dict(claim))
    return own if own.vertebrae or own.tissues else None


def _check_claim(own: LabelTable, readings: list[Reading], where: object) -> Reading:
    """The reading that the file's own names claim. Raises: InputDataError where the labels speak against it."""
    best = readings[0]
    claimed = next((reading for reading in readings if reading.table.key == own.key and not reading.is_reversed), None)
    if claimed is None or best.score - claimed.score >= MARGIN:
        raise refusal("mask-numbering", where, "the names in the file are not those of its labels",
                      fact=f"named as by {own.title}, placed as by {best.table.title}")
    return claimed


def _accept(best: Reading, stats: LabelStats, where: object) -> LabelTable:
    if best.is_reversed and not best.table.is_explicit:
        raise refusal("mask-order", where, fact=f"{best.table.title}: {find_order_fault(best.table, stats)}")
    if best.table.is_explicit:
        raise _refuse_version(stats, where)
    n = len(stats.solid)
    n_misplaced = count_misplaced(best.table, stats)
    if n_misplaced > max(1, _MAX_MISPLACED * n):
        raise refusal("mask-numbering", where, fact=f"{n_misplaced} of {n} labels are not where {best.table.title} "
                      "has them")
    if not (best.table.vertebrae or best.table.tissues):
        raise refusal("mask-numbering", where, "labels of vertebral bodies without their levels",
                      fact=f"numbered as by {best.table.title}", mend="give masks that name the levels")
    return best.table


def _refuse_all(stats: LabelStats, where: object) -> InputDataError:
    """The error for labels that no numbering can have."""
    # An older map whose order is spoilt is still one: its numbers would be read as other vertebrae.
    stacks = find_stacks(stats)
    spine = TOTALSEGMENTATOR_1.ranks
    if any(all(label in spine for label in stack) and stack[0] in range(18, 25) for stack in stacks):
        return _refuse_version(stats, where)
    faults = {table.title: find_fault(table, stats) or find_order_fault(table, stats) for table in KNOWN.values()}
    likely = next((title for title, fault in faults.items() if not fault.startswith("no label")), "")
    fact = f"as {likely}, {faults[likely]}" if likely else f"no numbering has label {max(stats.px)}"
    return refusal("mask-numbering", where, fact=fact)


def _refuse_version(stats: LabelStats, where: object) -> InputDataError:
    return refusal("mask-version", where, fact=_describe(stats))


def find_fault(table: LabelTable, stats: LabelStats) -> str:
    """Why the map's labels cannot be those of a table, whatever their order: empty where they can."""
    unknown = [label for label in stats.px if label not in table.names]
    return f"no label {min(unknown)}" if unknown else find_stack_fault(table, find_stacks(stats))


def _describe(stats: LabelStats) -> str:
    """Labels of the map in few words."""
    labels, stacks = sorted(stats.px), find_stacks(stats)
    if not stacks:
        return f"{len(labels)} labels from {labels[0]} to {labels[-1]}"
    first, *_, last = max(stacks, key=len)
    # Of a long one those that version 2 calls bowel, bladder and cysts: they show most.
    last = 25 if first <= 22 and last > 25 else last
    return f"{last - first} of labels {first} to {last} are stacked as vertebrae are"
