"""Damage to records, as disks and hands do it: every trial is named by its file before a record is used, and nothing is
written. What a manifest made afterwards hides stands in test_shards.py.
"""

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.records import open_records
from data_pipelines.bonemet_ct.build import build_records

FORMATS = ("tfrecord", "array_record")


@pytest.fixture(params=FORMATS)
def directory(request: pytest.FixtureRequest, small_records: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of whole records, to be damaged."""
    return shutil.copytree(small_records[request.param], tmp_path / "records")


def list_shards(directory: Path) -> list[Path]:
    return sorted(file for file in directory.iterdir() if "-of-" in file.name)


def snapshot(directory: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in directory.rglob("*")}


def check_named(directory: Path, file: Path, match: str | None = None) -> None:
    """Opening stops with exit code 4 and the file's name, and leaves everything as it was."""
    before = snapshot(directory.parent)
    with pytest.raises(CorruptFileError, match=match) as caught:
        open_records(directory)
    assert file.name in str(caught.value) and caught.value.exit_code == 4
    assert snapshot(directory.parent) == before


def flip_bit(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at // 8] ^= 1 << at % 8
    file.write_bytes(data)


def each_damaged(directory: Path, n: int, damage: Callable[[Path, np.random.Generator], None]) -> Iterator[Path]:
    """n trials, file after file, the manifest among them; each is whole again before the next."""
    random = np.random.default_rng(n)
    files = [*artifacts.list_files(directory), directory / artifacts.MANIFEST]
    for trial in range(n):
        file = files[trial % len(files)]
        whole = file.read_bytes()
        damage(file, random)
        yield file
        file.write_bytes(whole)
    assert len(open_records(directory)) == 13, "whole again"


def _flip_any(file: Path, random: np.random.Generator) -> None:
    flip_bit(file, int(random.integers(8 * file.stat().st_size)))


def _cut_anywhere(file: Path, random: np.random.Generator) -> None:
    file.write_bytes(file.read_bytes()[: random.integers(file.stat().st_size - 1)])  # JSON may lose its last line feed


@pytest.mark.parametrize("n", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_flipped_bits(directory: Path, n: int) -> None:
    named = [check_named(directory, file) for file in each_damaged(directory, n, _flip_any)]
    print(f"{len(named)}/{n} bit flips named by their file")


@pytest.mark.parametrize("n", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_truncations(directory: Path, n: int) -> None:
    named = [check_named(directory, file) for file in each_damaged(directory, n, _cut_anywhere)]
    print(f"{len(named)}/{n} truncations named by their file")


def _record_ends(file: Path) -> list[int]:
    """Byte offsets after each record of a TFRecord file: length, its checksum, data, its checksum."""
    data, at, ends = file.read_bytes(), 0, []
    while at < len(data):
        at += 8 + 4 + struct.unpack_from("<Q", data, at)[0] + 4
        ends.append(at)
    return ends


@pytest.mark.parametrize("directory", ["tfrecord"], indirect=True)
def test_truncations_at_record_boundaries(directory: Path) -> None:
    """TFRecord alone is silently short there."""
    trials = 0
    for shard in list_shards(directory):
        whole = shard.read_bytes()
        for end in [0, *_record_ends(shard)[:-1]]:
            shard.write_bytes(whole[:end])
            check_named(directory, shard)
            trials += 1
        shard.write_bytes(whole)
    assert trials == 13


def test_a_missing_file(directory: Path) -> None:
    for file in [*artifacts.list_files(directory), directory / artifacts.MANIFEST]:
        moved = file.rename(directory.parent / "elsewhere")
        check_named(directory, file, "missing")
        moved.rename(file)


def test_a_duplicated_shard(directory: Path) -> None:
    """A copy under a new name, in its place or another's."""
    first, second, _ = list_shards(directory)
    copy = first.with_name(first.name.replace("-00000-", "-00003-"))
    shutil.copy(first, copy)
    check_named(directory, copy, "not in the manifest")
    copy.unlink()
    whole = second.read_bytes()
    shutil.copy(first, second)
    check_named(directory, second)
    second.write_bytes(whole)
    assert len(open_records(directory)) == 13


def test_shards_that_changed_places(directory: Path) -> None:
    first, second, _ = list_shards(directory)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    check_named(directory, first)


def test_a_shard_of_another_cohort(directory: Path, small_cohort: Path, tmp_path: Path) -> None:
    """Same settings, same ids, other images: nothing in the shard itself tells."""
    cohort = shutil.copytree(small_cohort, tmp_path / "cohort")
    table = artifacts.load_table(cohort / "cohort.parquet")
    table[schema.SLICE_ID] = pd.Series(table[schema.SLICE_ID].tolist()[::-1])
    artifacts.save_table(cohort / "cohort.parquet", table)
    artifacts.write_manifest(cohort, {"kind": "synthetic", "n": 13})
    facts = artifacts.load_json(directory / artifacts.MANIFEST)["facts"]
    settings = RecordsConfig(**facts["records"])
    other = build_records(cohort, tmp_path / "other", settings, "small")
    shard = list_shards(directory)[1]
    shutil.copy(other / shard.name, shard)
    check_named(directory, shard, "sha256")
    assert len(open_records(other)) == 13
