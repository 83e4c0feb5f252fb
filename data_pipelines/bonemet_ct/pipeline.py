"""Shards through Apache Beam: one element a shard, on any runner (shell)."""

import contextlib
import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import BonemetError, TryAgainError, UsageError
from bonemet_jax.progress import Progress, quiet_tensorflow
from data_pipelines.bonemet_ct.refusal import call_stage, find_refusal
from data_pipelines.bonemet_ct.source import Source
from data_pipelines.bonemet_ct.stages import add_channels, measure_shard, read_shard, save_shard
from data_pipelines.bonemet_ct.tasks import ShardTask
from data_pipelines.bonemet_ct.write import note_path

_LOOK_S = 0.25


class Runner(NamedTuple):
    """Who runs the pipeline."""

    runner: Any
    options: Any
    """Beam's PipelineOptions."""
    is_multi_process: bool
    """Workers are processes of this machine."""


def run_pipeline(
    tasks: Sequence[ShardTask], source: Source, directory: Path, config: RecordsConfig, runner: Runner
) -> None:
    """Make the shards of `tasks` below `directory`, each with its note.

    Args:
        runner: From `choose_runner`.

    Raises: what a stage refuses (InputDataError, CorruptFileError, DiskError), whichever process it ran in;
        TryAgainError when a worker process is gone; RuntimeError when one fails otherwise.
    """
    # Beam's and tensorflow's own logs would print every traceback before the one line that tells it.
    with quiet_tensorflow():
        import apache_beam as beam

        progress = _watch(directory, tasks, config.file_format)
        with _workers_on_cpu(runner.is_multi_process), _notice_dead_workers(runner.is_multi_process), progress:
            try:
                with beam.Pipeline(runner=runner.runner, options=runner.options) as pipeline:
                    _ = pipeline | beam.Create(tasks) | beam.Reshuffle() | make_shards(source, directory, config)
            except BonemetError:
                raise
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


def choose_runner(flags: Sequence[str]) -> Runner:
    """Beam's runner and options; one worker in this process by default, processes where a number of them is given.

    Beam's own `DirectRunner` first tries to fetch and start a Go binary; FnApiRunner is what it falls back to.

    Args:
        flags: `--runner=FlinkRunner`, `--direct_num_workers=2`, and whatever else the runner takes.

    Raises: UsageError for a runner or a value that Beam does not know; of our own runner, for an unknown flag too.
    """
    with quiet_tensorflow():
        from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
        from apache_beam.runners import create_runner
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                options = PipelineOptions(flags=list(flags))  # without flags Beam would read sys.argv
                known = options.get_all_options()
                named = options.view_as(StandardOptions).runner
                runner = FnApiRunner() if named in (None, "DirectRunner") else create_runner(named)
        except (SystemExit, ValueError, ImportError) as error:
            told = (said.getvalue().strip() or str(error)).splitlines()[-1]
            raise UsageError(f"Beam does not take these options: {told}", "", "see Apache Beam's options") from error
        if isinstance(runner, FnApiRunner):
            _refuse_unknown(options, known, flags)
    direct = options.view_as(DirectOptions)
    if direct.direct_num_workers != 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_processing"
    return Runner(runner, options, direct.direct_running_mode == "multi_processing")


def _refuse_unknown(options: Any, known: Mapping[str, Any], flags: Sequence[str]) -> None:
    """Raises: UsageError for what Beam would drop without a word."""
    unknown = sorted(set(options.get_all_options(retain_unknown_options=True)) - set(known))
    unknown += [flag for flag in flags if not flag.startswith("-")]
    if unknown:
        raise UsageError(f"Beam does not know the option {unknown[0]}", "", "write it as --name=value")


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
def _notice_dead_workers(is_multi_process: bool) -> Iterator[None]:
    """Stop waiting when a worker process is killed: Beam raises that in a thread of its own, and waits for ever.

    Raises: TryAgainError.
    """
    if not is_multi_process or threading.current_thread() is not threading.main_thread():
        yield
        return
    hook_before = threading.excepthook

    def stop(number: int, frame: Any) -> None:
        raise TryAgainError("a worker process of the build is gone: killed, or out of memory", "",
                            "run the same command again, with fewer workers if memory is short")

    def hook(failure: Any) -> None:
        if "Worker subprocess exited" in str(failure.exc_value):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        else:
            hook_before(failure)

    handler_before = signal.signal(signal.SIGUSR1, stop)
    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = hook_before
        signal.signal(signal.SIGUSR1, handler_before)


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
