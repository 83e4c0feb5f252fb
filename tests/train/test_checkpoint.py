"""The store alone: what is kept, what is swept, what counts as saved, what is found damaged."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError, DiskError
from bonemet_jax.train.checkpoint import NO_PART, CheckpointStore, Part, Place, restore_common
from bonemet_jax.train.state import TrainState


def _state(value: float) -> TrainState:
    state = TrainState(jnp.int32(value), jnp.bool(True), {"w": jnp.full((64,), value)}, {}, {"m": jnp.zeros(3)})
    return jax.device_get(state)


def _template() -> TrainState:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), _state(0))


def _save(store: CheckpointStore, epoch: int, val_auc: float | None = 0.5) -> None:
    store.save(epoch, _state(epoch), val_auc)
    store.finish()


def test_keeps_the_two_newest_and_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "k")
    for epoch, auc in enumerate([0.6, 0.9, 0.9, None, 0.7], start=1):
        store.save(epoch, _state(epoch), auc)
    assert store.epochs() == [2, 4, 5] and store.best_epoch() == 2
    again = CheckpointStore(tmp_path, "k")
    place, states, parts = restore_common([again], _template(), 9)
    assert place == (5, 0) and parts == [NO_PART]
    np.testing.assert_array_equal(states[0].params["w"], np.full(64, 5))


def test_keeps_every_so_many_for_good(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "k", keep_epochs=3)
    for epoch in range(1, 9):
        store.save(epoch, _state(epoch), 1 / epoch)
    assert store.epochs() == [1, 3, 6, 7, 8]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "3", "6", "7", "8", "manifest.json"]


def test_an_epoch_broken_off_goes_with_the_next_save(tmp_path: Path) -> None:
    store, part, place = CheckpointStore(tmp_path, "k"), Part([0.1, 1 / 3], [4.0, 2.0], 1.5), Place(1, 2)
    store.save(1, _state(1), 0.5)
    store.save_part(place, _state(7), part)
    assert store.epochs() == [1] and store.best_epoch() == 1 and store.places() == [Place(1), place]
    again = CheckpointStore(tmp_path, "k")
    found, states, parts = restore_common([again], _template(), 9)
    assert (found, parts) == (place, [part]) and states[0].step == 7
    again.save(2, _state(2), 0.4)
    assert again.places() == [Place(1), Place(2)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "manifest.json"]


def test_steps_outside_the_manifest_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _save(CheckpointStore(tmp_path, "k"), 1)
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "3").mkdir()
    (tmp_path / ".manifest.partial.json").touch()
    again = CheckpointStore(tmp_path, "k")
    assert again.epochs() == [1]
    assert restore_common([again], _template(), 9).place == (1, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "manifest.json"]
    assert f"left in {tmp_path}: .manifest.partial.json, 2.orbax-checkpoint-tmp, 3" in capsys.readouterr().err


def test_a_save_counts_once_it_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on beside the training; its failure is told at the next call."""
    hashed, going = artifacts.sha256_file, []

    def spy(path: Path) -> str:
        going.append(json.loads((tmp_path / "manifest.json").read_text())["epochs"].keys())
        return hashed(path)

    store = CheckpointStore(tmp_path, "k")
    _save(store, 1)
    monkeypatch.setattr(artifacts, "sha256_file", spy)
    store.save(2, _state(2), 0.5)
    assert store.epochs() == [1, 2] and all(set(names) == {"1"} for names in going)
    n_files = len([f for f in (tmp_path / "2").rglob("*") if f.is_file()])
    assert len(going) == n_files, "each file is read once"

    def fail(_path: Path) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "sha256_file", fail)
    store.save(3, _state(3), 0.5)
    with pytest.raises(DiskError, match="No space left"):
        store.check_space(_state(3))
    monkeypatch.setattr(artifacts, "sha256_file", hashed)
    assert CheckpointStore(tmp_path, "k").find_sound() == [(2, 0), (1, 0)]


def test_nothing_sound_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = CheckpointStore(tmp_path, "k")
    _save(store, 1)
    next(f for f in (tmp_path / "1").rglob("*") if f.is_file()).unlink()
    with pytest.raises(CorruptFileError, match="missing"):
        store.restore(1, _template())
    assert restore_common([store], _template(), 9) == (Place(0), [], [NO_PART])
    assert "epoch 1 is damaged" in capsys.readouterr().err and not (tmp_path / "1").exists()


def test_members_go_back_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores = [CheckpointStore(tmp_path / name, name) for name in "ab"]
    for store in stores:
        for epoch in (1, 2):
            _save(store, epoch)
        store.save_part(Place(2, 3), _state(9), NO_PART)
        store.finish()
    _flip(max((tmp_path / "b" / "2+3").rglob("d/*"), key=lambda f: f.stat().st_size), 8)
    place, states, _ = restore_common(stores, _template(), 9)
    assert place == (2, 0) and [state.step for state in states] == [2, 2]
    assert "epoch 2, step 3 is damaged" in capsys.readouterr().err
    assert [store.places() for store in stores] == [[(1, 0), (2, 0)]] * 2
    assert not (tmp_path / "a" / "2+3").exists()


def test_going_on_from_another_jax_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = jax.__version__
    for version, told in ((here, False), ("0.0.1", True)):
        monkeypatch.setattr(jax, "__version__", version)
        store = CheckpointStore(tmp_path / version, "k")
        _save(store, 1)
        monkeypatch.undo()
        assert restore_common([store], _template(), 9).place == (1, 0)
        note = f"was computed by jax {version} and goes on with {here}: sound, but not equal bit for bit"
        assert (note in capsys.readouterr().err) is told


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    _save(CheckpointStore(tmp_path, "k"), 1)
    assert CheckpointStore(tmp_path, "other").epochs() == []


def test_damaged_manifest_is_named(tmp_path: Path) -> None:
    _save(CheckpointStore(tmp_path, "k"), 1)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(CorruptFileError, match=r"manifest\.json"):
        CheckpointStore(tmp_path, "k")
    manifest.write_text(json.dumps({"epochs": 3}))
    with pytest.raises(CorruptFileError, match=r"manifest\.json"):
        CheckpointStore(tmp_path, "k")


def _flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


@pytest.mark.parametrize(("n_flips", "n_cuts"), [(13, 7), pytest.param(200, 100, marks=pytest.mark.slow)])
def test_every_flip_and_truncation_is_named(n_flips: int, n_cuts: int, tmp_path: Path) -> None:
    """Over all files of a store, the manifest among them: refused by the name of the file, nothing loaded silently."""
    random = np.random.default_rng(n_flips)
    whole = tmp_path / "whole"
    for epoch in (1, 2):
        _save(CheckpointStore(whole, "k"), epoch)
    files = sorted(f.relative_to(whole) for f in whole.rglob("*") if f.is_file() and f.stat().st_size)
    named = 0
    for trial in range(n_flips + n_cuts):
        copy = shutil.copytree(whole, tmp_path / "copy")
        file = copy / files[random.integers(len(files))]
        size = file.stat().st_size
        if trial < n_flips:
            _flip(file, int(random.integers(8 * size)))
        else:
            file.write_bytes(file.read_bytes()[: int(random.integers(size))])
        with pytest.raises(CorruptFileError) as told:
            store = CheckpointStore(copy, "k")
            for epoch in store.epochs():
                store.restore(epoch, _template())
        named += str(file) in str(told.value)
        shutil.rmtree(copy)
    print(f"{named}/{n_flips + n_cuts} damaged checkpoint files named ({n_flips} flips, {n_cuts} truncations)")
    assert named == n_flips + n_cuts


