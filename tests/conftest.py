"""Fixtures every room may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real CT and reference results; absent for users, who then see the skip and its reason."""
    path = Path(os.environ.get("BONEMET_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"real data and reference results not found at {path} (set BONEMET_SHARED)")
    return path
