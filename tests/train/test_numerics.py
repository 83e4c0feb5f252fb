"""What is not finite, in an input, a loss or a gradient: the training stops before the parameters change."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config, InputConfig
from bonemet_jax.errors import NumericsError
from bonemet_jax.input_pipeline.order import EpochPlan
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.input_pipeline.source import Source
from bonemet_jax.train import loop
from bonemet_jax.train.epoch import TrainedEpoch, train_epoch
from bonemet_jax.train.loop import train_folds
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.state import TrainState
from bonemet_jax.train.step import Hyper
from tests.train.runs import load_metrics

Poison = Callable[[Engine, TrainState, Hyper, np.random.Generator], tuple[TrainState, Hyper]]


def _set_kernel(
    name: str, value: float, engine: Engine, state: TrainState, hyper: Hyper, random: np.random.Generator
) -> tuple[TrainState, Hyper]:
    """One weight, or all of the last layer's, with either sign."""
    host = _fetch(state)
    kernel = host.params["net"][name]["kernel"]
    if name == "classes":
        kernel[:] = np.copysign(value, kernel)
    else:
        kernel[(0, *(random.integers(n) for n in kernel.shape[1:]))] = value
    return engine.put(host), hyper


def _set_class_weight(
    value: float, engine: Engine, state: TrainState, hyper: Hyper, _random: np.random.Generator
) -> tuple[TrainState, Hyper]:
    """Of the positives."""
    return state, hyper._replace(class_weight=engine.put(np.array([[1, value]], np.float32)))


def _set_rate(
    engine: Engine, state: TrainState, hyper: Hyper, _random: np.random.Generator
) -> tuple[TrainState, Hyper]:
    """The first update makes weights that overflow in the second step."""
    return state, hyper._replace(lr=engine.put(np.array([3e38], np.float32)))


#: What is poisoned in the state or the settings, before an epoch.
POISONS: dict[str, Poison] = {
    "weight nan": partial(_set_kernel, "conv1", np.nan),
    "weight inf": partial(_set_kernel, "conv1", np.inf),
    "class weight inf": partial(_set_class_weight, np.inf),
    "class weight nan": partial(_set_class_weight, np.nan),
    "rate": _set_rate,
    "gradient": partial(_set_kernel, "classes", 1e36),
}
#: What is poisoned in one patient's image.
IMAGES = {"image nan": np.nan, "image inf": np.inf}
PATHS = ("steps", "stream", "scan")


class _Seen(NamedTuple):
    """An epoch as it was trained."""

    engine: Engine
    source: Source
    before: TrainState
    plan: EpochPlan
    hyper: Hyper
    trained: TrainedEpoch


def _fetch(state: TrainState) -> TrainState:
    return jax.tree.map(np.array, jax.device_get(state))


def _train(
    kind: str, path: str, epoch: int, records: RecordArrays, folds: Folds, config: Config, run_dir: Path,
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch,
) -> tuple[NumericsError, _Seen]:
    """Train with the poison before `epoch`; what was raised, and the epoch that raised it."""
    seen: list[_Seen] = []

    def spy(
        engine: Engine, state: TrainState, source: Source, feeds: Any, plan: EpochPlan, hyper: Hyper, *rest: Any
    ) -> TrainedEpoch:
        if len(seen) + 1 == epoch and kind in POISONS:
            state, hyper = POISONS[kind](engine, state, hyper, random)
        before = _fetch(state)
        trained = train_epoch(engine, state, source, feeds, plan, hyper, *rest)
        seen.append(_Seen(engine, source, before, plan, hyper, trained))
        return trained

    if kind in IMAGES:
        hog, train = records.hog.copy(), folds.patient_ids(0, "train")
        row = records.patient_id.index(train[random.integers(len(train))])
        hog[(row, slice(None), *(random.integers(n) for n in hog.shape[2:]))] = IMAGES[kind]  # however it is flipped
        records = replace(records, hog=hog)
    with monkeypatch.context() as patched, pytest.raises(NumericsError) as told:
        patched.setattr(loop, "train_epoch", spy)
        patched.setattr("bonemet_jax.train.parallel.scans_epochs", lambda _: path == "scan")
        train_folds(records, folds, replace(config, input=InputConfig("stream" if path == "stream" else "auto")),
                    run_dir, (0,))
    return told.value, seen[-1]


def _check_stopped(seen: _Seen, step: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The devices hold what they held before the step: the same epoch without it and all that follow gives that."""
    weight = seen.plan.weight.copy()
    weight[step - 1 :] = 0
    plan = seen.plan._replace(weight=weight)
    with monkeypatch.context() as patched, seen.source.feeds([plan]) as feeds:
        patched.setattr("bonemet_jax.train.parallel.scans_epochs", lambda _: path == "scan")
        wanted = train_epoch(seen.engine, seen.engine.put(seen.before), seen.source, feeds, plan, seen.hyper)
    found, other = (_fetch(epoch.state)._replace(sound=np.array(True)) for epoch in (seen.trained, wanted))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*map(jax.tree.leaves, (found, other)), strict=True))
    assert int(found.step[0]) == int(seen.before.step[0]) + step - 1


def _find_wanted(kind: str, seen: _Seen, records: RecordArrays, told: set[str]) -> tuple[int, set[str]]:
    """The step that must be named, counted from 1, and its patients."""
    index, weight = seen.plan.index[:, 0], seen.plan.weight[:, 0] > 0
    names = np.array([[artifacts.sha256_text(records.patient_id[row])[:12] for row in rows] for rows in index])
    if kind in IMAGES:
        return int((weight & np.isin(names, list(told))).any(1).argmax()) + 1, told
    guilty = weight & ((records.label[index] == 1) | (not kind.startswith("class weight")))
    step = 1 if kind == "rate" else int(guilty.any(1).argmax())
    return step + 1, set(names[step][guilty[step]])


@pytest.mark.parametrize("n", [8, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.every_change
def test_stops_before_the_parameters_change(
    n: int, records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds, stopped = [*IMAGES, *POISONS], []
    for trial in range(n):
        kind, path = kinds[trial % len(kinds)], PATHS[trial % len(PATHS)]
        random, run_dir = np.random.default_rng(trial), tmp_path / f"{trial}"
        epoch = 1 if kind in IMAGES else int(random.integers(1, 4))
        error, seen = _train(kind, path, epoch, records, folds, config, run_dir, random, monkeypatch)
        found = re.fullmatch(
            r"a training loss, gradient or input is not finite; fold 0, epoch (\d), step (\d), patients whose id's "
            r"sha256 begins with ([0-9a-f]{12}(?:, [0-9a-f]{12})*); lower optim\.lr, .*", str(error),
        )
        assert found is not None, (kind, path, str(error))
        told = set(found[3].split(", "))
        step, patients = _find_wanted(kind, seen, records, told)
        assert (int(found[1]), int(found[2])) == (epoch, step) and told == patients, (kind, path, str(error))
        assert kind not in IMAGES or len(told) == 1
        assert error.exit_code == 6
        _check_stopped(seen, step, path, monkeypatch)
        saved = {p.name for p in (run_dir / "fold_0" / "checkpoints").glob("[0-9]*")}
        assert saved == {str(e) for e in range(1, epoch)} and len(load_metrics(run_dir)) == epoch - 1
        stopped.append(f"{kind} ({path})")
    print(f"{len(stopped)}/{n} values that are not finite stopped the training before the parameters changed, epoch, "
          f"step and patients named, exit 6: {', '.join(sorted(set(stopped)))}")


@pytest.mark.every_change
def test_the_gradient_alone_is_enough(
    records: RecordArrays, folds: Folds, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs and loss are finite, the gradient overflows."""
    random = np.random.default_rng(0)
    _, seen = _train("gradient", "steps", 1, records, folds, config, tmp_path, random, monkeypatch)
    first = jax.device_get(seen.trained.metrics[0])
    assert np.isfinite(first.loss_sum).all() and not first.unsound.any() and not first.sound.any()
