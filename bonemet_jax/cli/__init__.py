"""The door: `bonemet VERB ...`. One thin file a verb; only this room knows the flag parser.

Nothing heavy is imported before a verb runs, so `--help` and `info` answer at once.
"""

import importlib
import logging
import os
import sys
from collections.abc import Sequence

from bonemet_jax.cli.verbs import VERBS
from bonemet_jax.errors import INTERRUPTED, BonemetError, DiskError, UsageError

_MODULES = {"cv": "stage", "embed": "stage", "fuse": "stage", "report": "stage"}
EXIT_CODES = (
    "exit codes: 0 ok, 2 usage, 3 device, 4 corrupt file, 5 disk, 6 numerics, 7 leakage, 8 input data, "
    "130 interrupted, 143 terminated"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.disable(logging.ERROR)  # libraries log the traceback of what they also raise; ours is the one line
    try:
        return _dispatch(argv)
    except BonemetError as error:
        print(f"bonemet: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("bonemet: interrupted; run the same command again", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:  # no path in it: a fault of ours, to be seen whole
            raise
        print(f"bonemet: {error.strerror}; {error.filename}; check the path and its permissions", file=sys.stderr)
        return DiskError.exit_code


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
