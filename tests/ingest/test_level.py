"""The T11 rule on made-up pixel counts."""

import numpy as np
import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.grid import Grid, find_slice
from data_pipelines.ingest.level import choose_slice


def _grid(*z_mm: float) -> Grid:
    return Grid(10, 10, (1.0, 1.0), (0.0, 0.0), z_mm)


def test_largest_slice_among_those_where_t11_leads() -> None:
    """Slice 1 has more T11, but T12 is larger there."""
    px = {"T11": np.array([0, 9, 5, 7, 2]), "T12": np.array([9, 10, 5, 0, 0])}
    assert choose_slice(_grid(0, 1, 2, 3, 4), "T11", None, px, "x") == (3, [])


def test_end_of_the_volume_is_told() -> None:
    k, notes = choose_slice(_grid(0, 1), "T11", None, {"T11": np.array([1, 2])}, "x")
    assert k == 1
    assert "touches" in notes[0]


def test_one_slice_is_taken_and_told_several_are_not_guessed() -> None:
    k, notes = choose_slice(_grid(12.0), "T11", None, {}, "x")
    assert k == 0
    assert "only slice" in notes[0]
    with pytest.raises(InputDataError, match="--slice-z"):
        choose_slice(_grid(0, 1), "T11", None, {}, "x")


@pytest.mark.parametrize(("z_mm", "k"), [(-1.0, 0), (0.9, 0), (1.1, 1), (5.0, 2)])
def test_nearest_slice(z_mm: float, k: int) -> None:
    assert find_slice(_grid(0, 2, 4), z_mm, "x") == k


@pytest.mark.parametrize("z_mm", [-1.1, 5.1, float("nan"), float("inf")])
def test_positions_off_the_stack_are_refused(z_mm: float) -> None:
    with pytest.raises(InputDataError, match="no slice at z"):
        find_slice(_grid(0, 2, 4), z_mm, "x")
