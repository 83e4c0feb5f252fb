"""TFDS builder of the records: one example a patient (docs/contracts.md)."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from bonemet_jax import schema
from bonemet_jax.config import RecordsConfig
from data_pipelines.bonemet_ct.record import make_record
from data_pipelines.bonemet_ct.rows import load_rows
from data_pipelines.canonical import load_slice

SPLIT = "cohort"


@dataclasses.dataclass
class BonemetCtConfig(tfds.core.BuilderConfig):
    """What TFDS calls a config: the records' settings and the cohort they are made from."""

    records: RecordsConfig = dataclasses.field(default_factory=RecordsConfig)
    cohort_dir: str = ""


class SortedExampleWriter(tfds.core.ExampleWriter):
    """Writes each example with its features sorted by name: protobuf's own order changes from process to process."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        return super().write(path, ((key, _sort_features(example)) for key, example in examples))


def _sort_features(example: bytes) -> bytes:
    # protobuf makes its classes at import, out of the type checker's sight.
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)  # pyrefly: ignore


class Builder(tfds.core.GeneratorBasedBuilder):
    """Records of a cohort of T11 slices; made by `build.build_records`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar[list[BonemetCtConfig]] = []

    def _info(self) -> tfds.core.DatasetInfo:
        described = tfds.features.FeaturesDict(features(self.builder_config.records))
        return self.dataset_info_from_configs(features=described)

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return SortedExampleWriter(self.info.file_format)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Any:
        import apache_beam as beam

        config = self.builder_config
        make = functools.partial(make_example, cohort_dir=config.cohort_dir, records=config.records)
        return beam.Create(load_rows(Path(config.cohort_dir))) | beam.Map(make)


def features(records: RecordsConfig) -> dict[str, Any]:
    """TFDS features of one example: arrays as raw bytes, every clinical column and label as a scalar."""
    height, width = records.height, records.width
    cells = (height // schema.HOG_CELL, width // schema.HOG_CELL)

    def array(shape: tuple[int, ...], dtype: Any) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.BYTES)

    return {
        schema.PATIENT_ID: tfds.features.Text(),
        "ct": array((height, width), np.uint8),
        "lbp": array((height, width, 3), np.uint8),
        "hog": array((len(schema.HOG_FLIPS), *cells, schema.HOG_ORIENTATIONS), np.float32),
        "mask": array((height, width), np.uint8),
        schema.LABEL: np.int32,
        **{name: np.float32 for name in (schema.HEIGHT, schema.TIME, schema.EVENT)},
        **{c.name: tfds.features.Text() if c.kind == "category" else np.float32 for c in schema.CLINICAL},
    }


def make_example(row: Mapping[str, Any], cohort_dir: str, records: RecordsConfig) -> tuple[str, dict[str, Any]]:
    """Key and example of one patient; runs on any Beam worker that sees the cohort's folder."""
    image = load_slice(Path(cohort_dir) / "slices" / f"{row[schema.SLICE_ID]}.npz")
    scalars = {name: value for name, value in row.items() if name != schema.SLICE_ID}
    return row[schema.PATIENT_ID], {**scalars, **make_record(image, records)}
