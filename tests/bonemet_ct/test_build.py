import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cli.build import BuildArgs
from bonemet_jax.cli.parse import parse
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import CorruptFileError, InputDataError, UsageError
from bonemet_jax.input_pipeline.records import load_records
from data_pipelines.bonemet_ct.build import build_records
from data_pipelines.bonemet_ct.pipeline import choose_runner
from data_pipelines.canonical import load_slice

JAX_PLATFORMS = os.environ.get("JAX_PLATFORMS")
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
@pytest.mark.every_change
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
    assert facts["n"] == 13 and facts["kind"] == "records" and facts["cohort_kind"] == "synthetic"
    assert facts["records"]["spacing_mm"] == 4.0
    assert facts["channel_scaling"]["lbp"] == {"divide_by": 16777215}
    assert facts["cohort_sha256"] == artifacts.sha256_file(small_cohort / "manifest.json")
    assert facts["shards"] == {f"bonemet_ct-cohort.array_record-0000{i}-of-00003": n for i, n in enumerate((5, 5, 3))}
    assert facts["area_change"] == {"erector spinae": 0.0, "subcutaneous fat": 0.0, "visceral fat": 0.0}
    assert "jax" in facts["versions"]
    assert str(small_cohort) not in (directory / "dataset_info.json").read_text()


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_shard_k_holds_its_patients_in_order(small_records: dict[str, Path], file_format: str) -> None:
    shards = sorted(small_records[file_format].glob(f"*.{file_format}-*"))
    found = [[int(re.findall(rb"patient_id.{2,8}p(\d\d)", e, re.DOTALL)[0]) for e in _read_examples(s)] for s in shards]
    assert found == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12]]


def test_same_input_same_bytes(small_records: dict[str, Path], small_cohort: Path, tmp_path: Path) -> None:
    """Another folder, an older build in the way, leftovers of a killed one: the same manifest, hence the same bytes."""
    wanted = (small_records["array_record"] / "manifest.json").read_bytes()
    moved = shutil.copytree(small_cohort, tmp_path / "elsewhere")
    final = tmp_path / "bonemet_ct" / "small" / "1.0.0"
    shutil.copytree(small_records["tfrecord"], final)
    leftover = artifacts.partial_name(final)
    leftover.mkdir(parents=True)
    (leftover / "stale").write_text("half a shard")
    assert build_records(moved, tmp_path, CONFIG, "small") == final
    assert (final / "manifest.json").read_bytes() == wanted
    assert [path.name for path in final.parent.iterdir()] == ["1.0.0"]


def _read_examples(shard: Path) -> list[bytes]:
    if ".array_record" in shard.name:
        from array_record.python.array_record_module import ArrayRecordReader

        return ArrayRecordReader(str(shard)).read_all()
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())


def test_features_are_stored_in_sorted_order(small_records: dict[str, Path]) -> None:
    """protobuf's own order of a map is drawn anew in every process: shards would differ from run to run."""
    shard = next(small_records["array_record"].glob("*.array_record*"))
    names = sorted(["patient_id", "ct", "lbp", "hog", "mask", "bone_metastasis", *schema.clinical_names()])
    for record in _read_examples(shard):
        places = [record.index(bytes([10, len(name)]) + name.encode()) for name in names]
        assert places == sorted(places)


@pytest.mark.parametrize(("n", "patients_per_shard", "lengths"), [(13, 64, [13]), (1, 5, [1]), (13, 1, [1] * 13)])
def test_shards_of_any_size(
    small_cohort: Path, tmp_path: Path, n: int, patients_per_shard: int, lengths: list[int]
) -> None:
    """More room than patients, one patient, one patient a shard."""
    cohort = shutil.copytree(small_cohort, tmp_path / "cohort")
    table = artifacts.load_table(cohort / "cohort.parquet")
    artifacts.save_table(cohort / "cohort.parquet", table[table["patient_id"] < f"p{n:02}"])
    artifacts.write_manifest(cohort, {"kind": "synthetic", "n": n})
    config = replace(CONFIG, patients_per_shard=patients_per_shard)
    facts = artifacts.check_manifest(build_records(cohort, tmp_path, config, "small"))["facts"]
    assert list(facts["shards"].values()) == lengths and facts["n"] == n


def test_backends_agree(small_cohort: Path, tmp_path: Path, small_records: dict[str, Path]) -> None:
    """scikit-image writes the same LBP, and HOG within 1e-6 of its maximum."""
    built = build_records(small_cohort, tmp_path, replace(CONFIG, channel_backend="scikit-image"), "small")
    theirs, ours = load_records(built), load_records(small_records["array_record"])
    for name in ("ct", "lbp", "mask"):
        assert np.array_equal(getattr(theirs, name), getattr(ours, name)), name
    difference = np.abs(theirs.hog - ours.hog).max() / theirs.hog.max()
    print(f"HOG: largest difference {difference:.1e} of the maximum")
    assert difference <= 1e-6


def test_area_change_is_told(small_cohort: Path, tmp_path: Path) -> None:
    """Another spacing keeps areas to half a pixel of the grid; the manifest holds the worst."""
    config = replace(CONFIG, height=80, width=100, spacing_mm=3.3)
    facts = artifacts.check_manifest(build_records(small_cohort, tmp_path, config, "small"))["facts"]
    slices = [load_slice(path) for path in sorted((small_cohort / "slices").glob("*.npz"))]
    for name, code in (("erector spinae", 3), ("subcutaneous fat", 1), ("visceral fat", 2)):
        smallest_mm2 = min((image.tissue == code).sum() * 16.0 for image in slices)
        assert 0 < facts["area_change"][name] <= 0.501 * 3.3**2 / smallest_mm2


MULTI_PROCESS = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.mark.parametrize("flags", [(), pytest.param(MULTI_PROCESS, marks=pytest.mark.slow)])
def test_refusal_of_a_worker_is_one_clear_line(
    small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """A slice that only the workers find too large: the same error as from the checks before, nothing left behind."""
    monkeypatch.setattr("data_pipelines.bonemet_ct.source.check_fits", lambda *_: None)
    small = RecordsConfig(height=64, width=64, spacing_mm=2.0)
    told = r"^the trunk is [^\n]*s00\.npz; set records\.spacing_mm to [^\n]*$"
    with pytest.raises(InputDataError, match=told) as caught:
        build_records(small_cohort, tmp_path / "out", small, "small", flags)
    assert caught.value.exit_code == 8
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_two_worker_processes_same_bytes(
    small_records: dict[str, Path], small_cohort: Path, tmp_path: Path, file_format: str
) -> None:
    built = build_records(small_cohort, tmp_path, replace(CONFIG, file_format=file_format), "small", MULTI_PROCESS)
    wanted = (small_records[file_format] / "manifest.json").read_bytes()
    assert (built / "manifest.json").read_bytes() == wanted
    assert os.environ.get("JAX_PLATFORMS") == JAX_PLATFORMS


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


def test_files_of_the_users_own_are_never_lost(small_cohort: Path, tmp_path: Path) -> None:
    final = tmp_path / "out" / "bonemet_ct" / "small" / "1.0.0"
    final.mkdir(parents=True)
    (final / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="not an earlier output"):
        build_records(small_cohort, tmp_path / "out", CONFIG, "small")
    assert (final / "thesis.tex").read_text() == "mine"
    with pytest.raises(UsageError, match="is in an input"):
        build_records(small_cohort, small_cohort / "records", CONFIG, "small")


def test_a_finished_build_is_only_checked(
    small_records: dict[str, Path], small_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = shutil.copytree(small_records["array_record"], tmp_path / "bonemet_ct" / "small" / "1.0.0")
    before = {file.name: file.stat().st_ino for file in final.iterdir()}
    assert build_records(small_cohort, tmp_path, CONFIG, "small") == final
    assert {file.name: file.stat().st_ino for file in final.iterdir()} == before
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize("flags, said", [
    (["--runner=Nope"], "Nope"),
    (["--direct_running_mode=foo"], "direct_running_mode"),
    (["--direct_num_wrkers=2"], "direct_num_wrkers"),
    (["nonsense"], "nonsense"),
])  # fmt: skip
def test_options_that_beam_does_not_know(small_cohort: Path, tmp_path: Path, flags: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_records(small_cohort, tmp_path / "out", CONFIG, "small", flags)
    assert not (tmp_path / "out").exists()


def test_a_number_of_workers_means_processes() -> None:
    assert choose_runner(["--direct_num_workers=2"]).is_multi_process
    assert not choose_runner([]).is_multi_process


def test_beam_options_may_be_repeated() -> None:
    argv = ["-i", "a", "-o", "b", "--beam-option=--direct_num_workers=2", "--beam-option=--runner=DirectRunner"]
    args = parse(BuildArgs, "build", argv, repeatable=("--beam-option",))
    assert args.beam_option == ("--direct_num_workers=2", "--runner=DirectRunner")
