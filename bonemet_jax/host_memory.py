"""How much of the host's memory this process may take, and how it holds it."""

import ctypes
import os
import sys
from pathlib import Path
from typing import NamedTuple

#: glibc's mallopt: M_ARENA_MAX 1, M_MMAP_MAX 0 (no block straight from the system), M_TRIM_THRESHOLD never.
_MALLOC = {-8: 1, -4: 0, -1: -1}
#: Memory limit of the process's control group, version 2 and version 1.
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class HostMemory(NamedTuple):
    """Bytes."""

    installed: int
    limit: int | None
    """What this process's control group may take; None: all."""

    @property
    def usable(self) -> int:
        """The smaller one."""
        return self.installed if self.limit is None else self.limit


def find_host_memory() -> HostMemory:
    """What there is, and what of it is ours."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = [path.read_text(encoding="utf-8").strip() for path in _CGROUP_LIMITS if path.is_file()]
    limits = [int(text) for text in told if text.isdigit() and int(text) < installed]
    return HostMemory(installed, min(limits, default=None))


def keep_memory() -> None:
    """Let this process keep the memory it has freed: a step's buffers are then there when the next begins.

    For work on the CPU. To be called before jax starts its threads; elsewhere than on Linux's glibc nothing happens.

    XLA:CPU asks for them anew at each call, and the system hands out zeroed pages, one fault at a time: a quarter of
    the core-seconds of a step (ResNet50, 4 images of 224x224: 128,000 faults a step, with this none). All threads share
    one arena, as only that one may grow without the system being asked for each block.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is not None:
        for parameter, value in _MALLOC.items():
            mallopt(parameter, value)
