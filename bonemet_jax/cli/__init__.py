"""The door: `bonemet VERB ...`. One thin file a verb; only this room knows the flag parser.

Nothing heavy is imported before a verb runs, so `--help` and `info` answer at once.
"""

import contextlib
import importlib
import logging
import sys
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from bonemet_jax.cli.streams import GuardedStreams
from bonemet_jax.cli.verbs import VERBS
from bonemet_jax.errors import INTERRUPTED, BonemetError, DiskError, UsageError
from bonemet_jax.missing_package import to_missing_package
from bonemet_jax.process_state import REPLACING_WARNINGS, SharedChange, Undo, process_control, restoring

_MODULES = {"cv": "stage", "embed": "stage", "fuse": "stage", "report": "stage", "stats": "statistics"}
EXIT_CODES = (
    "exit codes: 0 ok, 2 usage or a missing package, 3 device, 4 corrupt file, 5 disk, 6 numerics, 7 leakage, "
    "8 input data, 75 try again, 129 hung up, 130 interrupted, 143 terminated"
)


def run_from_shell() -> NoReturn:
    """The program `bonemet`: run `sys.argv` and end the process with the exit code.

    The process is its own: trainings handle SIGTERM and SIGHUP, and a stuck step ends it.
    """
    with process_control():
        sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; 5 where standard output could not be written.

    For Python callers, also in threads: settings of the process that change meanwhile (environment, logging, warnings,
    streams, jax's configuration) are restored, signals keep their handlers, and the process is not ended.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    streams = GuardedStreams()
    with _QUIET_LOGGING, _OWN_WARNINGS, restoring(), streams:
        exit_code = _run(argv)
    return exit_code if streams.error is None else _fail_output(argv, streams.error, exit_code)


def _disable_logging() -> Undo:
    """Libraries log the traceback of what they also raise; ours is the one line."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    return lambda: logging.disable(before)


def _keep_warnings() -> Undo:
    """Libraries add filters when they are imported."""
    kept = warnings.catch_warnings()

    def put_back() -> None:
        with REPLACING_WARNINGS:
            kept.__exit__(None, None, None)

    with REPLACING_WARNINGS:
        kept.__enter__()
    return put_back


_QUIET_LOGGING, _OWN_WARNINGS = SharedChange(_disable_logging), SharedChange(_keep_warnings)


def _fail_output(argv: list[str], error: OSError, exit_code: int) -> int:
    """Print why standard output could not be written, and put it into the report of a verb that succeeded."""
    failed = DiskError(f"standard output could not be written ({error.strerror})", "",
                       "files asked for are complete; print to another place")
    with contextlib.suppress(OSError):  # standard error may be lost as well
        print(f"bonemet: {_one_line(failed)}", file=sys.stderr, flush=True)
    if exit_code:
        return exit_code
    _write_failure(argv, failed, failed.exit_code, "")
    return failed.exit_code


def _run(argv: list[str]) -> int:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        return _dispatch(argv)
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        told, exit_code = _explain(error, " ".join(argv[:1]))
        if told is not None:
            print(f"bonemet: {_one_line(told)}", file=sys.stderr)
        _write_failure(argv, told or BonemetError(f"unexpected {type(error).__name__}"), exit_code, started)
        if told is None:
            raise
        return exit_code


def _explain(error: BaseException, verb: str) -> tuple[BonemetError | None, int]:
    """The error in one line and its exit code; None for a fault of ours, to be seen whole."""
    if (missing := to_missing_package(error, verb)) is not None:
        return missing, missing.exit_code
    if isinstance(error, BonemetError):
        return error, error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return BonemetError("interrupted", "", "run the same command again"), INTERRUPTED
    if isinstance(error, OSError) and error.filename is not None:
        told = DiskError(str(error.strerror), error.filename, "check the path and its permissions")
        return told, told.exit_code
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        gone = UsageError("the working directory has been deleted", "", "change to another one")
        return gone, gone.exit_code
    return None, BonemetError.exit_code


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _write_failure(argv: list[str], error: BonemetError, exit_code: int, started: str) -> None:
    """Put the error into the report, where one is asked for; that this fails too takes a second line,
    unless the flags are at fault."""
    from bonemet_jax.cli.verb_report import write_failure

    try:
        write_failure(argv, error, exit_code, started)
    except (BonemetError, OSError) as second:
        if not isinstance(error, UsageError) and str(second) != str(error):
            print(f"bonemet: no report written: {_one_line(second)}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    if argv[0] == "--version":
        from bonemet_jax import __version__

        print(__version__)
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        raise UsageError(f"no verb '{verb}'", "", f"use one of {', '.join(VERBS)}")
    module = importlib.import_module(f"bonemet_jax.cli.{_MODULES.get(verb, verb)}")
    return module.main(verb, rest)


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {text}" for name, text in VERBS.items()]
    return "\n".join(
        ["usage: bonemet VERB ... (bonemet VERB --help)", "", *lines, "", EXIT_CODES,
         "A research tool. Not a medical device."]
    )
