"""Fixtures every room may use."""

import importlib.util
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from data_pipelines.canonical import CanonicalSlice, save_slice

ROOT = Path(__file__).parents[1]
#: Settings of the user's that change what is computed, printed or kept; JAX_PLATFORMS says what machine this is.
_USERS = ("BONEMET_", "JAX_", "XLA_", "TF_", "DASK_", "MPL", "OMP_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR",
          "PYTHONWARNINGS", "PYTHONOPTIMIZE")  # fmt: skip
_KEPT = ("BONEMET_SHARED", "JAX_PLATFORMS", "TF_CPP_MIN_LOG_LEVEL")
for _name in [name for name in os.environ if name.startswith(_USERS) and name not in _KEPT]:
    del os.environ[_name]
# Tests neither read nor fill the user's compilation cache; those about it name one of their own.
os.environ["BONEMET_CACHE_DIR"] = "off"
# Examples are not kept in the clone, which may be read-only or have two test runs at once.
hypothesis.settings.register_profile("bonemet", database=None)
hypothesis.settings.load_profile("bonemet")
# Under nohup it would be ignored, here and in the processes that tests start; tests send it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real CT and reference results; absent for users, who then see the skip and its reason."""
    path = Path(os.environ.get("BONEMET_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"real data and reference results not found at {path} (set BONEMET_SHARED)")
    return path


@pytest.fixture(scope="session")
def make_cases(shared: Path) -> ModuleType:
    """The shared module whose functions each write the inputs of one case."""
    spec = importlib.util.spec_from_file_location("make_cases", shared / "cases" / "make_cases.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write_case(
    make_cases: ModuleType, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Write the inputs of the shared case of this name into an empty folder and work there."""

    def write(name: str) -> None:
        getattr(make_cases, name)(tmp_path, shared / "data")
        monkeypatch.chdir(tmp_path)

    return write


def _small_slice(random: np.random.Generator) -> CanonicalSlice:
    """64 x 80 pixels of 4 mm: an ellipse with a fat ring, visceral fat in front, muscle behind, noise."""
    rows, columns = np.mgrid[-1:1:64j, -1:1:80j] / random.uniform(0.75, 0.95)
    radius = np.hypot(rows, columns)
    tissue = np.select(
        [(radius > 0.85) & (radius < 1), (radius < 0.5) & (rows < 0), (radius < 0.5) & (rows >= 0)],
        [schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM],
    )
    fat = np.isin(tissue, schema.FAT_CODES)
    hu = np.where(radius < 1, np.where(fat, -100, 50), schema.HU_PADDING) + random.normal(0, 20, radius.shape)
    return CanonicalSlice(hu.astype(np.int16), (4.0, 4.0), tissue.astype(np.uint8), (radius < 1).astype(np.uint8))


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort directory of 13 patients, 64 x 80 pixels of 4 mm; patient p01 lacks CEA, p02 N stage. Read only."""
    directory = tmp_path_factory.mktemp("small_cohort")
    random = np.random.default_rng(0)
    rows = []
    for i in range(13):
        save_slice(directory / "slices" / f"s{i:02}.npz", _small_slice(random))
        clinical = {c.name: c.levels[i % 2] if c.levels else float(i % 2) for c in schema.CLINICAL}
        outcome = {schema.LABEL: int(i % 4 == 0), schema.TIME: 12.0 + i, schema.EVENT: int(i % 4 == 0)}
        ids = {schema.PATIENT_ID: f"p{i:02}", schema.SLICE_ID: f"s{i:02}", schema.HEIGHT: 1.6}
        rows.append(ids | clinical | outcome)
    rows[1]["cea_ng_ml"] = np.nan
    rows[2]["n_stage"] = None
    # Not in the order of the ids: whoever joins by position is found out.
    artifacts.save_table(directory / "cohort.parquet", pd.DataFrame(rows[::-1]))
    artifacts.write_manifest(directory, {"kind": "synthetic", "n": len(rows)})
    return directory


@pytest.fixture(scope="session")
def small_records(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Records of the small cohort in each shard format, three shards. Read only."""
    from bonemet_jax.config import RecordsConfig
    from data_pipelines.bonemet_ct.build import build_records

    def build(file_format: str) -> Path:
        config = RecordsConfig(height=64, width=80, spacing_mm=4.0, file_format=file_format, patients_per_shard=5)
        return build_records(small_cohort, tmp_path_factory.mktemp(file_format), config, "small")

    return {file_format: build(file_format) for file_format in ("tfrecord", "array_record")}


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        return json.loads((shared / "golden" / f"{name}.json").read_text())

    return load


@pytest.fixture(scope="session")
def golden_table(shared: Path) -> Callable[[str], pd.DataFrame]:
    """roc_*.csv and table1_a.csv from the folder; survival tables from scikit-survival through its make_inputs.py."""
    spec = importlib.util.spec_from_file_location("make_inputs", shared / "golden" / "make_inputs.py")
    assert spec and spec.loader
    inputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inputs)

    def load(name: str) -> pd.DataFrame:
        file = shared / "golden" / f"{name}.csv"
        return pd.read_csv(file) if file.is_file() else inputs.table(name)

    return load
