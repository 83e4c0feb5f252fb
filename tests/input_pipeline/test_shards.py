"""The reader against TFDS's own reading; positions in any order; damage that a fresh manifest hides."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.records import load_records
from bonemet_jax.input_pipeline.shard_files import masked_crc32c, open_shard
from bonemet_jax.input_pipeline.shards import RecordReader, open_records

FORMATS = ("tfrecord", "array_record")


@pytest.fixture(scope="module")
def readers(small_records: dict[str, Path]) -> dict[str, RecordReader]:
    return {file_format: open_records(small_records[file_format]) for file_format in FORMATS}


@pytest.fixture
def copied(small_records: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    return {name: shutil.copytree(path, tmp_path / name / "records") for name, path in small_records.items()}


def _read_with_tfds(directory: Path) -> list[dict[str, Any]]:
    """Every stored example, sorted by patient_id."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(directory))
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        found = list(builder.as_data_source(split="cohort"))
    else:
        found = list(tfds.as_numpy(builder.as_dataset(split="cohort")))
    return sorted(found, key=lambda example: example[schema.PATIENT_ID])


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_feature_is_what_tfds_reads(
    small_records: dict[str, Path], readers: dict[str, RecordReader], file_format: str
) -> None:
    reader, wanted = readers[file_format], _read_with_tfds(small_records[file_format])
    names = tuple(wanted[0])
    assert {*schema.CHANNELS, *schema.clinical_names(), schema.PATIENT_ID, schema.LABEL, schema.TIME} <= set(names)
    found = reader.read(range(13), names)
    assert tuple(found) == names
    for name in names:
        for got, example in zip(found[name], wanted, strict=True):
            if isinstance(example[name], bytes):
                assert got == example[name].decode()
            else:
                # as_data_source hands numbers over as Python's own
                want = example[name] if hasattr(example[name], "dtype") else got.dtype.type(example[name])
                assert got.dtype == want.dtype and np.array_equal(got, want, equal_nan=True), name


@pytest.mark.parametrize("file_format", FORMATS)
def test_positions_come_in_any_order_and_again(readers: dict[str, RecordReader], file_format: str) -> None:
    reader = readers[file_format]
    whole = reader.read(range(13))
    for positions in ([12, 0, 7, 7, 3], [5], [], np.arange(13)[::-1]):
        some = reader.read(positions, ("mask", "hog", "ct"))
        assert tuple(some) == ("mask", "hog", "ct")
        for name, array in some.items():
            assert np.array_equal(array, whole[name][np.asarray(positions, int)]), name
            assert not array.size or (array.ctypes.data % 64 == 0 and array.flags.writeable)
    for outside in ([13], [-1], [0, 99]):
        with pytest.raises(IndexError, match="of 13 records"):
            reader.read(outside)
    with pytest.raises(KeyError, match="x-ray"):
        reader.read([0], ("x-ray",))


def test_describes_itself(readers: dict[str, RecordReader]) -> None:
    reader = readers["tfrecord"]
    assert len(reader) == 13 and reader.image_shape == (64, 80)
    assert reader.bytes_per_patient(("ct",)) == 64 * 80
    assert reader.bytes_per_patient(schema.CHANNELS) == 5 * 64 * 80 + 4 * 4 * 4 * 5 * 8
    assert reader.sha256 != readers["array_record"].sha256


def test_digest_names_the_content(copied: dict[str, Path], readers: dict[str, RecordReader]) -> None:
    assert open_records(copied["tfrecord"]).sha256 == readers["tfrecord"].sha256
    shard = min(copied["tfrecord"].glob("*.tfrecord*"))
    data = bytearray(shard.read_bytes())
    at = data.index(b"\x02ct") + 100
    data[at] ^= 1
    shard.write_bytes(data)
    _renew_manifest(copied["tfrecord"])
    assert open_records(copied["tfrecord"]).sha256 != readers["tfrecord"].sha256


def _renew_manifest(directory: Path, **facts: Any) -> None:
    old = json.loads((directory / artifacts.MANIFEST).read_text())["facts"]
    artifacts.write_manifest(directory, old | facts)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_duplicated_shard_is_named(copied: dict[str, Path], file_format: str) -> None:
    """A manifest made afterwards holds every sha256; the patients are there twice."""
    directory = copied[file_format]
    first, second, _ = sorted(directory.glob(f"*.{file_format}-*"))
    second.write_bytes(first.read_bytes())
    _renew_manifest(directory)
    with pytest.raises(CorruptFileError, match=f"a patient comes twice in the records; .*{second.name}"):
        open_records(directory)


@pytest.mark.parametrize("file_format", FORMATS)
def test_counts_of_shards_are_the_manifests(copied: dict[str, Path], file_format: str) -> None:
    directory = copied[file_format]
    shards = sorted(file.name for file in directory.glob(f"*.{file_format}-*"))
    _renew_manifest(directory, shards=dict(zip(shards, (5, 4, 3), strict=True)))
    with pytest.raises(CorruptFileError, match=f"records where the manifest says 4; .*{shards[1]}"):
        open_records(directory)
    facts = json.loads((directory / artifacts.MANIFEST).read_text())["facts"]
    artifacts.write_manifest(directory, {name: value for name, value in facts.items() if name != "shards"})
    assert len(open_records(directory)) == 13


def test_a_shard_less_than_its_name_says(copied: dict[str, Path]) -> None:
    directory = copied["tfrecord"]
    max(directory.glob("*.tfrecord-*")).unlink()
    _renew_manifest(directory)
    with pytest.raises(CorruptFileError, match="2 shards, which is not the number in their names"):
        open_records(directory)


def _spoil(shard: Path, at: int) -> None:
    data = bytearray(shard.read_bytes())
    data[at] ^= 0x55
    shard.write_bytes(data)


def test_spoilt_bytes_behind_a_fresh_manifest(copied: dict[str, Path], readers: dict[str, RecordReader]) -> None:
    """Wherever a TFRecord shard is changed, opening names it or every array keeps its shape and type."""
    directory, random = copied["tfrecord"], np.random.default_rng(0)
    shard = min(directory.glob("*.tfrecord-*"))
    whole = shard.read_bytes()
    first_image = whole.index(b"\x02ct") - 8
    named = 0
    for at in [*range(12), *random.integers(12, first_image, 60), *random.integers(len(whole), size=40)]:
        _spoil(shard, at)
        _renew_manifest(directory)
        try:
            reader = open_records(directory)
        except CorruptFileError as error:
            assert shard.name in str(error), error
            named += 1
        else:
            assert {name: (a.shape, a.dtype) for name, a in reader.read(range(13)).items()} == {
                name: (a.shape, a.dtype) for name, a in readers["tfrecord"].read(range(13)).items()
            }
        shard.write_bytes(whole)
    assert named > 30


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_shard_that_shrinks_while_it_is_read(copied: dict[str, Path], file_format: str) -> None:
    directory = copied[file_format]
    reader = open_records(directory)
    for shard in directory.glob(f"*.{file_format}-*"):
        shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(CorruptFileError, match=file_format):
        reader.read(range(13))


def test_a_shard_that_is_gone(copied: dict[str, Path]) -> None:
    reader = open_records(copied["tfrecord"])
    shutil.rmtree(copied["tfrecord"])
    with pytest.raises(CorruptFileError, match=r"does not read \(No such file"):
        reader.read([3])


def _replace_by_rename(shard: Path, data: bytes) -> None:
    """As a rebuild does: another file of the same size and time under the name."""
    times = shard.stat()
    new = shard.with_name("new")
    new.write_bytes(data)
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(shard)


def _rewrite(shard: Path, data: bytes) -> None:
    """The same file, written a second later."""
    time = shard.stat().st_mtime_ns + 10**9
    shard.write_bytes(data)
    os.utime(shard, ns=(time, time))


@pytest.mark.parametrize("change", [_replace_by_rename, _rewrite])
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_shard_that_changed_under_an_open_reader(
    copied: dict[str, Path], file_format: str, change: Callable[[Path, bytes], None]
) -> None:
    """Whole records of the same length: nothing but the file itself tells."""
    reader = open_records(copied[file_format])
    shard = sorted(copied[file_format].glob(f"*.{file_format}-*"))[1]
    change(shard, shard.read_bytes())
    with pytest.raises(CorruptFileError, match="changed since it was opened") as caught:
        reader.read(range(13))
    assert shard.name in str(caught.value)
    assert len(open_records(copied[file_format]).read(range(13))["ct"]) == 13, "opened again it is whole"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_shard_that_changed_between_its_digest_and_its_records(
    copied: dict[str, Path], file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = artifacts.check_manifest

    def check_then_replace(directory: Path) -> Any:
        manifest = check(directory)
        for shard in directory.glob(f"*.{file_format}-*"):
            _replace_by_rename(shard, shard.read_bytes())
        return manifest

    monkeypatch.setattr(artifacts, "check_manifest", check_then_replace)
    with pytest.raises(CorruptFileError, match="changed since it was opened"):
        open_records(copied[file_format])


def test_other_records_under_the_same_name(small_records: dict[str, Path], copied: dict[str, Path]) -> None:
    """A library's reader kept open is the reader of a file, not of a name."""
    directory = copied["array_record"]
    before = open_records(directory).read(range(13))["ct"]
    shards = sorted(directory.glob("*.array_record-*"))
    for shard, source in zip(shards, [shards[1].read_bytes(), shards[0].read_bytes(), b""], strict=True):
        if source:
            shard.unlink()
            shard.write_bytes(source)
    _renew_manifest(directory, shards={})
    assert np.array_equal(open_records(directory).read(range(13))["ct"], before)


def test_features_must_be_described(copied: dict[str, Path]) -> None:
    directory = copied["tfrecord"]
    path = directory / "features.json"
    whole = path.read_text()
    for text in ("{}", whole.replace('"bytes"', '"zlib"'), whole.replace('"uint8"', '"image"')):
        path.write_text(text)
        _renew_manifest(directory)
        with pytest.raises(CorruptFileError, match=r"described as they must be; .*features\.json"):
            load_records(directory)
    path.write_text("{")
    _renew_manifest(directory)
    with pytest.raises(CorruptFileError, match=r"not valid JSON.*features\.json"):
        load_records(directory)
    path.write_text(whole.replace('"64"', '"63"'))
    _renew_manifest(directory)
    with pytest.raises(CorruptFileError, match="feature ct has 5120 bytes, not 5040"):
        load_records(directory)


def test_checksum_of_tfrecord() -> None:
    """CRC-32C of the nine digits is the catalogue's check value; the mask is the format's."""
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_empty_and_torn_tfrecords(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord-00000-of-00001"
    path.write_bytes(b"")
    assert list(open_shard(path, "tfrecord").records()) == []
    length = struct.pack("<Q", 2**62)
    for data in (b"\0" * 5, length + struct.pack("<I", masked_crc32c(length)) + b"\0" * 100):
        path.write_bytes(data)
        with pytest.raises(CorruptFileError, match="ends within a record"):
            list(open_shard(path, "tfrecord").records())
    length = struct.pack("<Q", 4)
    path.write_bytes(length + b"\0" * 12)
    with pytest.raises(CorruptFileError, match="differs from its checksum"):
        list(open_shard(path, "tfrecord").records())
