"""A run directory: where its records lie."""

from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.config import Config
from bonemet_jax.errors import CorruptFileError, UsageError
from bonemet_jax.study.run import Run


def _make_records(run: Run, name: str, version: str) -> Path:
    folder = run.directory / "tfds" / "bonemet_ct" / name / version
    folder.mkdir(parents=True)
    artifacts.write_manifest(folder)
    return folder


def test_records_of_another_config_or_version_are_never_taken(tmp_path: Path) -> None:
    run = Run(tmp_path, Config(name="mine"))
    with pytest.raises(UsageError, match="no records yet"):
        _ = run.records_dir
    _make_records(run, "other", "9.0.0")
    with pytest.raises(UsageError, match="no records yet"):
        _ = run.records_dir
    own = _make_records(run, "mine", "1.0.0")
    assert run.records_dir == own
    _make_records(run, "mine", "2.0.0")
    with pytest.raises(CorruptFileError, match=r"2 versions of the records in one run: 1\.0\.0, 2\.0\.0"):
        _ = run.records_dir
