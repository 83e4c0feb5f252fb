"""What every verb shares: the flags `--report` and `--device`, and the JSON a benchmark CI job reads."""

import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from bonemet_jax import artifacts, hosts
from bonemet_jax.cli.path_flags import REPORT, REPORT_SCHEMA, find_named_paths
from bonemet_jax.errors import BonemetError, DeviceError, UsageError
from bonemet_jax.host_memory import keep_memory
from bonemet_jax.jax_workarounds import NO_DEVICE_ERRORS
from bonemet_jax.output_paths import check_local, check_output_file, load_json_or_none
from bonemet_jax.process_state import SharedChange, Undo, change_meanwhile, has_process_control
from bonemet_jax.versions import find_versions

_FLAG = "--report"


@dataclass(frozen=True)
class CommonArgs:
    """Flags of every verb."""

    report: Path | None = None
    """Write a JSON report of this command here, failed or not: versions, device, seconds, sha256 of inputs and outputs,
    results or error, exit code."""


@dataclass(frozen=True)
class WaitArgs(CommonArgs):
    """Flags of the verbs that write a folder."""

    wait: bool = False
    """Wait until another process that works on the same output has finished; by default the command ends with exit
    code 75."""


@dataclass(frozen=True)
class DeviceArgs(CommonArgs):
    """Flags of the verbs that compute with jax."""

    device: Literal["cpu", "gpu", "tpu"] | None = None
    """Require this device: never a silent fallback."""


def choose_device(device: str | None) -> None:
    """Let jax start on `device` and nothing else, on the CPU in memory that is kept. Call before jax is touched."""
    if device in (None, "cpu") and has_process_control():
        keep_memory()
    if device is not None:
        change_meanwhile(_KEEPS_PLATFORMS)
        os.environ["JAX_PLATFORMS"] = platforms = {"gpu": "cuda"}.get(device, device)
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_platforms", platforms)


def _keep_platforms() -> Undo:
    """Returns what restores jax's choice of platforms, imported already or not."""
    chosen = os.environ.get("JAX_PLATFORMS")
    before = sys.modules["jax"].config.values["jax_platforms"] if "jax" in sys.modules else chosen or None

    def restore() -> None:
        if chosen is None:
            os.environ.pop("JAX_PLATFORMS", None)
        else:
            os.environ["JAX_PLATFORMS"] = chosen
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_platforms", before)

    return restore


#: One for all calls: of those that overlap in several threads the last one restores what was before the first.
_KEEPS_PLATFORMS = SharedChange(_keep_platforms)


def require_device(device: str | None) -> None:
    """Start jax on the device of `choose_device`, which this calls.

    Raises: DeviceError when it is not there.
    """
    choose_device(device)
    if device is None:
        return
    import jax

    try:
        found = jax.default_backend()
    except NO_DEVICE_ERRORS as error:
        reason = next(iter(str(error).splitlines()), "none is visible")
        raise DeviceError(f"no {device} here ({reason})", "", "leave --device out to use what there is, or install "
                          "the matching extra") from error
    if found != device:
        raise DeviceError(f"device {device} was asked for, jax runs on {found}", "", "install the matching extra")


def device_facts() -> dict[str, Any]:
    """Platform, kind and count of the devices in use; says so when jax was not needed."""
    if "jax" not in sys.modules:
        return {"platform": "none: jax not used", "kind": platform.processor() or platform.machine(), "count": 0}
    from bonemet_jax.telemetry.device import describe_device

    return describe_device()


@dataclass
class VerbReport:
    """Collects what one command did; `write` stores it when `--report` was given. An earlier report is deleted first.

    Raises: UsageError when it could not be written there: before any work.
    """

    verb: str
    argv: list[str]
    path: Path | None
    phases: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        if self.path is not None:
            check_path(self.path, self.argv)
            if hosts.is_writer():  # an earlier report must not pass for that of a command that is killed
                self.path.unlink(missing_ok=True)

    def write(
        self, results: Mapping[str, Any], inputs: Iterable[Path] = (), outputs: Iterable[Path] = (), config: Any = None,
        *, exit_code: int = 0, table: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the JSON report: stable keys, sha256 of every input and output file; `table`: how a CSV was read."""
        if self.path is None or not hosts.is_writer():
            return
        from bonemet_jax.config import fingerprint

        _save(self.path, self.argv, {
            "schema": REPORT_SCHEMA,
            "command": ["bonemet", self.verb, *self.argv],
            "started": self.started,
            "exit_code": exit_code,
            "versions": find_versions(),
            "device": device_facts(),
            "config_fingerprint": fingerprint(config) if dataclasses.is_dataclass(config) else None,
            "seconds": {**self.phases, "total": round(time.perf_counter() - self.start, 3)},
            "inputs": {str(path): _digest_input(path) for path in inputs},
            "outputs": _digests(outputs),
            "results": dict(results),
        } | ({} if table is None else {"table": dict(table)}))


def write_failure(argv: Sequence[str], error: BonemetError, exit_code: int, started: str) -> None:
    """Write the report of a command that failed, where its flags ask for one, in place of an older one.

    Args:
        started: When the command began; empty: it is complete but for what it printed, and keeps its report's results.

    Raises: BonemetError, OSError when it cannot be written.
    """
    path = find_path(argv)
    if path is None:
        return
    check_path(path, argv[1:])
    report = {"started": started} if started else load_json_or_none(path) or {}
    _save(path, argv[1:], report | {
        "schema": REPORT_SCHEMA,
        "command": ["bonemet", *argv],
        "exit_code": exit_code,
        "versions": find_versions(),
        "error": {name: getattr(error, name, None) for name in ("what", "where", "mend", "code", "fact")},
    })


def find_path(argv: Sequence[str]) -> Path | None:
    """The value of `--report` in flags that may not parse; of several the last."""
    values = [value if flag == _FLAG else flag.partition("=")[2] for flag, value in pairwise([*argv, ""])
              if (flag == _FLAG and not value.startswith("-")) or flag.startswith(f"{_FLAG}=")]
    return Path(values[-1]) if values and values[-1] else None


def check_path(path: Path, argv: Sequence[str]) -> None:
    """Check that a report can be written to `path`, also where the flags in `argv` do not parse.

    Raises: UsageError where there is no such folder, and for a path that is not a new file or an earlier report.
    """
    check_local(path, _FLAG)
    if not path.parent.is_dir():
        raise UsageError("no such folder for the report", path.parent, "make it first, or give another --report")
    check_output_file(path, REPORT, find_named_paths(argv))


def _save(path: Path, argv: Sequence[str], report: Mapping[str, Any]) -> None:
    """Write a report; its path is checked once more right before it takes its place."""
    text = json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with artifacts.atomic_path(path, len(text)) as partial:
        partial.write_text(text, encoding="utf-8")
        check_path(path, argv)


def _digest_input(path: Path) -> str | None:
    """sha256 of a file; of a folder, of its files' sorted sha256: names of files in it may tell who it is.

    None: not to be read.
    """
    try:
        if path.is_dir():
            digests = sorted(artifacts.sha256_file(file) for file in path.rglob("*") if file.is_file())
            return sha256("".join(digests).encode()).hexdigest()
        return artifacts.sha256_file(path)
    except (OSError, BonemetError):
        return None


def _digests(paths: Iterable[Path]) -> dict[str, str]:
    files: list[Path] = []
    for path in paths:
        files += artifacts.list_files(path) if path.is_dir() else [path]
    return {str(f): artifacts.sha256_file(f) for f in files}
