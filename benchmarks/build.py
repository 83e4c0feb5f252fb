"""Images/s, disk and memory of the record builder: phantoms through the real Beam stages, shards deleted as they come.

Full size: 2,000 slices of 400x500, 0.8 mm, with 1 and with 2 worker processes, and 100,000 of 160x200, 2 mm, with 2.
Quick: 48 of 112x144, 3 mm. A pool of 64 distinct phantoms is drawn and saved first; every slice of the stream is one of
them, read from disk, under another part of one noise field: little beside the channels, and counted. Beam's start is
counted too (seconds); drawing the pool and the checks of a cohort before a build are not.

A watcher outside deletes a shard as soon as its note, hence its sha256, is there. Memory is the resident memory of all
processes of the build: pages they share count in each. (Their proportional share would move with whatever else on the
machine maps the same libraries.) Growth compares the peak after 500 slices with the peak until then.
"""

import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.harness import ROOT, Measurement, Options
from benchmarks.processes import list_tree, resident_mib
from bonemet_jax import artifacts, schema
from bonemet_jax.config import Config, PhantomConfig, RecordsConfig, from_dict
from data_pipelines.bonemet_ct import stages
from data_pipelines.bonemet_ct.pipeline import choose_runner, run_pipeline
from data_pipelines.bonemet_ct.rows import load_rows
from data_pipelines.bonemet_ct.tasks import make_tasks
from data_pipelines.canonical import CanonicalSlice, load_slice
from data_pipelines.phantom import make_cohort

_COMMAND = "import sys; from benchmarks.build import build; build(*sys.argv[1:])"
_LOOK_S = 0.1
_SEED = 0


@dataclass(frozen=True)
class Case:
    """One build."""

    height: int
    width: int
    spacing_mm: float
    n: int
    workers: int
    pool: int = 64
    patients_per_shard: int = 64
    channel_backend: Literal["jax", "scikit-image"] = "jax"

    def config(self) -> Config:
        """As a run of this size would be configured."""
        return Config(
            "build",
            phantom=PhantomConfig(n=self.pool, height=self.height, width=self.width, spacing_mm=self.spacing_mm),
            records=RecordsConfig(
                height=self.height, width=self.width, spacing_mm=self.spacing_mm,
                patients_per_shard=self.patients_per_shard, channel_backend=self.channel_backend,
            ),
        )  # fmt: skip


LARGE, SMALL = Case(400, 500, 0.8, 2_000, 1), Case(160, 200, 2.0, 100_000, 2)
FULL = (LARGE, replace(LARGE, workers=2), SMALL, replace(SMALL, n=2_000, channel_backend="scikit-image"))
QUICK = (Case(112, 144, 3.0, 48, 1, pool=12, patients_per_shard=8),)


@dataclass(frozen=True)
class VariedPool:
    """A source of `n` patients made from the few of a cohort directory."""

    pool_dir: Path
    n: int
    rows: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return self.n

    def read_rows(self, start: int, stop: int) -> Sequence[Mapping[str, Any]]:
        """Rows of the pool in turn, under ids of their own that sort as they count."""
        return [
            self.rows[i % len(self.rows)] | {schema.PATIENT_ID: f"p{i:08}", schema.SLICE_ID: str(i)}
            for i in range(start, stop)
        ]

    def read_slice(self, slice_id: str) -> CanonicalSlice:
        """A slice of the pool under noise of its own; equal for equal ids."""
        image = load_slice(Path(self.locate(slice_id)))
        height, width = image.hu.shape
        row, column = np.random.default_rng([_SEED, int(slice_id)]).integers(0, (height, width))
        noise = _noise(height, width)[row : row + height, column : column + width]
        return replace(image, hu=image.hu + noise)

    def locate(self, slice_id: str) -> str:
        """The pool's slice."""
        row = self.rows[int(slice_id) % len(self.rows)]
        return str(self.pool_dir / "slices" / f"{row[schema.SLICE_ID]}.npz")


@functools.cache
def _noise(height: int, width: int) -> np.ndarray:
    """HU noise on four times the slice, so that a window of it fits anywhere."""
    return np.random.default_rng(_SEED).normal(0, 5, (2 * height, 2 * width)).round().astype(np.int16)


def build(directory: str, pool_dir: str, config: str, n: str, workers: str) -> None:
    """What the watched process runs: `n` slices through the builder's own pipeline."""
    records = from_dict(RecordsConfig, json.loads(config))
    source = VariedPool(Path(pool_dir), int(n), load_rows(Path(pool_dir)))
    flags = [] if workers == "1" else ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    run_pipeline(make_tasks(len(source), records.patients_per_shard), source, Path(directory), records,
                 choose_runner(flags))


@dataclass
class Watched:
    """What was seen of one build."""

    n: int = 0
    disk_bytes: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    memory_mib: list[tuple[int, float]] = field(default_factory=list)
    """Slices finished, memory then."""

    def peak_mib(self, low: int, high: int) -> float:
        """Largest memory seen while `low` to `high` slices were finished."""
        return max((mib for n, mib in self.memory_mib if low <= n <= high), default=float("nan"))


def watch_build(case: Case, pool_dir: Path, directory: Path) -> Watched:
    """Run one build in a process of its own; delete every shard once its note is there.

    Raises: RuntimeError when it fails or makes fewer slices than asked.
    """
    notes, seen = directory / artifacts.NOTES, Watched()
    notes.mkdir(parents=True)
    settings = json.dumps(asdict(case.config().records))
    command = [sys.executable, "-c", _COMMAND, str(directory), str(pool_dir), settings, str(case.n), str(case.workers)]
    begun, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as errors:  # a pipe that nobody empties would stop the build
        child = subprocess.Popen(command, cwd=ROOT, stderr=errors)
        known: set[Path] = set()
        while child.poll() is None:
            seen.memory_mib.append((seen.n, sum(resident_mib(pid) for pid in list_tree(child.pid))))
            _take_finished(notes, known, seen)
            time.sleep(_LOOK_S)
        seen.seconds = time.monotonic() - begun
        _take_finished(notes, known, seen)
        errors.seek(0)
        if child.returncode or seen.n != case.n:
            raise RuntimeError(f"build made {seen.n} of {case.n} slices: {errors.read()[-2000:].decode()}")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seen.core_seconds = ended.ru_utime + ended.ru_stime - cpu.ru_utime - cpu.ru_stime
    return seen


def _take_finished(notes: Path, known: set[Path], seen: Watched) -> None:
    """Count shards that were finished since the last look, and delete them."""
    for path in set(notes.glob("[!.]*.json")) - known:
        note = artifacts.load_json(path)
        (notes.parent / note["file"]).unlink()
        known.add(path)
        seen.n, seen.disk_bytes = seen.n + note["n"], seen.disk_bytes + note["bytes"]


def time_stages(case: Case, pool_dir: Path) -> dict[str, float]:
    """Core-milliseconds a slice of each stage: the second of two shards in this process."""
    records = case.config().records
    source = VariedPool(pool_dir, 2 * case.patients_per_shard, load_rows(pool_dir))
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps: dict[str, Callable[[Any], Any]] = {
            "read": lambda task: stages.read_shard(task, source),
            "measure": lambda shard: stages.measure_shard(shard, records),
            "channels": lambda shard: stages.add_channels(shard, records),
            "write": lambda shard: stages.save_shard(shard, Path(folder), records),
        }
        for task in make_tasks(len(source), case.patients_per_shard):
            shard: Any = task
            for name, stage in steps.items():
                begun = time.process_time()
                shard = stage(shard)
                spent[name] = (time.process_time() - begun) * 1e3 / len(task)
    return spent


def measure(options: Options) -> list[Measurement]:
    """Throughput, disk, memory and its growth of every case, and where the time goes."""
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(QUICK if options.quick else FULL):
            pool_dir = Path(folder) / f"{case.height}x{case.width}"
            if not pool_dir.exists():
                make_cohort(case.config().phantom, pool_dir)
            seen = watch_build(case, pool_dir, Path(folder) / str(number))
            found += _tell(case, seen, time_stages(case, pool_dir))
    return found


def _tell(case: Case, seen: Watched, stage_ms: Mapping[str, float]) -> list[Measurement]:
    early, late = seen.peak_mib(0, min(500, case.n // 2)), seen.peak_mib(min(500, case.n // 2) + 1, case.n)
    parameters = asdict(case) | {"warm_up": 0, "stage_core_ms_per_image": {k: round(v, 3) for k, v in stage_ms.items()}}
    figures: list[tuple[str, str, Literal["lower", "higher"], float]] = [
        ("images_per_s", "images/s", "higher", seen.n / seen.seconds),
        ("images_per_core_s", "images/core-s", "higher", seen.n / seen.core_seconds),
        ("disk_bytes_per_image", "bytes", "lower", seen.disk_bytes / seen.n),
        ("peak_memory", "MiB", "lower", max(early, late)),
        ("memory_growth", "%", "lower", 100 * (late / early - 1)),
    ]
    label = f"{case.height}x{case.width}_{case.workers}p" + ("" if case.channel_backend == "jax" else "_scikit_image")
    return [
        Measurement("build", f"{name}_{label}", unit, better, [value], parameters, case.config(), {"n": float(seen.n)})
        for name, unit, better, value in figures
    ]
