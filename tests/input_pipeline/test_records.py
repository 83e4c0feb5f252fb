import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.records import RecordArrays, load_records
from data_pipelines.bonemet_ct.record import make_record
from data_pipelines.canonical import load_slice

FORMATS = ("tfrecord", "array_record")


@pytest.fixture(scope="module")
def loaded(small_records: dict[str, Path]) -> dict[str, RecordArrays]:
    return {file_format: load_records(small_records[file_format]) for file_format in FORMATS}


@pytest.fixture
def copied(small_records: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    return {name: shutil.copytree(path, tmp_path / name / "records") for name, path in small_records.items()}


@pytest.mark.parametrize("file_format", FORMATS)
def test_round_trip(loaded: dict[str, RecordArrays], small_cohort: Path, file_format: str) -> None:
    records = loaded[file_format]
    assert records.patient_id == tuple(f"p{i:02}" for i in range(13)) and len(records) == 13
    assert records.label.dtype == np.int32 and records.label.tolist() == [int(i % 4 == 0) for i in range(13)]
    config = RecordsConfig(height=64, width=80, spacing_mm=4.0)
    for i in range(13):
        wanted = make_record(load_slice(small_cohort / "slices" / f"s{i:02}.npz"), config)
        for name in schema.CHANNELS:
            got = getattr(records, name)
            assert got.dtype == wanted[name].dtype and np.array_equal(got[i], wanted[name]), name


def _record_ends(file: Path) -> list[int]:
    """Byte offsets after each record of a TFRecord file: length, its checksum, data, its checksum."""
    data, at, ends = file.read_bytes(), 0, []
    while at < len(data):
        at += 8 + 4 + struct.unpack_from("<Q", data, at)[0] + 4
        ends.append(at)
    return ends


@pytest.mark.parametrize("file_format", FORMATS)
def test_count_must_be_the_manifests(copied: dict[str, Path], file_format: str) -> None:
    """A manifest made over short shards: every sha256 is right, the number of records is not."""
    directory = copied[file_format]
    facts = json.loads((directory / artifacts.MANIFEST).read_text())["facts"]
    artifacts.write_manifest(directory, facts | {"n": 14})
    with pytest.raises(CorruptFileError, match="13 records where the manifest says 14"):
        load_records(directory)


def test_short_shard_with_a_fresh_manifest(copied: dict[str, Path]) -> None:
    directory = copied["tfrecord"]
    facts = json.loads((directory / artifacts.MANIFEST).read_text())["facts"]
    shard = max(directory.glob("*.tfrecord*"), key=lambda file: file.stat().st_size)
    shard.write_bytes(shard.read_bytes()[: _record_ends(shard)[-2]])
    artifacts.write_manifest(directory, facts)
    with pytest.raises(CorruptFileError, match=rf"\d records where the manifest says \d; .*{shard.name}"):
        load_records(directory)
