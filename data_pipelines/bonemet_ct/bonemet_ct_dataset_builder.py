"""TFDS builder of the records: one example a patient (docs/contracts.md).

`build.build_records` is the fast, resumable way to the same examples; this one serves whoever already works with TFDS:
`tfds.load("bonemet_ct/smoke", ...)` with a cohort directory as the manually downloaded data.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from bonemet_jax import schema
from bonemet_jax.config import RecordsConfig
from data_pipelines.bonemet_ct.channels import BATCH_SIZE
from data_pipelines.bonemet_ct.features import make_features
from data_pipelines.bonemet_ct.source import CohortSource
from data_pipelines.bonemet_ct.stages import add_channels, make_examples, measure_shard, read_shard
from data_pipelines.bonemet_ct.tasks import DATASET, SPLIT, make_tasks


@dataclasses.dataclass
class BonemetCtConfig(tfds.core.BuilderConfig):
    """What TFDS calls a config: the records' settings."""

    records: RecordsConfig = dataclasses.field(default_factory=RecordsConfig)


def make_config(name: str, records: RecordsConfig) -> BonemetCtConfig:
    """A TFDS config of these settings; TFDS decorates its class out of the type checker's sight."""
    described = f"{records.height} x {records.width} pixels of {records.spacing_mm:g} mm"
    return BonemetCtConfig(name=name, description=described, records=records)  # pyrefly: ignore


class SortedExampleWriter(tfds.core.ExampleWriter):
    """Writes each example with its features sorted by name: protobuf's own order changes from process to process."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        return super().write(path, ((key, _sort_features(example)) for key, example in examples))


def _sort_features(example: bytes) -> bytes:
    # protobuf makes its classes at import, out of the type checker's sight.
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)  # pyrefly: ignore


class Builder(tfds.core.GeneratorBasedBuilder):
    """Records of a cohort of T11 slices."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "manual_dir is a cohort directory: made from your own images by `bonemet ingest`, or by `bonemet phantom`."
    )
    BUILDER_CONFIGS: ClassVar[list[BonemetCtConfig]] = [
        make_config("paper", RecordsConfig(height=400, width=500, spacing_mm=0.8)),
        make_config("smoke", RecordsConfig(height=160, width=200, spacing_mm=2.0)),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        described = tfds.features.FeaturesDict(make_features(self.builder_config.records))
        return self.dataset_info_from_configs(features=described)

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return SortedExampleWriter(self.info.file_format)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {SPLIT: self._generate_examples(Path(dl_manager.manual_dir))}

    def _generate_examples(self, cohort_dir: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Key and example of every patient, a few at a time through the stages of `build`."""
        records = self.builder_config.records
        source = CohortSource.open(cohort_dir, records)
        for task in make_tasks(len(source), BATCH_SIZE):
            shard = add_channels(measure_shard(read_shard(task, source), records), records)
            for example in make_examples(shard.rows, shard.arrays):
                yield example[schema.PATIENT_ID], example


with tfds.core.registered.skip_registration():

    class RecordsBuilder(Builder):
        """Describes what `build` wrote under whatever name and settings: TFDS keeps a catalogue's names for itself."""

        name = DATASET
        BUILDER_CONFIGS: ClassVar[list[BonemetCtConfig]] = []
