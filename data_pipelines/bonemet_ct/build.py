"""Build records from a cohort directory (shell): checks first, shards through Beam, then one rename."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, output_paths, schema
from bonemet_jax.config import RecordsConfig, to_dict
from bonemet_jax.errors import UsageError
from bonemet_jax.progress import quiet_tensorflow, say
from bonemet_jax.versions import find_versions
from data_pipelines.bonemet_ct.pipeline import choose_runner, run_pipeline
from data_pipelines.bonemet_ct.source import CohortSource, Source
from data_pipelines.bonemet_ct.stages import max_area_change
from data_pipelines.bonemet_ct.tasks import DATASET, SPLIT, ShardTask, make_tasks
from data_pipelines.bonemet_ct.write import ShardNote, is_finished, load_note

VERSION = "1.0.0"
KIND = "records"
#: Raised when the bytes of a record, or the notes of a build under way, become others: no build goes on across it.
FORMAT = 1
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "pandas", "scikit-image", "tensorflow", "tensorflow-datasets",
             "protobuf", "apache-beam", "array-record")  # fmt: skip


def build_records(
    cohort_dir: Path, out_dir: Path, config: RecordsConfig, name: str, beam_options: Sequence[str] = ()
) -> Path:
    """Write `<out_dir>/bonemet_ct/<name>/<version>/`: shards, TFDS metadata, manifest.json. Equal input, equal bytes.

    A build that was killed, or whose disk was full, goes on where it stopped when it is called again with the same
    cohort and settings; one that is finished costs a check.

    Args:
        cohort_dir: Written by `bonemet ingest` or `bonemet phantom`.
        out_dir: Parent of the records.
        config: Grid, shard format and size, who computes the channels.
        name: Name of the TFDS config; letters, digits, dot, dash, underscore.
        beam_options: Flags of Apache Beam (`--runner=FlinkRunner`, `--direct_num_workers=2`); in-process by default.

    Returns: The version directory.

    Raises: UsageError for a bad name, an option that Beam does not know, or a folder in the way that is not an earlier,
        untouched output of this; CorruptFileError when the cohort differs from its manifest; InputDataError when
        it has no slices, or one does not fit the grid; DiskError when the disk is full. Nothing half-written ever
        stands under the final name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,80}", name):
        raise UsageError(f"not a name for records: {name[:80]!r}", "", "use letters, digits, dot, dash, underscore")
    cohort_dir, final = Path(cohort_dir).resolve(), Path(out_dir) / DATASET / name / VERSION
    cohort = artifacts.check_manifest(cohort_dir)
    source = CohortSource.open(cohort_dir, config)
    tasks = make_tasks(len(source), config.patients_per_shard)
    facts = _facts(config, name, len(source), cohort["facts"], cohort_dir)
    runner = choose_runner(beam_options)
    if output_paths.check_output_folder(final, KIND, [cohort_dir]) and _is_same(final, facts):
        say("records are there already")
        return final
    with artifacts.resumable_dir(final, artifacts.sha256_json(facts)) as partial:
        missing = keep_finished(partial, tasks, source, config.file_format)
        if missing:
            run_pipeline(missing, source, partial, config, runner)
        notes = [load_note(partial, task.file_name(config.file_format)) for task in tasks]
        _write_metadata(partial, config, name, notes)
        found = {
            "shards": {note.file: note.n for note in notes},
            "area_change": max_area_change(*(note.area_change for note in notes)),
        }
        artifacts.write_manifest(partial, facts | found, known={note.file: note.sha256 for note in notes})
    return final


def _is_same(final: Path, facts: dict[str, Any]) -> bool:
    """Whether the records there were made with these facts; that their files are whole is known."""
    found = artifacts.load_json(final / artifacts.MANIFEST)["facts"]
    return all(found.get(name) == value for name, value in facts.items())


def keep_finished(
    directory: Path, tasks: Sequence[ShardTask], source: Source, file_format: str
) -> tuple[ShardTask, ...]:
    """Tasks whose shard is not there yet; whatever else a killed build left in `directory` is deleted."""
    missing = []
    for task in tasks:
        ids = [row[schema.PATIENT_ID] for row in source.read_rows(task.start, task.stop)]
        if not is_finished(directory, task.file_name(file_format), ids):
            missing.append(task)
    kept = {task.file_name(file_format) for task in tasks if task not in missing}
    for file in directory.iterdir():
        if file.is_file() and file.name not in kept:
            file.unlink()
    if kept:
        say(f"going on: {len(kept)} of {len(tasks)} shards are there")
    return tuple(missing)


def _write_metadata(directory: Path, config: RecordsConfig, name: str, notes: Sequence[ShardNote]) -> None:
    """TFDS's own description of the shards: dataset_info.json and features.json."""
    with quiet_tensorflow():
        import tensorflow_datasets as tfds

        from data_pipelines.bonemet_ct.bonemet_ct_dataset_builder import RecordsBuilder, make_config

        builder = RecordsBuilder(
            data_dir=str(directory), config=make_config(name, config), file_format=config.file_format
        )
        split = tfds.core.SplitInfo(
            name=SPLIT, shard_lengths=[note.n for note in notes], num_bytes=sum(note.example_bytes for note in notes)
        )
        builder.info.set_splits(tfds.core.splits.SplitDict([split]))
        builder.info.write_to_directory(str(directory))


def _facts(config: RecordsConfig, name: str, n: int, cohort: dict[str, Any], cohort_dir: Path) -> dict[str, Any]:
    """What is known before a shard is made: all that decides its bytes is among it."""
    return {
        "n": n,
        "name": name,
        "kind": KIND,
        "format": FORMAT,
        "cohort_kind": cohort.get("kind"),
        "cohort_sha256": artifacts.sha256_file(cohort_dir / artifacts.MANIFEST),
        "file_format": config.file_format,
        "records": to_dict(config),
        "channel_scaling": {
            "ct": {"window_hu": list(schema.CT_WINDOW_HU), "divide_by": 255},
            "lbp": {"divide_by": 2**schema.LBP_POINTS - 1},
            "hog": {"divide_by": schema.HOG_FULL_SCALE, "clip": [0, 1]},
            "then": "(x - 0.5) / 0.5; mask - 0.5",
        },
        "versions": find_versions(_PACKAGES),
    }
