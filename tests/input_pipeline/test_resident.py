import weakref
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bonemet_jax.input_pipeline import choose
from bonemet_jax.input_pipeline.choose import SourceKeeper
from bonemet_jax.input_pipeline.order import epoch_batches
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.input_pipeline.resident import ResidentSource, put_resident
from bonemet_jax.input_pipeline.source import take_batch


def _records(n: int) -> RecordArrays:
    random = np.random.default_rng(0)
    return RecordArrays(
        patient_id=tuple(f"p{i}" for i in range(n)),
        ct=random.integers(0, 256, (n, 32, 48), np.uint8),
        lbp=random.integers(0, 256, (n, 32, 48, 3), np.uint8),
        hog=random.random((n, 4, 2, 3, 8), np.float32),
        mask=random.integers(0, 2, (n, 32, 48), np.uint8),
        label=random.integers(0, 2, n, np.int32),
    )


def test_a_whole_epoch_inside_scan_equals_numpy() -> None:
    records = _records(7)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    source = ResidentSource(put_resident(records), NamedSharding(mesh, PartitionSpec("data")))
    plan = epoch_batches(7, 3, 0, 0, 0)

    @jax.jit
    def epoch(resident: dict, plan: dict) -> dict:
        return jax.lax.scan(lambda carry, feed: (carry, take_batch(resident, feed)), 0, plan)[1]

    batches = epoch(source.resident, source.stack(plan))
    assert set(batches) == {"ct", "lbp", "hog", "mask", "label", "weight", "flip"}
    for name in ("ct", "lbp", "hog", "mask", "label"):
        stored = getattr(records, name)
        assert batches[name].dtype == stored.dtype
        assert np.array_equal(batches[name], stored[plan.index])
    assert np.array_equal(batches["weight"], plan.weight) and np.array_equal(batches["flip"], plan.flip)


def test_goes_where_the_sharding_says() -> None:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert all(array.sharding == sharding for array in put_resident(_records(2), sharding).values())
    assert set(put_resident(_records(2), sharding, ("ct",))) == {"ct", "label"}


def test_a_cohort_is_kept_until_another_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, content or mode: the old one is gone before the new one is read."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    split, keeper, records = NamedSharding(mesh, PartitionSpec("data")), SourceKeeper(), _records(3)
    make, kept = choose.make_source, []

    def make_when_gone(*args: Any) -> Any:
        assert all(ref() is None for ref in kept)
        return make(*args)

    def ask(mode: Any, records: RecordArrays, names: tuple[str, ...]) -> int:
        source = keeper.get(mode, records, split, names)
        if mode == "resident":
            kept.append(weakref.ref(source.resident["ct"]))
        return id(source)

    monkeypatch.setattr(choose, "make_source", make_when_gone)
    assert ask("resident", records, ("ct",)) == ask("resident", replace(records), ("ct",)), "equal content"
    ask("resident", records, ("ct", "mask"))
    ask("resident", _records(4), ("ct", "mask"))
    ask("stream", records, ("ct",))
    assert all(ref() is None for ref in kept)
