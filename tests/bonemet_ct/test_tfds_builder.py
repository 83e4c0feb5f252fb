"""The catalogue folder: TFDS's own test of the builder, and the same examples as `build` writes."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bonemet_jax import artifacts, schema
from bonemet_jax.input_pipeline.records import load_records
from data_pipelines.bonemet_ct import bonemet_ct_dataset_builder
from data_pipelines.bonemet_ct.build import build_records

FOLDER = Path(bonemet_ct_dataset_builder.__file__).parent


class BonemetCtTest(tfds.testing.DatasetBuilderTestCase):
    """What TFDS asks of every dataset of its catalogue."""

    DATASET_CLASS = bonemet_ct_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ("smoke",)
    SPLITS = {"cohort": 3}  # noqa: RUF012 - TFDS's own interface


def test_catalogue_folder_is_complete() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names >= {"README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv", "dummy_data"}
    tags = (FOLDER / "TAGS.txt").read_text().split()
    assert tags and set(tags) <= set(tfds.core.dataset_metadata.valid_tags())
    assert sum(path.stat().st_size for path in (FOLDER / "dummy_data").rglob("*")) < 50_000


def test_same_examples_as_the_shard_writer(tmp_path: Path) -> None:
    """download_and_prepare with a cohort directory as manual_dir, against `build`, both read by TFDS or by us."""
    config = bonemet_ct_dataset_builder.Builder.builder_configs["smoke"]
    builder = bonemet_ct_dataset_builder.Builder(data_dir=tmp_path / "tfds", config="smoke")
    dummy = shutil.copytree(FOLDER / "dummy_data", tmp_path / "cohort")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=dummy))
    theirs = {e[schema.PATIENT_ID].decode(): e for e in tfds.as_numpy(builder.as_dataset(split="cohort"))}
    ours = load_records(build_records(dummy, tmp_path, config.records, "smoke"))
    assert tuple(sorted(theirs)) == ours.patient_id == ("p0", "p1", "p2")
    for i, patient in enumerate(ours.patient_id):
        for name in schema.CHANNELS:
            assert np.array_equal(theirs[patient][name], getattr(ours, name)[i]), name


def test_dummy_data_is_what_its_command_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, Path(__file__).with_name("dummy_cohort.py"), tmp_path / "again"], check=True)
    folders = (FOLDER / "dummy_data", tmp_path / "again")
    for name in ("s0", "s1", "s2"):
        stored, made = (artifacts.load_npz(folder / "slices" / f"{name}.npz") for folder in folders)
        assert all(np.array_equal(stored[key], made[key]) for key in made)
    stored, made = (artifacts.load_table(folder / "cohort.parquet") for folder in folders)
    assert stored.equals(made)


@pytest.fixture(autouse=True)
def _no_progress_bars() -> None:
    tfds.disable_progress_bar()
