"""Build records from a cohort directory (shell): checks first, Beam, then one rename."""

import contextlib
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, schema
from bonemet_jax.config import RecordsConfig, to_dict
from bonemet_jax.errors import InputDataError, UsageError
from bonemet_jax.progress import quiet_tensorflow
from bonemet_jax.versions import find_versions
from data_pipelines.bonemet_ct.record import check_fits
from data_pipelines.bonemet_ct.rows import load_rows
from data_pipelines.canonical import load_slice

DATASET = "bonemet_ct"
VERSION = "1.0.0"
_PACKAGES = ("numpy", "scikit-image", "tensorflow-datasets", "apache-beam", "array-record")


def build_records(
    cohort_dir: Path, out_dir: Path, config: RecordsConfig, name: str, beam_options: Sequence[str] = ()
) -> Path:
    """Write `<out_dir>/bonemet_ct/<name>/<version>/`: shards, TFDS metadata, manifest.json. Equal input, equal bytes.

    Args:
        cohort_dir: Written by `bonemet ingest` or `bonemet phantom`.
        out_dir: Parent of the records.
        config: Grid, shard format and count.
        name: Name of the TFDS config; letters, digits, dot, dash, underscore.
        beam_options: Flags of Apache Beam (`--runner=FlinkRunner`, `--direct_num_workers=2`); in-process by default.

    Returns: The version directory.

    Raises: UsageError for a bad name; CorruptFileError when the cohort differs from its manifest; InputDataError when
        it has no slices, or one does not fit the grid; DiskError when the disk is full. Nothing is left half-written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,80}", name):
        raise UsageError(f"not a name for records: {name[:80]!r}", "", "use letters, digits, dot, dash, underscore")
    cohort_dir, final = Path(cohort_dir).resolve(), Path(out_dir) / DATASET / name / VERSION
    cohort = artifacts.check_manifest(cohort_dir)
    rows = load_rows(cohort_dir)
    for row in rows:
        _check_slice(cohort_dir, row[schema.SLICE_ID], config)
    with artifacts.atomic_dir(final) as partial:
        _prepare(cohort_dir, partial, config, name, beam_options)
        artifacts.write_manifest(partial, _facts(config, name, len(rows), cohort["facts"], cohort_dir))
    return final


def _check_slice(cohort_dir: Path, slice_id: str, config: RecordsConfig) -> None:
    """Check here, in the caller's process: a Beam worker's exception comes back as text only."""
    path = cohort_dir / "slices" / f"{slice_id}.npz"
    if not path.is_file():
        raise InputDataError("slice is missing", path, "run ingest or phantom again")
    try:
        check_fits(load_slice(path), config)
    except InputDataError as error:
        raise InputDataError(error.what, path, error.mend) from error


def _prepare(
    cohort_dir: Path, out: Path, config: RecordsConfig, name: str, beam_options: Sequence[str]
) -> None:
    """Let TFDS write shards and metadata into `out`; tensorflow and Beam take seconds, so they are imported here."""
    work = out / "work"  # TFDS wants <data_dir>/<dataset>/<config>/<version>; its download folder lands here too
    # TFDS announces a download on standard output, where only results belong.
    with quiet_tensorflow(), contextlib.redirect_stdout(io.StringIO()):
        import tensorflow_datasets as tfds

        from data_pipelines.bonemet_ct import bonemet_ct_dataset_builder as tfds_builder

        tfds.disable_progress_bar()
        builder = tfds_builder.Builder(
            data_dir=str(work),
            config=tfds_builder.BonemetCtConfig(name=name, records=config, cohort_dir=str(cohort_dir)),
            file_format=config.file_format,
        )
        runner, options = _beam(beam_options)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                beam_runner=runner, beam_options=options, num_shards=config.n_shards, try_download_gcs=False
            )
        )
    for file in Path(builder.data_dir).iterdir():
        shutil.move(file, out / file.name)
    shutil.rmtree(work)


def _beam(flags: Sequence[str]) -> tuple[Any, Any]:
    """Beam's runner and options; the runner is None when the flags name one of their own.

    Beam's own `DirectRunner` first tries to fetch and start a Go binary; FnApiRunner is what it falls back to.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    options = PipelineOptions(flags=list(flags))  # without flags Beam would read sys.argv
    named = options.view_as(StandardOptions).runner
    return (FnApiRunner() if named in (None, "DirectRunner") else None), options


def _facts(config: RecordsConfig, name: str, n: int, cohort: dict[str, Any], cohort_dir: Path) -> dict[str, Any]:
    return {
        "n": n,
        "name": name,
        "kind": cohort.get("kind"),
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
