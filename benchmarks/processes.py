"""What a process and those below it use: memory and processor time."""

import os
import resource
import threading
import time
from pathlib import Path

_SAMPLE_S = 0.05


def cpu_seconds() -> float:
    """Core-seconds that this process and all below it have used so far: every thread, kernel time included.

    Of children still alive (PyTorch's readers) Linux tells it in ticks of 10 ms; elsewhere only ended ones count.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = sum(_ticks(pid) for pid in list_tree(os.getpid())[1:]) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + ended.ru_utime + ended.ru_stime + alive


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0
    return sum(map(int, fields[11:15]))  # utime, stime, and those of its ended children


class PeakMemory:
    """Largest sum of the resident memory of a process and all below it, sampled from a thread; Linux only, else NaN."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0 if Path("/proc/self/status").is_file() else float("nan")
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = self.mib != self.mib
        while not ended:
            ended = self._ended.wait(_SAMPLE_S)  # before the sample, so that one is taken at the very end too
            self.mib = max(self.mib, sum(resident_mib(pid) for pid in list_tree(self._pid)))


def list_tree(pid: int) -> list[int]:
    """A process and all below it, whichever of its threads started them."""
    if not Path(f"/proc/{pid}").exists():  # it has ended
        return []
    children = [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in _read(path).split()]
    return [pid, *(below for child in children for below in list_tree(int(child)))]


def _read(path: Path) -> str:
    """Text of a file below /proc; none where the thread has ended."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def resident_mib(pid: int) -> float:
    """Resident memory of a process, pages shared with others included; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)
