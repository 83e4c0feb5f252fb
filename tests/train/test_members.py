"""Waves: which members train side by side."""

from pathlib import Path
from typing import Any

import pytest

from bonemet_jax.config import Config
from bonemet_jax.train.members import Member, count_side_by_side, make_waves


@pytest.mark.parametrize(("folds", "n_members", "n_devices", "sizes"), [
    ("sequential", 3, 8, [1, 1, 1]), ("vmap", 3, 1, [3]), ("mesh", 3, 2, [1, 1, 1]), ("mesh", 3, 8, [3]),
    ("mesh", 6, 4, [3, 3]), ("mesh", 4, 2, [2, 2]), ("mesh", 0, 8, []), ("vmap", 0, 8, []),
])  # fmt: skip
def test_waves_are_of_one_size_and_keep_the_order(folds: Any, n_members: int, n_devices: int, sizes: list[int]) -> None:
    waves = make_waves(range(n_members), count_side_by_side(n_members, n_devices, folds))
    assert [len(wave) for wave in waves] == sizes
    assert [member for wave in waves for member in wave] == list(range(n_members))


def test_a_variant_is_named(config: Config) -> None:
    assert Member(1, config, Path("r")).name == "fold 1"
    assert Member(1, config, Path("r"), "seed 2 lr 0.1").name == "seed 2 lr 0.1 fold 1"
