"""Shards through Apache Beam: one element a shard, on any runner (shell)."""

import contextlib
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import BonemetError, TryAgainError, UsageError
from bonemet_jax.process_state import REPLACING_STREAMS, SharedChange, Undo, change_environment
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

        with contextlib.ExitStack() as stack:
            if runner.is_multi_process:
                stack.enter_context(_WORKERS_ON_CPU)
                stack.enter_context(_NOTICE_DEAD_WORKERS)
            stack.enter_context(_watch(directory, tasks, config.file_format))
            try:
                with beam.Pipeline(runner=runner.runner, options=runner.options) as pipeline:
                    _ = pipeline | beam.Create(tasks) | beam.Reshuffle() | make_shards(source, directory, config)
            except BonemetError:
                raise
            except Exception as error:
                if _GONE in str(error):
                    raise TryAgainError(_GONE, "", "run the same command again, with fewer workers if memory is short"
                                        ) from error
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
            with REPLACING_STREAMS, contextlib.redirect_stderr(said):
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


def _replace_start_and_run() -> Undo:
    """Make Beam remember its worker processes and those that died, which it raises in a thread of its own, to then wait
    for ever."""
    from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler as Handler
    from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker as Worker

    start, run = Handler.start_worker, Worker.run

    def start_and_remember(self: Any) -> None:
        start(self)
        _STARTED.append(self)

    def run_and_remember(self: Any) -> None:
        try:
            run(self)
        except RuntimeError:  # its exit code was not 0
            _DEAD.append(self)

    def undo() -> None:
        Handler.start_worker, Worker.run = start, run
        _STARTED.clear()
        _DEAD.clear()

    Handler.start_worker, Worker.run = start_and_remember, run_and_remember
    return undo


#: Of all builds in this process: Beam's handlers of worker processes, and workers that ended early.
_STARTED: list[Any] = []
_DEAD: list[Any] = []
_NOTICE_DEAD_WORKERS = SharedChange(_replace_start_and_run)
#: Worker processes inherit this environment: none of them shall reserve an accelerator's memory.
_WORKERS_ON_CPU = SharedChange(lambda: change_environment({"JAX_PLATFORMS": "cpu"}))
_GONE = "a worker process of the build is gone: killed, or out of memory"


def _fail_requests_of_dead_workers() -> None:
    """Answer what Beam has asked of a worker that died with an error, so that it stops waiting."""
    for handler in [handler for handler in _STARTED if handler.worker in _DEAD]:
        from apache_beam.portability.api import beam_fn_api_pb2

        for name, future in list(handler.control_conn._futures_by_id.items()):
            future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=_GONE))


@contextlib.contextmanager
def _watch(directory: Path, tasks: Sequence[ShardTask], file_format: str) -> Iterator[None]:
    """A bar over finished shards, counted by their notes, as workers may be other processes; those that died are
    noticed."""
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
                _fail_requests_of_dead_workers()

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
            advance()
