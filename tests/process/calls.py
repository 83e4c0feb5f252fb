"""Calls from Python, each compared by the settings of the process before and after. One process of test_calls.py:

python -m tests.process.calls main|worker GROUP FOLDER
"""

import contextlib
import importlib
import json
import os
import pkgutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

#: Libraries whose import changes the process (filters of warnings, loggers) are imported first.
LIBRARIES = (
    "jax.experimental.compilation_cache.compilation_cache", "flax.linen", "optax", "orbax.checkpoint", "tensorflow",
    "tensorflow_datasets", "apache_beam.runners.portability.fn_api_runner", "array_record.python.array_record_module",
    "sklearn.linear_model", "sklearn.svm", "sksurv.linear_model", "xgboost", "joblib", "skimage.feature", "matplotlib",
    "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg", "pandas", "pyarrow.parquet", "pydicom",
    "gdcm", "nibabel", "roifile", "PIL.Image", "tensorboardX", "rich.progress", "tyro", "jinja2", "yaml", "distributed",
)  # fmt: skip
ROOT = Path(__file__).parents[2]
PHANTOM = ["--n", "12", "--height", "128", "--width", "160", "--spacing-mm", "2.5"]
STUDY = [
    str(ROOT / "configs" / "smoke.py"), "--phantom.n", "36", "--phantom.spacing-mm", "3.0", "--phantom.height", "112",
    "--phantom.width", "144", "--records.height", "112", "--records.width", "144", "--records.spacing-mm", "3.0",
    "--train.epochs", "1", "--train.batch-size", "8", "--fusion.classifiers", "gbdt", "svm", "--fusion.workers", "2",
]  # fmt: skip
Call = Callable[[Path], Any]


def command(*argv: str, code: int) -> Call:
    """A call of the command line from Python that must return this exit code; {} is the folder."""

    def call(folder: Path) -> None:
        from bonemet_jax.cli import main

        found = main([word.replace("{}", str(folder)) for word in argv])
        assert found == code, (argv, found)

    return call


def import_all(_: Path) -> None:
    """Every module of both packages."""
    for package in ("bonemet_jax", "data_pipelines"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)


def read_damaged(folder: Path) -> None:
    """Files that are no images, by the functions that read them here instead of in a guarded process."""
    from bonemet_jax.errors import BonemetError
    from data_pipelines.ingest.files import find_files
    from data_pipelines.ingest.nifti import load_nifti
    from data_pipelines.ingest.roi import load_rois

    for name in ("a.nii", "a.roi"):
        (folder / name).write_bytes(b"nothing of the kind")
    with contextlib.suppress(BonemetError):
        load_nifti(find_files(folder / "a.nii")[0])
    with contextlib.suppress(BonemetError):
        load_rois(folder / "a.roi", (8, 8), 0, 1)


def build_with_two_workers(folder: Path) -> None:
    """Records of the cohort that an earlier call left, in worker processes."""
    from bonemet_jax.config import RecordsConfig
    from data_pipelines.bonemet_ct.build import build_records

    config = RecordsConfig(height=96, width=112, spacing_mm=4.0, patients_per_shard=6)
    build_records(folder / "cohort", folder / "records", config, "small", ["--direct_num_workers=2"])


def train(folder: Path) -> None:
    """Two folds of noise."""
    from bonemet_jax.train.loop import train_folds
    from tests.train.small import CONFIG, make_small_folds, make_small_records

    records = make_small_records()
    config = replace(CONFIG, train=replace(CONFIG.train, epochs=2))
    train_folds(records, make_small_folds(records), config, folder / "trained")


def train_on_nan(folder: Path) -> None:
    """Records that are no numbers."""
    from bonemet_jax.errors import NumericsError
    from bonemet_jax.train.loop import train_folds
    from tests.train.small import CONFIG, make_small_folds, make_small_records

    records = make_small_records()
    records.hog[:] = float("nan")
    try:
        train_folds(records, make_small_folds(records), CONFIG, folder / "nan")
    except NumericsError:
        return
    raise AssertionError("it was trained")


GROUPS: dict[str, dict[str, Call]] = {
    "light": {
        "import": import_all,
        "help": command("--help", code=0),
        "help of a verb": command("run", "--help", code=0),
        "info": command("info", "--report", "{}/info.json", code=0),
        "no such verb": command("nothing", code=2),
        "no such flag": command("info", "--nothing", code=2),
        "no such file": command("stats", "km", "--csv", "{}/none.csv", "--time", "t", "--event", "e", code=8),
        "no such device": command("doctor", "--device", "tpu", code=3),
        "audit": command("audit", "--example", code=8),
        "phantom": command("phantom", "-o", "{}/cohort", "--dicom", "{}/dicom", *PHANTOM, code=0),
        "measure": command("measure", "-i", "{}/dicom/patients/P000001", "--slice-index", "0", "-o", "{}/areas",
                           code=0),
        "measure damaged files": command("measure", "-i", "{}/none", "-o", "{}/no areas", code=8),
        "read damaged files": read_damaged,
    },
    "heavy": {
        "phantom": command("phantom", "-o", "{}/cohort", *PHANTOM, code=0),
        "build": build_with_two_workers,
        "train": train,
        "train on NaN": train_on_nan,
        "study": command("run", *STUDY, "-o", "{}/run", "--device", "cpu", code=0),
        "study again": command("run", *STUDY, "-o", "{}/run", code=0),
        "study of a damaged file": command("fuse", *STUDY, "-o", "{}/none", code=2),
    },
}  # fmt: skip


def measure(call: Call, folder: Path) -> list[str]:
    """What the call leaves changed; threads that are ending get five seconds."""
    from tests.process import snapshot

    before = snapshot.take()
    call(folder)
    deadline = time.monotonic() + 5
    while (found := snapshot.compare(before, snapshot.take())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def main(where: str, group: str, folder: str) -> None:
    """Print, as the last line, what every call of the group leaves changed."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    changed: dict[str, list[str]] = {}

    def call_all() -> None:
        for name, call in GROUPS[group].items():
            changed[name] = measure(call, Path(folder))

    if where == "main":
        call_all()
    else:
        worker = threading.Thread(target=call_all)
        worker.start()
        worker.join()
    missing = GROUPS[group].keys() - changed.keys()
    print(json.dumps(changed | {name: ["did not end"] for name in missing}), flush=True)


if __name__ == "__main__":
    os.environ["BONEMET_CACHE_DIR"] = str(Path(sys.argv[3]) / "cache")
    main(*sys.argv[1:])
