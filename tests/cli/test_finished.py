"""Whether a run was trained on synthetic patients, and what follows from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli.finished import SYNTHETIC_WARNING, check_training_patients, is_trained_on_synthetic
from bonemet_jax.cli.stages import Run
from bonemet_jax.config import Config
from bonemet_jax.errors import UsageError


def _make_run(tmp_path: Path, kind: str | None) -> Run:
    """A run on a cohort directory of this kind; None: the directory is gone."""
    if kind is not None:
        artifacts.write_json(tmp_path / "cohort" / "manifest.json", {"files": {}, "facts": {"kind": kind}})
    return Run(tmp_path / "run", replace(Config(name="x"), cohort_dir=str(tmp_path / "cohort")))


@pytest.mark.parametrize(("kind", "expected"), [("synthetic", True), ("real", False), (None, None)])
def test_manifest_of_the_cohort_decides(tmp_path: Path, kind: str | None, expected: bool | None) -> None:
    assert is_trained_on_synthetic(_make_run(tmp_path, kind)) is expected


def test_run_without_a_cohort_directory_is_synthetic(tmp_path: Path) -> None:
    assert is_trained_on_synthetic(Run(tmp_path, Config(name="x"))) is True


@pytest.mark.parametrize(("name", "value"), [
    ("stats/planted.json", {"synthetic": True}), ("report.json", {"cohort": {"kind": "synthetic"}}),
])
def test_files_of_the_run_decide_where_the_cohort_is_gone(tmp_path: Path, name: str, value: object) -> None:
    run = _make_run(tmp_path, None)
    artifacts.write_json(run.directory / name, value)
    assert is_trained_on_synthetic(run) is True


def test_refused_allowed_and_unknown(tmp_path: Path) -> None:
    run = _make_run(tmp_path, "synthetic")
    with pytest.raises(UsageError, match="--allow-synthetic"):
        check_training_patients(run, allow_synthetic=False)
    assert check_training_patients(run, allow_synthetic=True) == SYNTHETIC_WARNING
    assert check_training_patients(_make_run(tmp_path / "b", "real"), allow_synthetic=False) == ""
    assert "not known" in check_training_patients(_make_run(tmp_path / "c", None), allow_synthetic=False)
