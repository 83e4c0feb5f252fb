"""What every benchmark shares: its record, the device it asked for, its printed line."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from benchmarks.processes import cpu_seconds
from bonemet_jax import artifacts
from bonemet_jax.config import Config, fingerprint
from bonemet_jax.errors import DeviceError, UsageError
from bonemet_jax.telemetry.device import cpu_model, describe_device
from bonemet_jax.versions import PACKAGES, find_versions

#: Raised when a field changes its meaning, or one comes or goes; benchmarks/record.schema.json says what each holds.
SCHEMA = 3
#: What a benchmark can be held beside -> the module that must be there for it.
PEERS = {
    "torch": "torch", "tf.data": "tensorflow_datasets", "nnx": "flax", "scikit-image": "skimage",
    "scikit-learn": "sklearn", "scikit-survival": "sksurv", "all-pairs": "numpy",
}  # fmt: skip
ROOT = Path(__file__).parents[1]
#: With fewer samples no interval holds a median, or a ratio of two, 95 times in 100.
MIN_FOR_INTERVAL = 6


@dataclass(frozen=True)
class Options:
    """What the command line asks of a benchmark."""

    device: Literal["cpu", "gpu", "tpu"] | None = None
    """Required platform; None takes the one that jax chose."""
    quick: bool = False
    """A toy size, to see that it runs: its numbers mean nothing."""
    peers: frozenset[str] | None = None
    """Names of PEERS to run beside ours; None: all that are installed."""

    def has_peer(self, name: str) -> bool:
        """Whether this peer is run."""
        return is_installed(name) if self.peers is None else name in self.peers


class Ratio(NamedTuple):
    """Ratio of two medians with its 95 % interval."""

    value: float
    low: float
    high: float


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
    ratio: Ratio | None = None
    """Where the number is a ratio: the ratio of two medians with its interval; `samples` are the paired ratios."""
    compared: tuple[str, str] | None = None
    """Where both numbers of the ratio are records of the same run: the metric of ours and that of the other."""


class Timing(NamedTuple):
    """Seconds of each call of one function, in the order of the rounds."""

    wall_s: Float64[np.ndarray, " round"]
    cpu_s: Float64[np.ndarray, " round"]
    """Core-seconds, all threads and child processes: what a number per core divides by."""


def interleave(calls: Mapping[str, Callable[[], Any]], n: int, warm_up: int = 1) -> dict[str, Timing]:
    """Time `n` calls of every function, one of each a round, after `warm_up` uncounted rounds.

    What else runs on the machine then slows all alike. Odd rounds go backwards, so that none always follows another.
    Each function must wait for its own result.
    """
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for i in range(warm_up + n):
        for name in list(calls)[:: -1 if i % 2 else 1]:
            sample = time_once(calls[name])
            if i >= warm_up:
                samples[name].append(sample)
    return {name: Timing(*np.array(pairs).T) for name, pairs in samples.items()}


def time_once(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall seconds and core-seconds of one call."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    call()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def ratio_interval(
    a: Float64[np.ndarray, " round"], b: Float64[np.ndarray, " round"], seed: int = 0, n_resamples: int = 2000
) -> Ratio:
    """median(a) / median(b) of paired samples, with its 95 % percentile interval over resampled rounds.

    Of six rounds it holds the truth 93 times in 100, of ten 95; records give none of fewer.
    """
    rounds = np.random.default_rng(seed).integers(0, len(a), (n_resamples, len(a)))
    ratios = np.median(a[rounds], axis=1) / np.median(b[rounds], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high))


def summarize(samples: Sequence[float]) -> dict[str, Any]:
    """Median, 90th percentile, median absolute deviation, interval of the median, number of samples."""
    values = np.array(samples)
    median = np.median(values)
    return {
        "median": float(median),
        "p90": float(np.percentile(values, 90)),
        "mad": float(np.median(np.abs(values - median))),
        "interval": median_interval(values),
        "n": len(values),
    }


def median_interval(samples: Float64[np.ndarray, " sample"]) -> list[float] | None:
    """The narrowest symmetric pair of order statistics that holds the true median at least 95 times in 100.

    Whatever the distribution: the number of samples below its median is binomial. None for fewer than six samples:
    even the smallest and the largest of five hold it only 94 times in 100.
    """
    from scipy import stats  # not at the top: what a process needs to time a thing is all that its memory should hold

    left_out = int(stats.binom.ppf(0.025, len(samples), 0.5)) - 1
    ordered = np.sort(samples)
    return None if left_out < 0 else [float(ordered[left_out]), float(ordered[-1 - left_out])]


def is_installed(peer: str) -> bool:
    """Whether this peer is there to be run."""
    return importlib.util.find_spec(PEERS[peer]) is not None


def choose_peers(asked: Iterable[str]) -> frozenset[str] | None:
    """Peers as the command line names them: none named means all that are installed, `none` leaves every one out.

    Raises: UsageError for a peer that is asked for and not installed.
    """
    names = frozenset(asked)
    for name in sorted(names - {"none"}):
        if not is_installed(name):
            raise UsageError(f"peer {name} is not installed", "--peer", "run `make peers`, or drop it")
    return names - {"none"} if names else None


def check_device(wanted: str | None) -> None:
    """Asked in another process: where the work is done by processes below this one, they must find the device free.

    Raises: DeviceError when jax runs on another platform than the one asked for, or cannot start.
    """
    if wanted is None:
        return
    code = "from bonemet_jax.telemetry.device import describe_device; print(describe_device()['platform'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    found = (done.stderr if done.returncode else done.stdout).strip().splitlines()[-1:]
    if done.returncode or found != [wanted]:
        raise DeviceError(f"this benchmark was asked for {wanted}, jax runs on {' '.join(found) or 'nothing'}", "",
                          f"install jax for {wanted}, or drop --device")


def drop_unmeasured(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Those whose samples are all finite; says of the others that they are not (memory is, off Linux)."""
    kept = []
    for measurement in measurements:
        if np.isfinite(measurement.samples).all():
            kept.append(measurement)
        else:
            print(f"{measurement.benchmark} {measurement.metric}: not measured here, left out", file=sys.stderr)
    return kept


def make_record(measurement: Measurement, quick: bool) -> dict[str, Any]:
    """The measurement with all that a reader needs to judge it (docs/benchmarks.md)."""
    record = {name: value for name, value in asdict(measurement).items() if name not in ("config", "ratio")}
    ratio = measurement.ratio
    return record | {
        "schema": SCHEMA,
        "quick": quick,
        **summarize(measurement.samples),
        "ratio": ratio and ratio.value,
        "ci95": [ratio.low, ratio.high] if ratio and len(measurement.samples) >= MIN_FOR_INTERVAL else None,
        "config_fingerprint": fingerprint(measurement.config),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": describe_device(),
        "versions": find_versions((*PACKAGES, "torch")),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "cpu_model": cpu_model(),
        "cpu_count": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "system": platform.platform(),
    }


def print_record(record: dict[str, Any]) -> None:
    """One line a number."""
    device = record["device"]
    number = f"median {record['median']:.4g} {record['unit']}, p90 {record['p90']:.4g}"
    if record["ratio"] is not None:
        interval = " (95 % {:.4g} to {:.4g})".format(*record["ci95"]) if record["ci95"] else ""
        number = f"ratio {record['ratio']:.4g}{interval}"
    quality = "".join(f", {name} {value:.4g}" for name, value in record["quality"].items())
    print(f"{record['benchmark']:<12} {record['metric']:<18} {number}, n {record['n']}, {record['better']} is better, "
          f"{device['count']} x {device['kind']}{quality}" + ("  (quick: not a result)" if record["quick"] else ""))


def append_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Append records to a JSON-lines file, all or none."""
    for line in [json.dumps(record, sort_keys=True, allow_nan=False) for record in records]:
        artifacts.append_line(path, line)


def _git(*args: str) -> str | None:
    """Output of a git command in this checkout; None outside one."""
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
