"""A cohort's records: on disk behind a reader, or in memory; both are read by position and sorted by patient_id."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from bonemet_jax import artifacts, schema
from bonemet_jax.input_pipeline.buffers import Allocate, aligned_empty
from bonemet_jax.input_pipeline.shards import RecordReader, check_records, open_records

__all__ = ["RecordArrays", "RecordReader", "Records", "check_records", "load_records", "name_patients",
           "open_records"]


class Records(Protocol):
    """What training asks of records, wherever they lie: RecordReader or RecordArrays."""

    @property
    def patient_id(self) -> tuple[str, ...]:
        """One a record."""
        ...

    @property
    def label(self) -> Int32[np.ndarray, " patient"]:
        """Bone metastasis, 0 or 1."""
        ...

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        ...

    @property
    def sha256(self) -> str:
        """Names the records: another content has another digest."""
        ...

    def __len__(self) -> int: ...

    def bytes_per_patient(self, names: Collection[str]) -> int:
        """Bytes of these arrays, one patient."""
        ...

    def read(
        self, positions: Any, names: Sequence[str] = schema.CHANNELS, allocate: Allocate = aligned_empty
    ) -> dict[str, np.ndarray]:
        """These arrays of the patients at these positions, in arrays of `allocate`; several threads may call it."""
        ...


@dataclass(frozen=True)
class RecordArrays:
    """A cohort as stored, sorted by patient_id; patients on the first axis."""

    patient_id: tuple[str, ...]
    ct: UInt8[np.ndarray, "patient height width"]
    """CT, window schema.CT_WINDOW_HU."""
    lbp: UInt8[np.ndarray, "patient height width 3"]
    """LBP code, most significant plane first."""
    hog: Float32[np.ndarray, "patient 4 cells_r cells_c orientation"]
    """HOG cell histograms of the four flips, schema.HOG_FLIPS order, grey levels."""
    mask: UInt8[np.ndarray, "patient height width"]
    """Fat mask, 0 or 1."""
    label: Int32[np.ndarray, " patient"]
    """Bone metastasis, 0 or 1."""

    def __len__(self) -> int:
        return len(self.patient_id)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.ct.shape[1:]
        return height, width

    @cached_property
    def sha256(self) -> str:
        """Hex digest over every array's bytes."""
        digest = sha256()
        for field in fields(self):
            if field.name != "patient_id":
                digest.update(np.ascontiguousarray(getattr(self, field.name)).data)
        return digest.hexdigest()

    def bytes_per_patient(self, names: Collection[str]) -> int:
        """Bytes of these arrays, one patient."""
        return sum(getattr(self, name)[:1].nbytes for name in names)

    def read(
        self, positions: Any, names: Sequence[str] = schema.CHANNELS, allocate: Allocate = aligned_empty
    ) -> dict[str, np.ndarray]:
        """Copies of these arrays at these positions."""
        at = np.asarray(positions, np.int64)

        def copy(stored: np.ndarray) -> np.ndarray:
            return np.take(stored, at, axis=0, out=allocate((len(at), *stored.shape[1:]), stored.dtype), mode="clip")

        return {name: copy(getattr(self, name)) for name in names}


def load_records(records_dir: Path) -> RecordArrays:
    """Every record of `<dir>/bonemet_ct/<config>/<version>/` in memory.

    Raises: CorruptFileError as `open_records`.
    """
    reader = open_records(records_dir)
    images = reader.read(range(len(reader)), schema.CHANNELS)
    return RecordArrays(reader.patient_id, **images, label=reader.label)


def name_patients(records: Records, rows: Iterable[int]) -> str:
    """Patients at these positions by hash, for messages that leave the house."""
    told = sorted({artifacts.sha256_text(records.patient_id[row])[:12] for row in rows})
    return f"patients whose id's sha256 begins with {', '.join(told)}"
