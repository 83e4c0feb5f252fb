"""How well readers agree, over a cohort: Dice a patient, ICC and Bland-Altman a column; agreement.json."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bonemet_jax import artifacts, schema
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.ingest.patients import Patient, is_known

FILE = "agreement.json"


class Agreement:
    """Collects what the readers of each patient measured."""

    def __init__(self) -> None:
        self._areas: dict[str, dict[str, dict[str, float]]] = {}
        self._dice: dict[str, dict[str, float]] = {}

    def add(self, name: str, patient: Patient) -> None:
        """Keep the numbers of a patient whom two or more read; `name` stands for the patient in the file."""
        if len(patient.readers) > 1:
            self._areas[name] = patient.readers
            self._dice[name] = compute_dice(patient.source.readers, patient.source.drawn)

    def save(self, directory: Path) -> None:
        """Write agreement.json, where anybody was read twice."""
        if not self._areas:
            return
        columns = {area: self._describe(area) for area in schema.AREA_CODES}
        artifacts.write_json(directory / FILE, {
            "n_patients": len(self._areas),
            "columns": {area: told for area, told in columns.items() if told is not None},
            "dice": self._dice,
        })  # fmt: skip

    def _describe(self, area: str) -> dict[str, Any] | None:
        """Agreement of the first two readers, by name, over the patients whom both measured."""
        readers = sorted({reader for own in self._areas.values() for reader in own})[:2]
        values = [[own[reader].get(area) if reader in own else None for reader in readers]
                  for own in self._areas.values()]
        both = np.array([pair for pair in values if all(is_known(value) for value in pair)], float)
        if not len(both):
            return None
        from data_pipelines.bodycomp.agreement import bland_altman, icc_2_1  # scipy.stats: slow, and seldom needed

        told: dict[str, Any] = {"readers": readers, "n": len(both), "icc_2_1": None, "bland_altman": None}
        if len(both) > 1:
            told |= {"icc_2_1": _plain(asdict(icc_2_1(both))), "bland_altman": _plain(asdict(bland_altman(both)))}
        return told


def compute_dice(
    images: Mapping[str, CanonicalSlice], drawn: Mapping[str, frozenset[str]]
) -> dict[str, float]:
    """Area column -> mean Dice of the pairs of readers, of the tissues that both drew."""
    from data_pipelines.bodycomp.agreement import dice

    found = {}
    for area, code in schema.AREA_CODES.items():
        masks = [image.tissue == code for reader, image in images.items() if area in drawn[reader]]
        if len(masks) > 1:
            found[area] = float(np.mean([dice(a, b) for a, b in itertools.combinations(masks, 2)]))
    return found


def _plain(value: Any) -> Any:
    """A statistic as JSON holds it, what cannot be computed as null."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value
