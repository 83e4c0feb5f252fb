"""What every benchmark shares: its record, the device it asked for, its printed line."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bonemet_jax import artifacts
from bonemet_jax.config import Config, fingerprint
from bonemet_jax.errors import DeviceError
from bonemet_jax.telemetry.device import cpu_model, describe_device
from bonemet_jax.versions import find_versions

#: Raised when a field changes its meaning.
SCHEMA = 1
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """What the command line asks of a benchmark."""

    device: Literal["cpu", "gpu", "tpu"] | None = None
    """Required platform; None takes the one that jax chose."""
    quick: bool = False
    """A toy size, to see that it runs: its numbers mean nothing."""


@dataclass(frozen=True)
class Measurement:
    """One number with its samples."""

    benchmark: str
    metric: str
    unit: str
    better: Literal["lower", "higher"]
    samples: list[float]
    parameters: dict[str, Any]
    """What was run: sizes, batch, dtype."""
    config: Config
    quality: dict[str, float] = field(default_factory=dict)
    """A figure that shows the work was real, such as the loss."""


def check_device(wanted: str | None) -> None:
    """Raises: DeviceError when jax runs on another platform than the one asked for."""
    found = describe_device()["platform"]
    if wanted is not None and found != wanted:
        raise DeviceError(f"this benchmark was asked for {wanted}, jax runs on {found}", "",
                          f"install jax for {wanted}, or drop --device")


def make_record(measurement: Measurement, quick: bool) -> dict[str, Any]:
    """The measurement with all that a reader needs to judge it (benchmarks/README.md)."""
    samples = np.array(measurement.samples)
    record = {name: value for name, value in asdict(measurement).items() if name != "config"}
    return record | {
        "schema": SCHEMA,
        "quick": quick,
        "median": float(np.median(samples)),
        "p90": float(np.percentile(samples, 90)),
        "n": len(samples),
        "config_fingerprint": fingerprint(measurement.config),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": describe_device(),
        "versions": find_versions(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "cpu_model": cpu_model(),
        "cpu_count": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "system": platform.platform(),
    }


def print_record(record: dict[str, Any]) -> None:
    """One line a number."""
    device = record["device"]
    print(f"{record['benchmark']:<12} {record['metric']:<18} median {record['median']:.4g} {record['unit']}, "
          f"p90 {record['p90']:.4g}, n {record['n']}, {record['better']} is better, "
          f"{device['count']} x {device['kind']}" + ("  (quick: not a result)" if record["quick"] else ""))


def append_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Append records to a JSON-lines file."""
    for record in records:
        artifacts.append_line(path, json.dumps(record, sort_keys=True, allow_nan=False))


def _git(*args: str) -> str | None:
    """Output of a git command in this checkout; None outside one."""
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
