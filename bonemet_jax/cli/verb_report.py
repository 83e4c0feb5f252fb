"""What every verb shares: the flags `--report` and `--device`, and the JSON a benchmark CI job reads."""

import dataclasses
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bonemet_jax import artifacts
from bonemet_jax.errors import DeviceError
from bonemet_jax.versions import find_versions


@dataclass(frozen=True)
class CommonArgs:
    """Flags of every verb."""

    report: Path | None = None
    """Write a JSON report of this command here: versions, device, seconds, inputs and outputs with sha256, results."""


@dataclass(frozen=True)
class DeviceArgs(CommonArgs):
    """Flags of the verbs that compute with jax."""

    device: Literal["cpu", "gpu", "tpu"] | None = None
    """Require this device: never a silent fallback."""


def require_device(device: str | None) -> None:
    """Make jax start on `device` and nothing else. Call before anything else touches jax.

    Raises: DeviceError when it is not there.
    """
    if device is None:
        return
    os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(device, device)
    import jax

    try:
        found = jax.default_backend()
    except RuntimeError as error:
        raise DeviceError(f"no {device} here ({str(error).splitlines()[0]})", "", "leave --device out to use "
                          "what there is, or install the matching extra") from error
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
    """Collects what one command did; `write` stores it when `--report` was given."""

    verb: str
    argv: list[str]
    path: Path | None
    phases: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def write(
        self, results: Mapping[str, Any], inputs: Iterable[Path] = (), outputs: Iterable[Path] = (), config: Any = None
    ) -> None:
        """Write the JSON report: stable keys, sha256 of every input and output file."""
        if self.path is None:
            return
        from bonemet_jax.config import fingerprint

        artifacts.write_json(self.path, {
            "schema": "bonemet-report/1",
            "command": ["bonemet", self.verb, *self.argv],
            "versions": find_versions(),
            "device": device_facts(),
            "config_fingerprint": fingerprint(config) if dataclasses.is_dataclass(config) else None,
            "seconds": {**self.phases, "total": round(time.perf_counter() - self.start, 3)},
            "inputs": _digests(inputs),
            "outputs": _digests(outputs),
            "results": dict(results),
        })


def _digests(paths: Iterable[Path]) -> dict[str, str]:
    files: list[Path] = []
    for path in paths:
        files += artifacts.list_files(path) if path.is_dir() else [path]
    return {str(f): artifacts.sha256_file(f) for f in files}
