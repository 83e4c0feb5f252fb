"""Settings of the whole process that a library call must leave as it found them."""

import faulthandler
import gc
import locale
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np


def take() -> dict[str, Any]:
    """Every setting by its name."""
    return {
        **{f"signal {number}": signal.getsignal(number) for number in signal.valid_signals()},
        "wakeup_fd": _read_wakeup_fd(),
        "faulthandler": faulthandler.is_enabled(),
        "limits": [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")],
        "umask": _read_umask(),
        "cwd": Path.cwd(),
        "standard files": [os.fstat(number)[:3] for number in range(3)],
        "streams": [sys.stdin, sys.stdout, sys.stderr],
        "hooks": [sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook],
        "argv": list(sys.argv), "path": list(sys.path),
        "recursion": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "gc": [gc.isenabled(), gc.get_threshold()],
        "start method": multiprocessing.get_start_method(allow_none=True),
        "locale": locale.setlocale(locale.LC_ALL), "time zone": time.tzname,
        "random": str(np.random.get_state()),
        **{f"environment {name}": value for name, value in os.environ.items()},
        **_take_logging(),
        "warnings": [list(warnings.filters), warnings.showwarning],
        **{f"jax {name}": value for name, value in jax.config.values.items()},
        "jax x64": jax.config.jax_enable_x64,
        "numpy": [np.geterr(), np.geterrcall(), np.get_printoptions()],
        **{f"matplotlib {name}": value for name, value in dict.items(mpl.rcParams)},
        "threads": sorted(_list_threads()),
    }  # fmt: skip


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs, in words."""
    names = sorted({*before, *after})
    return [f"{name}: {before.get(name, 'absent')} is now {after.get(name, 'absent')}" for name in names
            if name not in before or name not in after or before[name] != after[name]]


def _take_logging() -> dict[str, Any]:
    """Loggers that are made at an import are left out while they are as new."""
    root = logging.getLogger()
    loggers = {name: found for name, found in root.manager.loggerDict.items() if isinstance(found, logging.Logger)}
    changed = {f"logger {name}": [found.level, found.disabled, found.propagate, list(found.handlers)]
               for name, found in loggers.items()
               if found.level or found.disabled or not found.propagate or found.handlers}
    return {"logging.disable": root.manager.disable, "root logger": [root.level, list(root.handlers)], **changed}


def _list_threads() -> list[str]:
    """All but idle ones of Beam, which keeps them for all pipelines of a process."""
    return [thread.name for thread in threading.enumerate()
            if thread is not threading.current_thread() and not type(thread).__module__.startswith("apache_beam.")]


def _read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _read_wakeup_fd() -> int | None:
    """Readable in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return None
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number)
    return number
