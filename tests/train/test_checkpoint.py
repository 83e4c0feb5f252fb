"""The store alone: what is kept, what is swept, what counts as saved."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.errors import CorruptFileError
from bonemet_jax.train.checkpoint import CheckpointStore, restore_common
from bonemet_jax.train.state import TrainState


def _state(value: float) -> TrainState:
    return TrainState(jnp.int32(value), jnp.bool(True), {"w": jnp.full((3,), value)}, {}, {"m": jnp.zeros(3)})


def _template() -> TrainState:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), _state(0))


def test_keeps_the_two_newest_and_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "k")
    for epoch, auc in enumerate([0.6, 0.9, 0.9, None, 0.7], start=1):
        store.save(epoch, _state(epoch), auc)
    assert store.epochs() == [2, 4, 5] and store.best_epoch() == 2
    again = CheckpointStore(tmp_path, "k")
    epoch, states = restore_common([again], _template())
    assert epoch == 5
    np.testing.assert_array_equal(states[0].params["w"], [5, 5, 5])


def test_steps_outside_the_manifest_do_not_count(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "k")
    store.save(1, _state(1), 0.5)
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "3").mkdir()
    assert CheckpointStore(tmp_path, "k").epochs() == [1]
    store.save(2, _state(2), 0.5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "manifest.json"]


def test_nothing_sound_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = CheckpointStore(tmp_path, "k")
    store.save(1, _state(1), 0.5)
    next(f for f in (tmp_path / "1").rglob("*") if f.is_file()).unlink()
    with pytest.raises(CorruptFileError, match="missing"):
        store.restore(1, _template())
    assert restore_common([store], _template()) == (0, [])
    assert "epoch 1 is damaged" in capsys.readouterr().err and not (tmp_path / "1").exists()


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, "k").save(1, _state(1), 0.5)
    assert CheckpointStore(tmp_path, "other").epochs() == []


def test_damaged_manifest_is_named(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, "k").save(1, _state(1), 0.5)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(CorruptFileError, match=r"manifest\.json"):
        CheckpointStore(tmp_path, "k")
    manifest.write_text(json.dumps({"epochs": 3}))
    with pytest.raises(CorruptFileError, match=r"manifest\.json"):
        CheckpointStore(tmp_path, "k")
