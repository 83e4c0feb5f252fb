"""Seconds of the whole of `make demo`, from nothing to report.html, by stage; goodput of its trainings; peak memory.

Full size: the config smoke, 431 patients. Quick: 36 patients, 2 epochs, bigger pixels. One sample a number: a study is
minutes long, and its report the same every time. Memory is the sum over its processes, pages they share in each.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Measurement, Options
from benchmarks.processes import PeakMemory
from bonemet_jax import artifacts
from bonemet_jax.config import Config, PhantomConfig, RecordsConfig, TrainConfig, load_config, to_dict

_RUN = "from bonemet_jax.cli import run_from_shell; run_from_shell()"
_CONFIG = """import json
from bonemet_jax.config import Config, from_dict

config = from_dict(Config, json.loads({!r}))
"""


def measure(options: Options) -> list[Measurement]:
    """Seconds in all and of each stage, share of the training time that went into steps, memory."""
    config = load_config("smoke")
    config = shrink(config) if options.quick else config
    with tempfile.TemporaryDirectory() as folder:
        told, peak_mib = run_study(config, Path(folder))
        run = Path(folder) / "run"
        timings = [artifacts.load_json(path) for path in sorted(run.glob("fold_*/timing.json"))]
        quality = read_aucs(run)
    parameters: dict[str, Any] = {
        "network": config.model.network, "patients": config.phantom.n, "height": config.records.height,
        "width": config.records.width, "epochs": config.train.epochs, "batch_size": config.train.batch_size,
        "warm_up": 0,
    }  # fmt: skip

    def measurement(metric: str, unit: str, better: Any, samples: list[float]) -> Measurement:
        return Measurement("study", metric, unit, better, samples, parameters, config, quality)

    stages = {name: seconds for name, seconds in told["seconds"].items() if name != "total"}
    return [
        measurement("total_s", "s", "lower", [told["seconds"]["total"]]),
        *(measurement(f"stage_{name}_s", "s", "lower", [seconds]) for name, seconds in stages.items()),
        measurement("goodput", "1", "higher", [timing["goodput"] for timing in timings]),
        measurement("peak_memory", "MiB", "lower", [peak_mib]),
    ]


def shrink(config: Config) -> Config:
    """The same study in half a minute."""
    return replace(
        config, phantom=PhantomConfig(n=36, height=112, width=144, spacing_mm=3.0),
        records=RecordsConfig(height=112, width=144, spacing_mm=3.0, patients_per_shard=18),
        train=TrainConfig(epochs=2, batch_size=8),
    )  # fmt: skip


def run_study(config: Config, folder: Path) -> tuple[dict[str, Any], float]:
    """`bonemet run` into folder/run: its own report of the command, and its peak memory in MiB.

    Raises: RuntimeError when it fails.
    """
    (folder / "study.py").write_text(_CONFIG.format(json.dumps(to_dict(config))), encoding="utf-8")
    report = folder / "command.json"
    command = [sys.executable, "-c", _RUN, "run", str(folder / "study.py"), "-o", str(folder / "run"), "--report",
               str(report)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8") as process:
        peak = PeakMemory(process.pid)
        said = process.communicate()[1]
        peak.stop()
    if process.returncode:
        raise RuntimeError(f"the study failed ({process.returncode}): {said[-500:]}")
    return artifacts.load_json(report), peak.mib


def read_aucs(run: Path) -> dict[str, float]:
    """Pooled test AUC of the network and of the gradient boosting on all features: shows that something was learned."""
    rows = artifacts.load_json(run / "stats" / "roc.json")["rows"]
    wanted = {("network", "imaging"): "auc_network", ("gbdt", "both"): "auc_gbdt_both"}
    found = {wanted.get((row["classifier"], row["feature_set"])): row["auc"] for row in rows if row["split"] == "test"}
    return {name: auc for name, auc in found.items() if name is not None and auc is not None}
