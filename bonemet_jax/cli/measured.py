"""What intake measured, told on the terminal: a line a slice, or of many one summary; and what was written."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, schema

_AREAS = {
    "SFA": "sfa_cm2",
    "VFA": "vfa_cm2",
    "ESMA": "esma_cm2",
    "all fat of the trunk": "trunk_fat_cm2",
}
#: Up to so many slices each has its line; of more, a summary stands for them.
_TOLD_ONE_BY_ONE = 20
_SOURCES = {"hu": "by HU", "mask": "by mask", "reader": "by reader"}
_READER = "_cm2_reader"


def describe_slices(slices: Mapping[str, Mapping[str, Any]], table: str) -> list[str]:
    """Lines of all slices by name, in the order given; `table` is the file that holds each of many."""
    if len(slices) > _TOLD_ONE_BY_ONE:
        return [f"{len(slices)} slices: {_summarise(list(slices.values()))}; each in {table}"]
    return [f"{name}: {describe_areas(facts)}; {describe_level(facts)}, z {facts['z_mm']:.1f} mm"
            f"{_describe_labels(facts)}" for name, facts in slices.items()]


def _describe_labels(facts: Mapping[str, Any]) -> str:
    """The numbering of a label map; empty without one."""
    numbering = facts.get("label_numbering")
    return f"; labels of {numbering}" if numbering and numbering != "names" else ""


def describe_level(facts: Mapping[str, Any]) -> str:
    """The vertebra, and how it is known."""
    from data_pipelines.ingest.level import describe_level as describe

    return describe(facts["level"], facts.get("level_source", ""), facts.get("flags", ()))


def describe_areas(facts: Mapping[str, Any]) -> str:
    """Fat and muscle areas, cm2, with their source; what was not segmented is not shown as zero."""
    told = [text for name, key in _AREAS.items() if (text := _describe_area(name, key, facts))]
    return ", ".join(told) or "no tissue segmented"


def _describe_area(name: str, key: str, facts: Mapping[str, Any]) -> str:
    """One area, or the part of it that is in view; empty where there is none."""
    area_cm2, visible_cm2 = facts.get(key), facts.get(key.replace("_cm2", "_visible_cm2"))
    source = facts.get(key.replace("_cm2", "_source"))
    notes = [] if source is None else [_SOURCES.get(source, f"by {source}")]
    if area_cm2 is not None:
        index = next((facts.get(index) for index, area in schema.INDEX_OF_AREA.items() if area == key), None)
        notes += [] if index is None else [f"{index:.1f} cm2/m2"]
        return f"{name} {area_cm2:.1f} cm2" + (f" ({', '.join(notes)})" if notes else "")
    if visible_cm2 is not None:
        return f"{name} visible part {visible_cm2:.1f} cm2 ({', '.join([*notes, 'field of view cuts it'])})"
    return ""


def _summarise(slices: Sequence[Mapping[str, Any]]) -> str:
    """Median and range of every area that was measured; on how many slices, where not on all."""
    told = []
    for name, key in _AREAS.items():
        known = [facts[key] for facts in slices if facts.get(key) is not None]
        if known:
            among = f" on {len(known)}" if len(known) < len(slices) else ""
            reach = f"{min(known):.1f} to {max(known):.1f}"
            told.append(f"{name} median {statistics.median(known):.1f} ({reach}) cm2{among}")
    return ", ".join(told) or "no tissue segmented"


def describe_agreement(directory: Path, slices: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line where two or more readers drew: the Dice of every tissue, of several patients the median."""
    if not (directory / "agreement.json").is_file():
        return []
    dice = list(artifacts.load_json(directory / "agreement.json")["dice"].values())
    told = []
    for name, key in _AREAS.items():
        known = [of_patient[key] for of_patient in dice if key in of_patient]
        if known:
            told.append(f"{name} {statistics.median(known):.3f}")
    readers = sorted({int(key.rpartition(_READER)[2]) for facts in slices for key in facts if _READER in key})
    among = f" (median of {len(dice)} patients)" if len(dice) > 1 else ""
    return [f"readers {' and '.join(map(str, readers))}: Dice {', '.join(told) or 'of nothing that both drew'}{among}"]


def describe_written(directory: Path, table: str) -> str:
    """The last line: where the results lie and what they are."""
    n = len(list((directory / "overlays").glob("*.png")))
    return f"written: {directory} ({table}, {n} overlay{'' if n == 1 else 's'})"
