"""The compiler's persistent cache: a program that was compiled before, by any process, is read instead of made."""

import os
from pathlib import Path
from typing import Literal

import jax
from jax.experimental.compilation_cache import compilation_cache

from bonemet_jax.output_paths import check_local, has_scheme
from bonemet_jax.process_state import SharedChange, Undo
from bonemet_jax.progress import say

#: Where the cache lies; `off` turns it off.
VARIABLE = "BONEMET_CACHE_DIR"
#: jax's own; jax has read it, and whatever else was set beside it, by itself.
_JAXS_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_MAX_BYTES = 4 << 30
#: Programs that compile faster are not worth a file.
_MIN_COMPILE_S = 1.0
_SETTINGS = (
    "jax_compilation_cache_dir", "jax_compilation_cache_max_size", "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)  # fmt: skip
_HIT = "/jax/compilation_cache/cache_hits"

Found = Literal["hit", "miss", "off"]


def choose_directory() -> Path | None:
    """$BONEMET_CACHE_DIR, else jax's own choice, else bonemet_jax in $XDG_CACHE_HOME or ~/.cache; None: turned off.

    Raises: UsageError for a path with a scheme; jax's own choice may be a bucket, which jax writes to by itself.
        RuntimeError where there is no home directory.
    """
    check_local(os.environ.get(VARIABLE, ""), VARIABLE)
    named = os.environ.get(VARIABLE) or os.environ.get(_JAXS_VARIABLE)
    if named:
        return None if named == "off" else Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "bonemet_jax"


def enable_compile_cache() -> Path | None:
    """Turn the cache on for the rest of this process; where it cannot be written a note is printed.

    Library code does not call this; `COMPILE_CACHE` turns the cache off again.

    Returns: the local folder in use; None where there is none.
    """
    try:
        directory = choose_directory()
    except RuntimeError:  # no HOME, and a user without an entry in the password file
        say(f"note: no compilation cache, as there is no home directory; set {VARIABLE} to a folder, or to off")
        return None
    if directory is None or has_scheme(directory):
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        say(f"note: no compilation cache, {directory} cannot be written; set {VARIABLE} to a folder, or to off")
        return None
    if os.environ.get(_JAXS_VARIABLE) and not os.environ.get(VARIABLE):
        return directory
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_compilation_cache_max_size", _MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_S)
    return directory


def _change_cache() -> Undo:
    """Turn the cache on; returns what puts jax's settings back."""
    before = {name: jax.config.values[name] for name in _SETTINGS}

    def restore() -> None:
        found = {name: jax.config.values[name] for name in _SETTINGS}
        for name, value in before.items():
            jax.config.update(name, value)
        _open_cache(found)

    enable_compile_cache()
    _open_cache(before)
    return restore


def _open_cache(before: dict[str, object]) -> None:
    """Let jax, which opens its cache once per process, open the one that is set now where that is another."""
    if jax.config.values[_SETTINGS[0]] != before[_SETTINGS[0]]:
        compilation_cache.reset_cache()


#: Context in which programs are kept in the cache; what jax was set to before is restored at the end.
COMPILE_CACHE = SharedChange(_change_cache)


class CacheWatch:
    """Whether compilations inside the block were read from the cache."""

    def __init__(self) -> None:
        self._hits = 0

    def __enter__(self) -> "CacheWatch":
        jax.monitoring.register_event_listener(self._count)
        return self

    def __exit__(self, *error: object) -> None:
        jax.monitoring.unregister_event_listener(self._count)

    @property
    def found(self) -> Found:
        """hit, miss, or off where there is no cache."""
        if jax.config.values["jax_compilation_cache_dir"] is None:
            return "off"
        return "hit" if self._hits else "miss"

    def _count(self, event: str, **_: str | int) -> None:
        self._hits += event == _HIT
