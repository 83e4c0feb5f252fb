"""Sizes, stratification, no leakage, and a file that is obeyed or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonemet_jax import artifacts
from bonemet_jax.cohort.folds import Folds, load_folds, make_folds, save_folds
from bonemet_jax.config import FoldsConfig
from bonemet_jax.errors import CorruptFileError, InputDataError, LeakageError


def _paper() -> tuple[list[str], list[int]]:
    return [f"P{i:06d}" for i in range(431)], [1] * 52 + [0] * 379


def _positives(ids: list[str]) -> int:
    return sum(int(p[1:]) < 52 for p in ids)


def test_sizes_of_the_paper() -> None:
    folds = make_folds(*_paper(), FoldsConfig())
    sizes = [[len(folds.patient_ids(k, s)) for s in ("train", "val", "test")] for k in range(folds.n_folds)]
    assert sizes == [[230, 57, 144], [230, 57, 144], [230, 58, 143]]
    assert sorted(_positives(folds.patient_ids(k, "test")) for k in range(3)) == [17, 17, 18]
    assert {_positives(folds.patient_ids(k, "val")) for k in range(3)} == {7}
    assert sum(size[0] for size in sizes) == 690  # the pooled train rows of paper.md


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 40), st.integers(2, 60), st.integers(2, 6), st.integers(0, 99), st.floats(0.05, 0.5))
def test_any_cohort_is_dealt_without_leakage(n_pos: int, n_neg: int, k: int, seed: int, fraction: float) -> None:
    if n_pos + n_neg < k:
        return
    ids = [f"P{i}" for i in range(n_pos + n_neg)]
    labels = [1] * n_pos + [0] * n_neg
    folds = make_folds(ids, labels, FoldsConfig(k, seed, fraction))
    tested = [p for fold in range(k) for p in folds.patient_ids(fold, "test")]
    assert sorted(tested) == sorted(ids)
    for fold in range(k):
        parts = {s: set(folds.patient_ids(fold, s)) for s in ("train", "val", "test")}
        assert sum(map(len, parts.values())) == len(ids) and set().union(*parts.values()) == set(ids)
        n_rest = len(parts["train"]) + len(parts["val"])
        assert abs(len(parts["val"]) - fraction * n_rest) <= 2.5
        assert abs(len(parts["test"]) - len(ids) / k) < 1
        assert abs(sum(p in parts["test"] for p in ids[:n_pos]) - n_pos / k) < 1


def test_row_order_and_only_row_order_is_forgotten() -> None:
    ids, labels = _paper()
    order = np.random.default_rng(3).permutation(len(ids))
    shuffled = make_folds([ids[i] for i in order], [labels[i] for i in order], FoldsConfig())
    assert shuffled == make_folds(ids, labels, FoldsConfig())
    assert shuffled != make_folds(ids, labels, FoldsConfig(seed=1))


def test_round_trip_and_bytes(tmp_path: Path) -> None:
    folds = make_folds(*_paper(), FoldsConfig())
    save_folds(tmp_path / "a.json", folds)
    save_folds(tmp_path / "b.json", folds)
    assert load_folds(tmp_path / "a.json", _paper()[0]) == folds
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    value = json.loads((tmp_path / "a.json").read_bytes())
    first = value["patients"]["P000000"]
    assert first["splits"][first["test_fold"]] == "test" and value["n_folds"] == 3 and value["seed"] == 0


def test_one_class_or_repeated_ids_are_refused() -> None:
    with pytest.raises(InputDataError, match="1 patients with"):
        make_folds(["a", "b", "c"], [1, 0, 0], FoldsConfig())
    with pytest.raises(InputDataError, match="given twice"):
        make_folds(["a", "a", "b", "c"], [1, 1, 0, 0], FoldsConfig())


def test_leakage_is_refused(tmp_path: Path) -> None:
    for splits in (("test", "test", "train"), ("train", "val", "train")):
        with pytest.raises(LeakageError):
            Folds(0, {"a": ("test", "train", "val"), "b": splits})
    folds = make_folds(*_paper(), FoldsConfig())
    with pytest.raises(LeakageError):
        folds.split_of("nobody", 0)
    save_folds(tmp_path / "folds.json", folds)
    with pytest.raises(LeakageError) as caught:
        load_folds(tmp_path / "folds.json", [*_paper()[0], "one more"])
    assert caught.value.exit_code == 7


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    save_folds(path, make_folds([f"P{i}" for i in range(12)], [1, 0, 0] * 4, FoldsConfig()))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(CorruptFileError):
            load_folds(path)
    for length in rng.integers(0, len(whole) - 2, 20):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError):
            load_folds(path)


@pytest.mark.parametrize("value", [[], {"seed": 0}, {"seed": 0, "n_folds": 3, "patients": {}, "sha256": "0"}])
def test_other_json_is_refused(tmp_path: Path, value: object) -> None:
    artifacts.write_json(tmp_path / "folds.json", value)
    with pytest.raises(CorruptFileError):
        load_folds(tmp_path / "folds.json")
