"""A small synthetic cohort, and a place to break copies of it."""

import shutil
from pathlib import Path

import pytest

from bonemet_jax.config import PhantomConfig
from data_pipelines.phantom import make_cohort


@pytest.fixture(scope="session")
def sound_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve phantoms of 112 x 144 pixels of 3 mm. Read only."""
    directory = tmp_path_factory.mktemp("sound") / "cohort"
    make_cohort(PhantomConfig(n=12, height=112, width=144, spacing_mm=3.0), directory)
    return directory


@pytest.fixture
def cohort(sound_cohort: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    shutil.copytree(sound_cohort, tmp_path / "cohort")
    return tmp_path / "cohort"
