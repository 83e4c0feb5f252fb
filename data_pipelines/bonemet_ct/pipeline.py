"""Shards through Apache Beam: one element a shard, on any runner (shell)."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bonemet_jax.config import RecordsConfig
from bonemet_jax.progress import Progress, quiet_tensorflow
from data_pipelines.bonemet_ct.refusal import call_stage, find_refusal
from data_pipelines.bonemet_ct.source import Source
from data_pipelines.bonemet_ct.stages import add_channels, measure_shard, read_shard, save_shard
from data_pipelines.bonemet_ct.tasks import ShardTask
from data_pipelines.bonemet_ct.write import note_path

_LOOK_S = 0.25


def run_pipeline(
    tasks: Sequence[ShardTask], source: Source, directory: Path, config: RecordsConfig, flags: Sequence[str]
) -> None:
    """Make the shards of `tasks` below `directory`, each with its note.

    Args:
        flags: Beam's options (`--runner=FlinkRunner`, `--direct_num_workers=2`); one worker in this process by default.

    Raises: what a stage refuses (InputDataError, CorruptFileError, DiskError), whichever process it ran in;
        RuntimeError when a worker fails otherwise.
    """
    # Beam's and tensorflow's own logs would print every traceback before the one line that tells it.
    with quiet_tensorflow():
        import apache_beam as beam

        runner, options, is_multi_process = _choose_runner(flags)
        with _workers_on_cpu(is_multi_process), _watch(directory, tasks, config.file_format):
            try:
                with beam.Pipeline(runner=runner, options=options) as pipeline:
                    _ = pipeline | beam.Create(tasks) | beam.Reshuffle() | make_shards(source, directory, config)
            except Exception as error:
                refusal = find_refusal(error)
                if refusal is None:
                    raise
                raise refusal from error


def make_shards(source: Source, directory: Path, config: RecordsConfig) -> Any:
    """Beam transform from tasks to notes. Runners fuse its stages: a worker holds one shard at a time."""
    import apache_beam as beam

    return (
        "read" >> beam.Map(call_stage, read_shard, source)
        | "measure" >> beam.Map(call_stage, measure_shard, config)
        | "channels" >> beam.Map(call_stage, add_channels, config)
        | "write" >> beam.Map(call_stage, save_shard, directory, config)
    )


def _choose_runner(flags: Sequence[str]) -> tuple[Any, Any, bool]:
    """Beam's runner (None: the flags name it), its options, whether workers are processes of this machine.

    Beam's own `DirectRunner` first tries to fetch and start a Go binary; FnApiRunner is what it falls back to.
    """
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    options = PipelineOptions(flags=list(flags))  # without flags Beam would read sys.argv
    runner = FnApiRunner() if options.view_as(StandardOptions).runner in (None, "DirectRunner") else None
    return runner, options, options.view_as(DirectOptions).direct_running_mode == "multi_processing"


@contextlib.contextmanager
def _workers_on_cpu(is_multi_process: bool) -> Iterator[None]:
    """Worker processes inherit this environment: none of them shall reserve an accelerator's memory."""
    name, before = "JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS")
    if not is_multi_process:
        yield
        return
    os.environ[name] = "cpu"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _watch(directory: Path, tasks: Sequence[ShardTask], file_format: str) -> Iterator[None]:
    """A bar over finished shards, counted by their notes: workers may be other processes."""
    files = [task.file_name(file_format) for task in tasks]
    finished = threading.Event()

    with Progress("records", len(files)) as progress:

        def advance() -> None:
            n_done = sum(note_path(directory, file).is_file() for file in files)
            if n_done > progress.done:
                progress.advance(n_done - progress.done, "shards")

        def look() -> None:
            while not finished.wait(_LOOK_S):
                advance()

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
            advance()
