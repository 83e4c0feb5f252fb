"""Nothing travels between host and devices while steps run, and nothing is compiled twice."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax._src.array import ArrayImpl

from bonemet_jax import hosts
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config, InputConfig
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.readout.embeddings import embed
from bonemet_jax.train import loop
from bonemet_jax.train.loop import get_engine, get_fed_engine, train_folds

#: Every way from a device's array to the host's memory.
_FETCHES = ("_value", "__array__", "__dlpack__", "__float__", "__int__", "__bool__", "__index__", "item", "tolist")


class FetchedError(Exception):
    """An array was read."""


def _refuse_devices(make: Callable[..., Any], value: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(value, jax.Array):
        raise FetchedError
    return make(value, *args, **kwargs)


@contextlib.contextmanager
def _nothing_is_fetched() -> Iterator[None]:
    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        raise FetchedError

    with pytest.MonkeyPatch.context() as patched:
        for name in ("asarray", "array"):  # these read the memory itself
            patched.setattr(np, name, partial(_refuse_devices, getattr(np, name)))
        for name in _FETCHES:
            patched.setattr(ArrayImpl, name, property(refuse) if name == "_value" else refuse)
        yield


@pytest.mark.parametrize(
    "fetch",
    [float, int, bool, lambda x: np.asarray(x), lambda x: np.array(x), jax.device_get, str, lambda x: x.item(),
     lambda x: x.tolist()],
)  # fmt: skip
def test_fetches_are_seen(fetch: Callable[[Any], Any]) -> None:
    x = jax.numpy.ones(())
    with _nothing_is_fetched(), pytest.raises(FetchedError):
        fetch(x)
    fetch(x)


@pytest.mark.parametrize("mode", ["auto", "stream"])
@pytest.mark.every_change
def test_steps_fetch_nothing(
    mode: Any, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under both guards: jax's own, which also sees what is sent, and arrays that refuse to be read."""
    fetched: list[int] = []
    fetch, called = hosts.fetch, []

    def count(tree: Any) -> Any:
        fetched.append(len(called))
        return fetch(tree)

    def guard(name: str) -> Callable[..., Any]:
        run = getattr(loop, name)

        def guarded(*args: Any) -> Any:
            called.append(name)
            with pytest.raises(Exception, match="Disallowed host-to-device"):
                jax.numpy.ones(2) + np.ones(2)
            with _nothing_is_fetched():
                return run(*args)

        return guarded

    for name in ("train_epoch", "evaluate"):
        monkeypatch.setattr(loop, name, guard(name))
    monkeypatch.setattr(hosts, "fetch", count)
    train_folds(records, folds, replace(config, input=InputConfig(mode)), tmp_path, (0,))
    assert called == ["train_epoch", "evaluate"] * 4
    assert fetched == [2, 2, 2, 4, 4, 4, 6, 6, 6, 8, 8, 8], "sums, evaluation and state of each epoch, once"


@pytest.mark.every_change
def test_one_compilation_each_in_training_and_embedding(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folds trained and embedded: one trace of train, one of evaluate, and from the second epoch on none at all."""
    get_engine.cache_clear()
    run_epoch, compiled, by_epoch = loop._Wave._run_epoch, [], []
    jax.monitoring.register_event_duration_secs_listener(
        listener := lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )

    def spy(self: Any, *args: Any) -> Any:
        before = len(compiled)
        done = run_epoch(self, *args)
        by_epoch.append(len(compiled) - before)
        return done

    monkeypatch.setattr(loop._Wave, "_run_epoch", spy)
    try:
        train_folds(records, folds, config, tmp_path)
        for fold in (0, 1):
            embed(records, config, tmp_path, [fold])
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    engine = get_fed_engine(records, config).engine
    assert {name: program.n_traces for name, program in engine.programs().items()} == {"train": 1, "evaluate": 1}
    assert get_engine.cache_info().misses == 1
    assert by_epoch[0] > 0 and by_epoch[1:] == [0] * 7
