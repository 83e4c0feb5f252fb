"""Read sharded records into arrays, after their manifest was checked. The only reader of shards."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.progress import quiet_tensorflow

_IMAGES = schema.CHANNELS
_REMEDY = "delete the folder and run `bonemet build` again"


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


def load_records(records_dir: Path) -> RecordArrays:
    """Load every record of `<dir>/bonemet_ct/<config>/<version>/` (docs/contracts.md).

    Raises: CorruptFileError, naming the file, when a file is missing, changed, truncated or not in the manifest, or
        when the number of records is not the manifest's.
    """
    records_dir = Path(records_dir)
    facts = check_records(records_dir)
    try:
        with quiet_tensorflow():
            records = _collect(_read_examples(records_dir))
    except Exception as error:  # tensorflow and array_record raise many kinds for a damaged file
        raise CorruptFileError(f"records do not read ({_first_line(error)})", records_dir, _REMEDY) from error
    if len(records) != facts["n"]:
        raise CorruptFileError(f"{len(records)} records where the manifest says {facts['n']}", records_dir, _REMEDY)
    return records


def check_records(records_dir: Path) -> dict[str, Any]:
    """Hold every file against manifest.json; return the manifest's facts (n, channel_scaling, versions).

    Raises: CorruptFileError as `load_records`, before a byte is decoded.
    """
    try:
        manifest = artifacts.check_manifest(records_dir)
        files, facts, _ = manifest["files"], manifest["facts"], manifest["facts"]["n"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError("manifest is damaged", records_dir / artifacts.MANIFEST, _REMEDY) from error
    for file in artifacts.list_files(records_dir):
        if str(file.relative_to(records_dir)) not in files:
            raise CorruptFileError("file is not in the manifest", file, "remove it, or " + _REMEDY)
    return facts


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _read_examples(records_dir: Path) -> Any:
    """Stored examples (mappings of numpy values) in shard order; tensorflow takes seconds, so it is imported here."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(records_dir))
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        return builder.as_data_source(split="cohort")
    _keep_gpus_for_jax()
    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    return tfds.as_numpy(builder.as_dataset(split="cohort", shuffle_files=False, read_config=reading))


def _keep_gpus_for_jax() -> None:
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def _collect(examples: Iterable[Mapping[str, Any]]) -> RecordArrays:
    """Examples to one array a feature, sorted by patient_id."""
    found: list[Mapping[str, Any]] = sorted(examples, key=lambda example: example[schema.PATIENT_ID])
    ids = tuple(example[schema.PATIENT_ID].decode() for example in found)
    images = {name: np.stack([example[name] for example in found]) for name in _IMAGES}
    label = np.array([example[schema.LABEL] for example in found], np.int32)
    return RecordArrays(ids, **images, label=label)
