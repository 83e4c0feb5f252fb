"""Where a shard's patients come from: data that travels to the workers, so that it may be a cohort or a benchmark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bonemet_jax import artifacts, schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import InputDataError
from data_pipelines.bonemet_ct.grid import check_fits
from data_pipelines.bonemet_ct.rows import load_rows
from data_pipelines.canonical import SLICE_LAYOUT, CanonicalSlice, load_slice


class Source(Protocol):
    """Patients in the order of their ids; pickled to every worker."""

    def __len__(self) -> int: ...

    def read_rows(self, start: int, stop: int) -> Sequence[Mapping[str, Any]]:
        """Scalars of some patients, patient_id and slice_id among them."""
        ...

    def read_slice(self, slice_id: str) -> CanonicalSlice:
        """One patient's slice."""
        ...

    def locate(self, slice_id: str) -> str:
        """What an error calls the slice."""
        ...


@dataclass(frozen=True)
class CohortSource:
    """A cohort directory; every worker must see it under the same path."""

    cohort_dir: Path
    rows: tuple[dict[str, Any], ...]

    @classmethod
    def open(cls, cohort_dir: Path, config: RecordsConfig) -> "CohortSource":
        """Read the table and see, before hours of work, that every slice is there and its trunk fits the grid.

        Raises: InputDataError; CorruptFileError when a slice does not read.
        """
        source = cls(cohort_dir, load_rows(cohort_dir))
        for row in source.rows:
            path = source._path(row[schema.SLICE_ID])
            if not path.is_file():
                raise InputDataError("slice is missing", path, "run ingest or phantom again")
            try:
                trunk = artifacts.load_npz(
                    path, ("body", "spacing_mm"), {name: SLICE_LAYOUT[name] for name in ("body", "spacing_mm")}
                )
                check_fits(trunk["body"], tuple(trunk["spacing_mm"]), config)
            except InputDataError as error:
                raise InputDataError(error.what, path, error.mend) from error
        return source

    def __len__(self) -> int:
        return len(self.rows)

    def read_rows(self, start: int, stop: int) -> Sequence[Mapping[str, Any]]:
        return self.rows[start:stop]

    def read_slice(self, slice_id: str) -> CanonicalSlice:
        return load_slice(self._path(slice_id))

    def locate(self, slice_id: str) -> str:
        return str(self._path(slice_id))

    def _path(self, slice_id: str) -> Path:
        return self.cohort_dir / "slices" / f"{slice_id}.npz"
