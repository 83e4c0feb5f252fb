"""Records by position: the only reader of shards. Nothing is decoded before the manifest holds."""

import contextlib
import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.buffers import Allocate, aligned_empty
from bonemet_jax.input_pipeline.shard_files import (
    REMEDY,
    FileVersion,
    ShardFile,
    StoredRecord,
    make_version,
    open_shard,
)
from bonemet_jax.input_pipeline.wire import BYTES, FLOAT, INT64, Span, WireError, find_features, read_varint

_FEATURES = "features.json"
_SHARD_NAME = re.compile(r"\.(tfrecord|array_record)-\d+-of-(\d+)$")


class Feature(NamedTuple):
    """What features.json says of one feature."""

    kind: int
    """wire.BYTES, FLOAT or INT64."""
    dtype: np.dtype | None
    """None: text."""
    shape: tuple[int, ...]

    @property
    def is_array(self) -> bool:
        """Raw bytes of an array, as against one number or text."""
        return self.kind == BYTES and self.dtype is not None

    @property
    def n_bytes(self) -> int:
        """Bytes of one record's array."""
        return int(np.prod(self.shape, dtype=np.int64)) * (self.dtype.itemsize if self.dtype is not None else 0)


@dataclass(frozen=True, eq=False, repr=False)
class RecordReader:
    """Records of one folder, sorted by patient_id; arrays are read when asked for. Threads may share it."""

    directory: Path
    patient_id: tuple[str, ...]
    label: Int32[np.ndarray, " patient"]
    """Bone metastasis, 0 or 1."""
    features: dict[str, Feature]
    sha256: str
    """Hex digest over the shards' own: equal for the same records in the same files."""
    _shards: tuple[ShardFile, ...]
    _shard: Int32[np.ndarray, " patient"]
    _index: Int32[np.ndarray, " patient"]
    _offset: dict[str, Int64[np.ndarray, " patient"]]
    _column: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.patient_id)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.features["ct"].shape
        return height, width

    def bytes_per_patient(self, names: Collection[str]) -> int:
        """Bytes of these arrays, one patient."""
        return sum(self.features[name].n_bytes for name in names)

    def read(
        self, positions: Any, names: Sequence[str] = schema.CHANNELS, allocate: Allocate = aligned_empty
    ) -> dict[str, np.ndarray]:
        """These features of the patients at these positions, in their order; a position may come more than once.

        Args:
            positions: 0..n-1.
            names: Features.
            allocate: Makes the arrays.

        Returns: arrays with the patient on the first axis.

        Raises: IndexError for a position outside; CorruptFileError when a shard changed since it was opened.
        """
        at = np.asarray(positions, np.int64)
        if len(at) and not 0 <= at.min() <= at.max() < len(self):
            raise IndexError(f"positions {at.min()} to {at.max()} of {len(self)} records")
        found = {name: self._column[name][at] for name in names if name in self._column}
        for name in self._offset.keys() & set(names):
            feature = self.features[name]
            found[name] = allocate((len(at), *feature.shape), feature.dtype)
        self._fill(at, {name: found[name] for name in names if name in self._offset})
        return {name: found[name] for name in names}

    def _fill(self, at: Int64[np.ndarray, " n"], arrays: dict[str, np.ndarray]) -> None:
        if not arrays or not len(at):
            return
        rows = {name: array.reshape(len(at), -1).view(np.uint8) for name, array in arrays.items()}
        offsets = {name: self._offset[name][at].tolist() for name in arrays}
        places = zip(self._shard[at].tolist(), self._index[at].tolist(), strict=True)
        for k, (shard, index) in enumerate(places):
            self._shards[shard].fetch(index, [(offsets[name][k], rows[name][k]) for name in rows])


def open_records(records_dir: Path) -> RecordReader:
    """The records of `<dir>/bonemet_ct/<config>/<version>/` (docs/contracts.md), checked, ready to be read.

    Raises: CorruptFileError, naming the file, when one is missing, changed, truncated, not in the manifest or holds
        other records than the manifest says; when a patient comes twice.
    """
    records_dir = Path(records_dir)
    # before the digests: a shard replaced between these and the pass over its records is noticed
    versions = _read_versions(records_dir)
    manifest = _check_files(records_dir)
    facts = manifest["facts"]
    features = _load_features(records_dir / _FEATURES)
    shards = _list_shards(records_dir, versions)
    index = _ShardIndex(features)
    for shard in shards:
        index.add(shard, facts.get("shards", {}).get(shard.path.name))
    if index.n != facts["n"]:
        raise CorruptFileError(f"{index.n} records where the manifest says {facts['n']}", records_dir, REMEDY)
    digests = [manifest["files"][str(shard.path.relative_to(records_dir))]["sha256"] for shard in shards]
    return index.make_reader(records_dir, sha256("".join(digests).encode()).hexdigest())


def check_records(records_dir: Path) -> dict[str, Any]:
    """Hold every file against manifest.json; return the manifest's facts (n, channel_scaling, versions).

    Raises: CorruptFileError as `open_records`, before a byte is decoded.
    """
    return _check_files(Path(records_dir))["facts"]


def _check_files(records_dir: Path) -> dict[str, Any]:
    try:
        manifest = artifacts.check_manifest(records_dir)
        files, facts = manifest["files"], manifest["facts"]
        _ = facts["n"], facts.get("shards", {}).get
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError("manifest is damaged", records_dir / artifacts.MANIFEST, REMEDY) from error
    for file in artifacts.list_files(records_dir):
        if str(file.relative_to(records_dir)) not in files:
            raise CorruptFileError("file is not in the manifest", file, "remove it, or " + REMEDY)
    return manifest


class _ShardIndex:
    """Where each record lies, gathered shard by shard; numbers and texts are small enough to be kept."""

    def __init__(self, features: dict[str, Feature]) -> None:
        self.features = features
        self.n = 0
        self._place: list[tuple[int, int]] = []
        self._offset: dict[str, list[int]] = {name: [] for name, f in features.items() if f.is_array}
        self._column: dict[str, list[Any]] = {name: [] for name, f in features.items() if not f.is_array}
        self._shards: list[ShardFile] = []

    def add(self, shard: ShardFile, wanted: int | None) -> None:
        """Go through one shard. Raises: CorruptFileError when a record is damaged or there are not `wanted` of them."""
        before = self.n
        for record in shard.records():
            try:
                self._add_record(record, find_features(record.data, record.start, record.stop))
            except (WireError, UnicodeDecodeError) as error:
                what = f"record {self.n - before} does not read ({error})"
                raise CorruptFileError(what, shard.path, REMEDY) from error
            self._place.append((len(self._shards), self.n - before))
            self.n += 1
        self._shards.append(shard)
        if wanted is not None and self.n - before != wanted:
            what = f"{self.n - before} records where the manifest says {wanted}"
            raise CorruptFileError(what, shard.path, REMEDY)

    def _add_record(self, record: StoredRecord, spans: dict[str, Span]) -> None:
        if spans.keys() != self.features.keys():
            raise WireError(f"features {sorted(spans.keys() ^ self.features.keys())[:4]} are missing or unknown")
        for name, feature in self.features.items():
            span = spans[name]
            if span.kind != feature.kind:
                raise WireError(f"feature {name} is of another kind")
            if feature.is_array:
                if span.stop - span.start != feature.n_bytes:
                    raise WireError(f"feature {name} has {span.stop - span.start} bytes, not {feature.n_bytes}")
                self._offset[name].append(span.start)
            else:
                self._column[name].append(_decode(record, span, feature))

    def make_reader(self, directory: Path, digest: str) -> RecordReader:
        """The reader, sorted by patient_id. Raises: CorruptFileError naming the shard that holds a patient again."""
        ids = self._column[schema.PATIENT_ID]
        order = np.array(sorted(range(self.n), key=ids.__getitem__), np.int64)
        for one, other in pairwise(order):
            if ids[one] == ids[other]:
                path = self._shards[self._place[max(one, other)][0]].path
                raise CorruptFileError("a patient comes twice in the records", path, REMEDY)
        place = np.array(self._place, np.int32).reshape(-1, 2)[order]
        column = {name: np.array(values, self.features[name].dtype)[order] for name, values in self._column.items()}
        return RecordReader(
            directory=directory, patient_id=tuple(column[schema.PATIENT_ID].tolist()), label=column[schema.LABEL],
            features=self.features, sha256=digest, _shards=tuple(self._shards),
            _shard=place[:, 0], _index=place[:, 1],
            _offset={name: np.array(values, np.int64)[order] for name, values in self._offset.items()}, _column=column,
        )


def _decode(record: StoredRecord, span: Span, feature: Feature) -> Any:
    """One number or text."""
    data = bytes(record.data[span.start:span.stop])
    if feature.kind == BYTES:
        return data.decode()
    if feature.kind == FLOAT:
        if len(data) != 4:
            raise WireError(f"{len(data)} bytes of a number")
        return struct.unpack("<f", data)[0]
    value, end = read_varint(data, 0, len(data))
    if end != len(data):
        raise WireError("more than one integer")
    value -= (value >> 63) << 64  # two's complement
    if feature.dtype is not None and not np.can_cast(np.min_scalar_type(value), feature.dtype):
        raise WireError(f"{value} is no {feature.dtype}")
    return value


def _read_versions(records_dir: Path) -> dict[Path, FileVersion]:
    versions = {}
    for file in artifacts.list_files(records_dir):
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile: the manifest names it
            versions[file] = make_version(file.stat())
    return versions


def _list_shards(records_dir: Path, versions: dict[Path, FileVersion]) -> tuple[ShardFile, ...]:
    found = [(file, match) for file in artifacts.list_files(records_dir) if (match := _SHARD_NAME.search(file.name))]
    if not found or any(int(match[2]) != len(found) or match[1] != found[0][1][1] for _, match in found):
        raise CorruptFileError(f"{len(found)} shards, which is not the number in their names", records_dir, REMEDY)
    return tuple(open_shard(file, match[1], versions.get(file)) for file, match in found)


def _load_features(path: Path) -> dict[str, Feature]:
    """TFDS's own description of the features, without TFDS."""
    try:
        described = artifacts.load_json(path)["featuresDict"]["features"]
        return {name: _read_feature(value) for name, value in described.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError("features are not described as they must be", path, REMEDY) from error


def _read_feature(described: dict[str, Any]) -> Feature:
    if "text" in described:
        return Feature(BYTES, None, ())
    tensor = described["tensor"]
    dtype, shape = np.dtype(tensor["dtype"]), tuple(int(size) for size in tensor["shape"].get("dimensions", ()))
    if tensor["encoding"] == "bytes":
        return Feature(BYTES, dtype, shape)
    if shape or dtype.kind not in "fi":
        raise ValueError(f"neither raw bytes nor one number: {dtype}, {shape}")
    return Feature(FLOAT if dtype.kind == "f" else INT64, dtype, shape)
