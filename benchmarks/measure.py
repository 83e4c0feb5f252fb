"""Slices a second and peak memory of the command `bonemet measure`, one DICOM slice a patient, 1 and 2 processes.

Full size: 200 synthetic patients at 400x500, 0.8 mm. Quick: 12 at 112x144, 3 mm. The whole command is timed, its start
and the overlays included; memory is the sum over its processes, pages they share counted in each.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Measurement, Options
from benchmarks.processes import PeakMemory
from bonemet_jax import artifacts
from bonemet_jax.config import Config, PhantomConfig
from data_pipelines.phantom import make_cohort
from data_pipelines.phantom.dicom import PATIENTS, save_dicom_cohort

FULL = Config("measure", phantom=PhantomConfig(n=200))
QUICK = Config("measure", phantom=PhantomConfig(n=12, height=112, width=144, spacing_mm=3.0))
_COMMAND = "from bonemet_jax.cli import run_from_shell; run_from_shell()"


@dataclass(frozen=True)
class Timing:
    """One call of the command."""

    seconds: float
    peak_mib: float
    trunk_cm2: float
    """Median over the patients: shows that slices were read."""


def measure(options: Options) -> list[Measurement]:
    """Throughput and memory for each number of processes."""
    config, n_calls = (QUICK, 1) if options.quick else (FULL, 3)
    phantom, found = config.phantom, []
    with tempfile.TemporaryDirectory() as folder:
        make_cohort(phantom, Path(folder) / "cohort")
        save_dicom_cohort(Path(folder) / "cohort", Path(folder) / "dicom")
        for workers in (1, 2):
            calls = [time_command(Path(folder), workers, phantom.n) for _ in range(n_calls)]
            parameters: dict[str, Any] = {
                "workers": workers, "patients": phantom.n, "height": phantom.height, "width": phantom.width,
                "warm_up": 0,
            }  # fmt: skip
            quality = {"median_trunk_cm2": calls[0].trunk_cm2}
            found += [
                Measurement("measure", f"slices_per_s_{workers}p", "slices/s", "higher",
                            [phantom.n / call.seconds for call in calls], parameters, config, quality),
                Measurement("measure", f"peak_memory_{workers}p", "MiB", "lower",
                            [call.peak_mib for call in calls], parameters, config, quality),
            ]  # fmt: skip
    return found


def time_command(folder: Path, workers: int, n: int) -> Timing:
    """Run `bonemet measure` on the DICOM below `folder`.

    Raises: RuntimeError when it fails or reads fewer than `n`.
    """
    out = folder / "areas"
    patients = sorted((folder / "dicom" / PATIENTS).iterdir())
    command = [sys.executable, "-c", _COMMAND, "measure", "-i", *map(str, patients), "-o", str(out),
               "--workers", str(workers)]  # fmt: skip
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8") as process:
        peak = PeakMemory(process.pid)
        said = process.communicate()[1]
        seconds = time.perf_counter() - start
        peak.stop()
    rows = artifacts.load_json(out / "areas.json")["patients"] if process.returncode == 0 else []
    if len(rows) != n:
        raise RuntimeError(f"measure failed ({process.returncode}): {said[-500:]}")
    return Timing(seconds, peak.mib, float(np.median([row["trunk_cm2"] for row in rows])))
