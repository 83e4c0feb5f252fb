"""Tissues of a cohort's slices on the grid of the records, which hold of them the fat mask alone (shell)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from bonemet_jax import artifacts, schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import InputDataError
from data_pipelines.bonemet_ct.grid import to_grid
from data_pipelines.canonical import load_slice


class GridTissue(NamedTuple):
    """Labels of some patients, each pixel the one that the record of the patient has there."""

    tissue: UInt8[np.ndarray, "patient height width"]
    """Tissue codes of the schema."""
    body: UInt8[np.ndarray, "patient height width"]
    """1 inside the trunk."""


@dataclass(frozen=True)
class TissueReader:
    """Labels of a cohort's patients, brought to the grid by the very call that made their records' fat mask."""

    cohort_dir: Path
    config: RecordsConfig

    @cached_property
    def slice_ids(self) -> dict[str, str]:
        """patient_id -> slice_id."""
        table = artifacts.load_table(self.cohort_dir / "cohort.parquet")
        return dict(zip(table[schema.PATIENT_ID], table[schema.SLICE_ID], strict=True))

    def read(self, patient_ids: Sequence[str]) -> GridTissue:
        """Labels of these patients. Raises: InputDataError for one without a slice; CorruptFileError as load_slice."""
        if missing := [patient for patient in patient_ids if patient not in self.slice_ids]:
            raise InputDataError(f"{len(missing)} patients of the records are not in the cohort", self.cohort_dir,
                                 "build the records again for this cohort")
        grids = [to_grid(load_slice(self._path(patient)), self.config) for patient in patient_ids]
        return GridTissue(np.stack([grid.tissue for grid in grids]), np.stack([grid.body for grid in grids]))

    def _path(self, patient_id: str) -> Path:
        return self.cohort_dir / "slices" / f"{self.slice_ids[patient_id]}.npz"
