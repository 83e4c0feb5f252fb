"""Fixtures of the networks' tests."""

from collections.abc import Iterator

import jax
import pytest

from bonemet_jax.models.resnet import DEPTHS

from .equality import SHORT


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The network `tiny` is SHORT, and float64 exists."""
    monkeypatch.setitem(DEPTHS, "tiny", SHORT)
    with jax.enable_x64(True):
        yield
