import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import CorruptFileError, InputDataError, UsageError
from data_pipelines.bonemet_ct.build import build_records

CONFIG = RecordsConfig(height=64, width=80, spacing_mm=4.0, file_format="array_record", patients_per_shard=5)

#: Reads records as a stranger would: TFDS alone.
STRANGER = """
import sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
if builder.info.file_format.value == "array_record":
    examples = list(builder.as_data_source(split="cohort"))
else:
    examples = list(tfds.as_numpy(builder.as_dataset(split="cohort")))
by_id = {example["patient_id"].decode(): example for example in examples}
assert sorted(by_id) == [f"p{i:02}" for i in range(13)], sorted(by_id)
first = by_id["p01"]
assert first["ct"].shape == (64, 80) and first["lbp"].shape == (64, 80, 3) and first["mask"].max() == 1
assert first["hog"].shape == (4, 4, 5, 8) and first["hog"].max() > 0
assert first["cea_ng_ml"] != first["cea_ng_ml"] and abs(first["height_m"] - 1.6) < 1e-6
assert by_id["p02"]["n_stage"] == b"" and by_id["p04"]["bone_metastasis"] == 1
assert len(builder.info.features) == 5 + 4 + 24
assert not any(name.split(".")[0] in ("bonemet_jax", "data_pipelines") for name in sys.modules)
"""


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_readable_without_this_project(small_records: dict[str, Path], tmp_path: Path, file_format: str) -> None:
    subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(small_records[file_format])],
        check=True, cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)},
    )
    assert not (tmp_path / "tensorflow_datasets").exists()


def test_layout_and_manifest(small_records: dict[str, Path], small_cohort: Path) -> None:
    directory = small_records["array_record"]
    assert directory.parts[-3:] == ("bonemet_ct", "small", "1.0.0")
    assert sorted(file.name for file in directory.iterdir()) == [
        *(f"bonemet_ct-cohort.array_record-0000{i}-of-00003" for i in range(3)),
        "dataset_info.json", "features.json", "manifest.json",
    ]
    facts = artifacts.check_manifest(directory)["facts"]
    assert facts["n"] == 13 and facts["kind"] == "synthetic"
    assert facts["records"]["spacing_mm"] == 4.0
    assert facts["channel_scaling"]["lbp"] == {"divide_by": 16777215}
    assert facts["cohort_sha256"] == artifacts.sha256_file(small_cohort / "manifest.json")
    assert str(small_cohort) not in (directory / "dataset_info.json").read_text()


def test_same_input_same_bytes(small_records: dict[str, Path], small_cohort: Path, tmp_path: Path) -> None:
    """Another folder, an older build in the way, leftovers of a killed one: the same manifest, hence the same bytes."""
    wanted = (small_records["array_record"] / "manifest.json").read_bytes()
    moved = shutil.copytree(small_cohort, tmp_path / "elsewhere")
    final = tmp_path / "bonemet_ct" / "small" / "1.0.0"
    leftover = artifacts.partial_name(final)
    for directory in (final, leftover):
        directory.mkdir(parents=True)
        (directory / "stale").write_text("half a shard")
    assert build_records(moved, tmp_path, CONFIG, "small") == final
    assert (final / "manifest.json").read_bytes() == wanted
    assert [path.name for path in final.parent.iterdir()] == ["1.0.0"]


def test_features_are_stored_in_sorted_order(small_records: dict[str, Path]) -> None:
    """protobuf's own order of a map is drawn anew in every process: shards would differ from run to run."""
    from array_record.python.array_record_module import ArrayRecordReader

    shard = next(small_records["array_record"].glob("*.array_record*"))
    names = sorted(["patient_id", "ct", "lbp", "hog", "mask", "bone_metastasis", *schema.clinical_names()])
    for record in ArrayRecordReader(str(shard)).read_all():
        places = [record.index(bytes([10, len(name)]) + name.encode()) for name in names]
        assert places == sorted(places)


@pytest.mark.slow
def test_two_worker_processes_same_bytes(small_records: dict[str, Path], small_cohort: Path, tmp_path: Path) -> None:
    flags = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    built = build_records(small_cohort, tmp_path, CONFIG, "small", flags)
    wanted = (small_records["array_record"] / "manifest.json").read_bytes()
    assert (built / "manifest.json").read_bytes() == wanted


def _refused(cohort: Path, out: Path, config: RecordsConfig = CONFIG, name: str = "small") -> str:
    with pytest.raises((InputDataError, CorruptFileError, UsageError)) as caught:
        build_records(cohort, out, config, name)
    assert not out.exists()
    return str(caught.value)


def test_bad_input_writes_nothing(small_cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "missing" in _refused(tmp_path / "nowhere", out)
    assert "not a name" in _refused(small_cohort, out, name="../../x")
    assert "not a name" in _refused(small_cohort, out, name="-rf")
    small = RecordsConfig(height=64, width=64, spacing_mm=2.0)
    assert "s00.npz; set records.spacing_mm to" in _refused(small_cohort, out, config=small)

    lost = shutil.copytree(small_cohort, tmp_path / "lost")
    (lost / "slices" / "s03.npz").unlink()
    assert "s03.npz" in _refused(lost, out)
    artifacts.write_manifest(lost)
    assert "slice is missing" in _refused(lost, out)

    changed = shutil.copytree(small_cohort, tmp_path / "changed")
    (changed / "slices" / "s03.npz").write_bytes(b"PK")
    assert "s03.npz" in _refused(changed, out)
    artifacts.write_manifest(changed)
    assert "not a readable npz" in _refused(changed, out)
