"""A small study, and what of it must be equal whenever it is made: everything but recorded times."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from tests.train.runs import TIMES

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "configs" / "smoke.py")
SMALL = ["--phantom.n", "36", "--phantom.spacing-mm", "3.0", "--phantom.height", "112", "--phantom.width", "144",
         "--records.height", "112", "--records.width", "144", "--records.spacing-mm", "3.0", "--train.epochs", "1",
         "--train.batch-size", "8", "--fusion.classifiers", "gbdt", "svm", "--fusion.workers", "1"]


def start(verb: str, run: Path, *more: str, stream: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """A process of its own that does this verb on a small run; programs are cached beside the run's folder."""
    program = "from bonemet_jax.cli import run_from_shell; run_from_shell()"
    env = os.environ | {"PYTHONPATH": str(ROOT), "BONEMET_CACHE_DIR": str(run.parent / "cache")}
    return subprocess.Popen([sys.executable, "-c", program, verb, SMOKE, "-o", str(run), *SMALL, *more], env=env,
                            stdout=stream, stderr=stream, text=True)


def digest_results(run: Path) -> dict[str, str]:
    """sha256 of every file of a run by name, recorded times left out."""
    files = [f for f in artifacts.list_files(run, with_manifests=True) if not _only_times(f.relative_to(run))]
    return {str(f.relative_to(run)): artifacts.sha256_json(_strip(f)) for f in files}


def _only_times(path: Path) -> bool:
    """Files of times, and those whose digests hold files of times."""
    return (path.name in ("timing.json", "report.html", ".lock") or path.parts[0] == "stages"
            or "tensorboard" in path.parts or "checkpoints" in path.parts)


def _strip(file: Path) -> Any:
    if file.name == "metrics.jsonl":
        return [_without(json.loads(line), TIMES) for line in file.read_text().splitlines()]
    if file.name == "report.json":
        found = artifacts.load_json(file, dict[str, Any])
        training = {fold: [_without(line, TIMES) for line in one["epochs"]] for fold, one in found["training"].items()}
        return _without(found, {"stage_seconds"}) | {"training": training}
    return artifacts.sha256_file(file)


def _without(value: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name not in names}
