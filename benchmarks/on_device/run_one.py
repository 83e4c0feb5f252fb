"""One check of benchmarks/on_device/plan.py in this process: `NAME FOLDER [--quick]` writes FOLDER/found.json."""

import ctypes
import signal
import sys
from pathlib import Path

import numpy as np

from benchmarks.harness import drop_unmeasured, make_record
from benchmarks.on_device.plan import CHECKS
from benchmarks.on_device.steps import MissingPeerError
from bonemet_jax import artifacts
from bonemet_jax.telemetry.compile_cache import enable_compile_cache

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """A check whose parent is killed does not keep the device; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(name: str, folder: Path, quick: bool) -> None:
    """Run it; its records, their medians among the facts, and its profile, if any."""
    enable_compile_cache()
    trace = folder / "trace"
    trace.mkdir()
    try:
        measurements, facts = CHECKS[name].run(quick, trace)
    except MissingPeerError as error:
        artifacts.write_json(folder / "found.json", {"records": [], "facts": {}, "missing": str(error)})
        return
    medians = {one.metric: float(np.median(one.samples)) for one in measurements}
    records = [make_record(one, quick) for one in drop_unmeasured(measurements)]
    artifacts.write_json(folder / "found.json", {"records": records, "facts": medians | facts})


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1], Path(sys.argv[2]), "--quick" in sys.argv[3:])
