"""The T11 rule on made-up pixel counts."""

import numpy as np
import pytest

from bonemet_jax.cli import measured
from bonemet_jax.errors import InputDataError
from data_pipelines.ingest.grid import Grid, find_slice
from data_pipelines.ingest.level import choose_slice, describe_level


def _grid(*z_mm: float) -> Grid:
    return Grid(10, 10, (1.0, 1.0), (0.0, 0.0), z_mm)


FIVE = _grid(0, 1, 2, 3, 4)
PX = {"T11": np.array([0, 9, 5, 7, 2]), "T12": np.array([9, 10, 5, 0, 0])}


def test_largest_slice_among_those_where_t11_leads() -> None:
    """Slice 1 has more T11, but T12 is larger there."""
    assert choose_slice(FIVE, "T11", None, None, PX, "x") == (3, [])


def test_given_position_and_number_win_over_labels() -> None:
    assert choose_slice(FIVE, "T11", 1.2, None, PX, "x")[0] == 1
    assert choose_slice(FIVE, "T11", None, 4, PX, "x") == (4, [])
    assert choose_slice(FIVE, "T11", None, 0, {}, "x") == (0, [])


@pytest.mark.parametrize("index", [-1, 5])
def test_numbers_off_the_stack_are_refused(index: int) -> None:
    with pytest.raises(InputDataError, match=rf"slice {index} of 5.*use 0 to 4") as refusal:
        choose_slice(FIVE, "T11", None, index, PX, "x")
    assert refusal.value.code == "level-no-slice"


@pytest.mark.parametrize(("px", "k"), [([1, 2], 1), ([2, 1], 0)])
def test_end_of_the_volume_is_told(px: list[int], k: int) -> None:
    chosen, notes = choose_slice(_grid(0, 1), "T11", None, None, {"T11": np.array(px)}, "x")
    assert chosen == k
    assert [note.code for note in notes] == ["level-at-end"]
    assert "touches" in str(notes[0])


def test_level_that_is_not_in_the_volume_is_refused() -> None:
    nothing = {"T11": np.zeros(5, int), "T12": np.array([1, 2, 3, 0, 0])}
    with pytest.raises(InputDataError, match=r"T11 is not in the volume.*neighbours: T12") as refusal:
        choose_slice(FIVE, "T11", None, None, nothing, "x")
    assert refusal.value.code == "level-missing"
    with pytest.raises(InputDataError, match=r"levels in this map: T12, L5; labels of VISTA3D"):
        choose_slice(FIVE, "T11", None, None, {"T12": nothing["T12"]}, "x", "VISTA3D", ("T12", "L5"))


def test_edge_of_a_level_names_the_level_that_is_measured_there() -> None:
    """On slices 0 and 1 T12 is larger; with --level T12 the remedy gives a slice without a warning."""
    px = {"T11": np.array([1, 2, 0, 0, 0]), "T12": np.array([8, 9, 5, 0, 0])}
    with pytest.raises(InputDataError, match="holds all of T11, or --level T12") as refusal:
        choose_slice(FIVE, "T11", None, None, px, "x")
    assert refusal.value.code == "level-edge"
    assert choose_slice(FIVE, "T12", None, None, px, "x") == (1, [])


@pytest.mark.parametrize(
    ("source", "codes", "expected"),
    [("labels", (), "T11"), ("given", (), "T11 as given"), ("given", ("slice-only",), "T11 assumed"),
     ("given", ("field-touched", "level-differs"), "T11 as given, labels differ")],
)  # fmt: skip
def test_how_the_level_is_known(source: str, codes: tuple[str, ...], expected: str) -> None:
    assert describe_level("T11", source, codes) == expected
    assert measured.describe_level({"level": "T11", "level_source": source, "flags": codes}) == expected


@pytest.mark.parametrize(("k", "fact"), [(0, "labels put T12 there"), (4, "no label of T11"), (2, "")])
def test_slice_chosen_by_hand_is_held_against_the_labels(k: int, fact: str) -> None:
    px = {"T11": np.array([1, 2, 9, 3, 0]), "T12": np.array([8, 5, 0, 0, 0])}
    chosen, notes = choose_slice(FIVE, "T11", None, k, px, "x")
    assert chosen == k
    assert [note.code for note in notes] == (["level-differs"] if fact else [])
    assert all(fact in note.fact for note in notes)


def test_level_of_which_only_an_edge_is_in_the_volume_is_refused() -> None:
    edge = {"T11": np.array([0, 0, 0, 1, 2]), "T12": np.array([9, 9, 9, 8, 7])}
    with pytest.raises(InputDataError, match="only the edge of T11") as refusal:
        choose_slice(FIVE, "T11", None, None, edge, "x")
    assert refusal.value.code == "level-edge"


def test_one_slice_is_taken_and_told_several_are_not_guessed() -> None:
    k, notes = choose_slice(_grid(12.0), "T11", None, None, {}, "x")
    assert k == 0
    assert "only slice (z 12 mm)" in str(notes[0])
    with pytest.raises(InputDataError, match="--slice-z") as refusal:
        choose_slice(_grid(0, 1), "T11", None, None, {}, "x")
    assert refusal.value.code == "level-unknown"


@pytest.mark.parametrize(("z_mm", "k"), [(-1.0, 0), (0.9, 0), (1.1, 1), (5.0, 2)])
def test_nearest_slice(z_mm: float, k: int) -> None:
    assert find_slice(_grid(0, 2, 4), z_mm, "x") == k


@pytest.mark.parametrize("z_mm", [20.0, 44.0, 90.0, 119.0])
def test_nothing_is_measured_across_a_gap(z_mm: float) -> None:
    with pytest.raises(InputDataError, match="no slice at z"):
        find_slice(_grid(0, 5, 10, 80, 85), z_mm, "x")


@pytest.mark.parametrize("z_mm", [-1.1, 5.1, float("nan"), float("inf")])
def test_positions_off_the_stack_are_refused(z_mm: float) -> None:
    with pytest.raises(InputDataError, match="no slice at z") as refusal:
        find_slice(_grid(0, 2, 4), z_mm, "x")
    assert refusal.value.code == "level-no-slice"
