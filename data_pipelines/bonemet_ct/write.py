"""One shard to disk: serialised, written under a temporary name, read back, renamed, noted (shell)."""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import CorruptFileError, DiskError
from bonemet_jax.progress import quiet_tensorflow
from data_pipelines.bonemet_ct.tasks import ShardTask

#: Length and two checksums around each example of a TFRecord file.
_TFRECORD_FRAME_BYTES = 8 + 4 + 4


@dataclass(frozen=True)
class ShardNote:
    """What is known of a finished shard; its note stands beside it until the build is done."""

    file: str
    sha256: str
    bytes: int
    example_bytes: int
    """Bytes of its serialised examples, before the file format packs them."""
    n: int
    """Records in it."""
    ids_sha256: str
    """Digest of its patient_ids, in order."""
    area_change: dict[str, float]
    """Worst relative change of each tissue's area from slice to grid."""


def write_shard(
    directory: Path, task: ShardTask, examples: Sequence[Mapping[str, Any]], area_change: Mapping[str, float],
    config: RecordsConfig,
) -> ShardNote:
    """Write one shard's examples, then its note. Equal examples give equal bytes.

    Raises: DiskError when the disk is full.
    """
    path = directory / task.file_name(config.file_format)
    sizes: list[int] = []  # bytes of each example, told as they pass by: never are all of them serialised at once
    with artifacts.atomic_path(path) as partial:
        _write_examples(partial, (_serialise(example, config) for example in examples), sizes, config.file_format)
        _check_readable(partial, sizes, config.file_format)
    note = ShardNote(
        file=path.name, sha256=artifacts.sha256_file(path), bytes=path.stat().st_size, example_bytes=sum(sizes),
        n=len(examples), ids_sha256=digest_ids(example[schema.PATIENT_ID] for example in examples),
        area_change=dict(area_change),
    )  # fmt: skip
    artifacts.write_json(note_path(directory, path.name), asdict(note))
    return note


def note_path(directory: Path, file_name: str) -> Path:
    """Where the note of a shard stands."""
    return directory / artifacts.NOTES / f"{file_name}.json"


def digest_ids(ids: Iterable[str]) -> str:
    """sha256 over ids in order."""
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def load_note(directory: Path, file_name: str) -> ShardNote:
    """The note of a shard.

    Raises: CorruptFileError when there is none: the worker that made it wrote to another disk, or died.
    """
    return ShardNote(**artifacts.load_json(note_path(directory, file_name), ShardNote))


def is_finished(directory: Path, file_name: str, ids: Iterable[str]) -> bool:
    """Whether a shard is there, byte for byte as its note says, and holds these patients."""
    path = directory / file_name
    if not (path.is_file() and note_path(directory, file_name).is_file()):
        return False
    try:
        note = load_note(directory, file_name)
    except CorruptFileError:  # empty, or with other fields: made by another version
        return False
    same_bytes = path.stat().st_size == note.bytes and artifacts.sha256_file(path) == note.sha256
    return same_bytes and note.ids_sha256 == digest_ids(ids)


@functools.lru_cache(maxsize=2)
def _features(config: RecordsConfig) -> tuple[Any, Any]:
    """TFDS features of the records and their serializer; made once a process."""
    with quiet_tensorflow():
        import tensorflow_datasets as tfds

        from data_pipelines.bonemet_ct.features import make_features

        described = tfds.features.FeaturesDict(make_features(config))
        return described, tfds.core.example_serializer.ExampleSerializer(described.get_serialized_info())


def _serialise(example: Mapping[str, Any], config: RecordsConfig) -> bytes:
    """A tf.train.Example with its features sorted by name: protobuf's own order changes from process to process."""
    described, serializer = _features(config)
    return serializer.get_tf_example(described.encode_example(example)).SerializeToString(deterministic=True)


def _write_examples(path: Path, serialised: Iterable[bytes], sizes: list[int], file_format: str) -> None:
    import tensorflow_datasets as tfds

    def passing() -> Iterator[tuple[int, bytes]]:
        for example in serialised:
            sizes.append(len(example))
            yield len(sizes), example

    tfds.core.ExampleWriter(tfds.core.FileFormat(file_format)).write(str(path), passing())


def _check_readable(path: Path, sizes: Sequence[int], file_format: str) -> None:
    """Both libraries can leave a short file on a full disk without a word: count what is there.

    Raises: DiskError.
    """
    if file_format == "array_record":
        from array_record.python.array_record_module import ArrayRecordReader

        whole = ArrayRecordReader(str(path)).num_records() == len(sizes)
    else:
        whole = path.stat().st_size == sum(_TFRECORD_FRAME_BYTES + size for size in sizes)
    if not whole:
        raise DiskError("could not write (the file is short)", f"{path}, {sum(sizes)} bytes",
                        "free some space and run the same command again")
