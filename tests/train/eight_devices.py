"""Run by test_parallel in a process with eight virtual devices: one JSON line a check, figures to be judged there."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from benchmarks.compiled.collectives import find_collectives
from benchmarks.compiled.hlo import read_module
from bonemet_jax.config import Config, ModelConfig, OptimConfig, RecordsConfig, TrainConfig
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import EpochPlan, epoch_batches, eval_batches
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.program import FOLD
from bonemet_jax.train.step import needed_arrays

BASE = Config(
    "eight", records=RecordsConfig(height=64, width=80), model=ModelConfig(network="tiny"),
    optim=OptimConfig(lr=1e-3, schedule="cosine"), train=TrainConfig(batch_size=8, epochs=2),
)  # fmt: skip
RECORDS = make_random_records(40, 64, 80)
N_DEVICES = 8


@dataclass(frozen=True)
class Training:
    """What one member's first epoch is made of; members differ in all of it."""

    seed: int = 0
    fold: int = 0
    lr: float = 1e-3
    n: int = 20
    class_weight: tuple[float, float] = (1.0, 1.0)

    def plan(self, batch_size: int) -> EpochPlan:
        """Its batches."""
        return epoch_batches(self.n, batch_size, self.seed, self.fold, 1)


@dataclass
class Trained:
    """What an epoch left: of each member its first gradients, its updates, its statistics; and the program."""

    engine: Engine
    gradients: list[Any] = field(default_factory=list)
    updates: list[Any] = field(default_factory=list)
    statistics: list[Any] = field(default_factory=list)
    state: Any = None


#: Another seed, fold, rate and weight, and a step less.
MEMBERS = (Training(), Training(3, 1, 1e-2, 13, (0.5, 2.0)))


def vary(config: Config, dtype: str = "float64", norm: str = "sync", **engine: Any) -> Config:
    """The config in another dtype, with other statistics, otherwise spread."""
    model = replace(config.model, compute_dtype=dtype, norm=norm)  # type: ignore[arg-type]
    return replace(config, model=model, engine=replace(config.engine, **engine))


def train(engine: Engine, members: Sequence[Training], plans: Sequence[EpochPlan], scan: bool = False) -> Trained:
    """The steps of these plans, from the members' first states."""
    source = make_source("resident", RECORDS, engine.split, needed_arrays(engine._config))
    plan = engine.arrange(plans)
    hyper = engine.put_hyper(
        [m.lr for m in members], [len(p.index) for p in plans], [np.array(m.class_weight) for m in members]
    )
    state = engine.make_state([(m.seed, m.fold) for m in members])
    before, found = engine.fetch_states(state), Trained(engine)
    if scan:
        state, _ = engine.train_epoch(state, source.resident, source.stack(plan), hyper)  # type: ignore[attr-defined]
    else:
        with source.feeds([plan]) as feeds:
            for step, feed in enumerate(feeds):
                with jax.transfer_guard("disallow"):
                    state, _ = engine.train(state, source.resident, feed, hyper)
                if step == 0:  # Adam's first moment holds a tenth of the first gradient
                    found.gradients = [s.opt_state.mu for s in engine.fetch_states(state)]
    after = engine.fetch_states(state)
    found.updates = [jax.tree.map(np.subtract, a.params, b.params) for a, b in zip(after, before, strict=True)]
    found.statistics = [a.batch_stats for a in after]
    found.state = state
    return found


def train_epoch(config: Config, members: Sequence[Training] = MEMBERS[:1], n_devices: int = N_DEVICES,
                scan: bool = False) -> Trained:  # fmt: skip
    """One epoch of these members side by side."""
    engine = Engine(config, len(members), jax.devices()[:n_devices])
    return train(engine, members, [m.plan(config.train.batch_size) for m in members], scan)


def difference(got: Any, want: Any) -> float:
    """Largest difference of two trees, in units of each tensor's largest value."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs if np.abs(b).max() > 0)


def compare(got: Trained, want: Trained) -> dict[str, float]:
    """Differences of gradients (not known where the epoch was one program), updates and statistics."""
    names = ("gradients", "updates", "statistics")
    return {name: difference(getattr(got, name), getattr(want, name)) for name in names if getattr(got, name)}


def describe(engine: Engine, scan: bool = False) -> dict[str, Any]:
    """Traces, donation and collectives of the training program."""
    program = engine.train_epoch if scan else engine.train
    found = find_collectives(read_module(program.compiled.as_text()))
    state, mesh = jax.tree.leaves(engine.state_template()), engine.spread.mesh
    return {
        "n_traces": program.n_traces,
        "alias_bytes": program.compiled.memory_analysis().alias_size_in_bytes,
        "state_bytes": sum(x.size * x.dtype.itemsize for x in state) * engine.n_members // mesh.shape[FOLD],
        "collectives": Counter("/".join((c.kind, *c.dtypes)) for c in found),
        "bytes": sum(c.n_bytes for c in found),
        "bytes_by_dtype": {d: sum(c.n_bytes for c in found if c.dtypes == (d,)) for c in found for d in c.dtypes},
        "groups": sorted({tuple(sorted(g)) for c in found for g in c.groups}),
    }


def say(check: str, **figures: Any) -> None:
    """One line."""
    print(json.dumps({"check": check} | figures), flush=True)


def check_wrappers(config: Config, scans: Sequence[str], ways: Sequence[tuple[str, str, int]]) -> None:
    """Every wrapper on eight devices, and members in one program, against one after another by jit on one device."""
    engine = Engine(vary(config), 1, jax.devices()[:1])
    alone = [train(engine, [m], [m.plan(config.train.batch_size)]) for m in MEMBERS]
    assert engine.train.n_traces == 1
    names = ("gradients", "updates", "statistics")
    both = Trained(engine, *([getattr(a, name)[0] for a in alone] for name in names))
    for parallel in ("jit", "shard_map", "pmap"):
        check(f"wrapper {parallel}", alone[0], vary(config, parallel=parallel))
    for parallel in scans:
        check(f"scan {parallel}", alone[0], vary(config, parallel=parallel), scan=True)
    for parallel, folds, n_devices in ways:
        way = f"folds {parallel} {folds} {n_devices}"
        check(way, both, vary(config, parallel=parallel, folds=folds), members=MEMBERS, n_devices=n_devices)


def check(name: str, want: Trained, config: Config, scan: bool = False, **how: Any) -> None:
    """One epoch against the one wanted; nothing of it stays on the devices."""
    got = train_epoch(config, scan=scan, **how)
    say(name, **compare(got, want), **describe(got.engine, scan))


def check_remainder(n_devices: int) -> None:
    """The last step of 230 examples at batch 64 against exactly its 38 examples, those on one device."""
    plan = epoch_batches(230, 64, 0, 0, 1)
    counted = plan.index[plan.weight > 0]
    last = EpochPlan(*(part[-1:] for part in plan))
    last = last._replace(index=(last.index % len(RECORDS.label)).astype(np.int32))
    real = last.weight[0] > 0
    exact = EpochPlan(*(part[:, real] for part in last))

    def gradient(batch_size: int, n_devices: int, plan: EpochPlan) -> Any:
        config = vary(replace(BASE, train=replace(BASE.train, batch_size=batch_size)))
        return train(Engine(config, 1, jax.devices()[:n_devices]), MEMBERS[:1], [plan]).gradients

    want = gradient(38, 1, exact)
    say(f"remainder {n_devices}", n=int(real.sum()), each_once=sorted(counted.tolist()) == list(range(230)),
        evaluated_once=_evaluated(), gradients=difference(gradient(64, n_devices, last), want))


def _evaluated() -> bool:
    plan = eval_batches(230, 64)
    return plan.index[plan.weight > 0].tolist() == list(range(230))


def check_statistics(parallel: str) -> None:
    """Local and frozen statistics: which collectives are left, and whether devices agree on what is saved."""
    for norm in ("local", "frozen"):
        got = train_epoch(vary(BASE, "float32", norm, parallel=parallel))
        shards = [[np.asarray(s.data) for s in leaf.addressable_shards] for leaf in jax.tree.leaves(got.state)]
        equal = all(len(part) == N_DEVICES and all(np.array_equal(part[0], other) for other in part)
                    for part in shards)  # fmt: skip
        moved = any(bool(np.any(leaf != start)) for leaf, start in zip(
            jax.tree.leaves(got.statistics[0]),
            jax.tree.leaves(got.engine.fetch_states(got.engine.make_state([(0, 0)]))[0].batch_stats), strict=True))
        say(f"norm {parallel} {norm}", equal=equal, moved=moved, **describe(got.engine))


def check_gradient_dtype(ways: Sequence[tuple[str, str]]) -> None:
    """In which dtype a bfloat16 network's gradients cross the devices."""
    for parallel, dtype in ways:
        config = vary(BASE, "bfloat16", "frozen", parallel=parallel, gradient_dtype=dtype)
        got = train_epoch(config)
        say(f"gradients {parallel} {dtype}", **describe(got.engine))


def check_float32() -> None:
    """How far float32 spreads: no bound, only said."""
    one = train_epoch(vary(BASE, "float32"), n_devices=1)
    for parallel in ("jit", "shard_map", "pmap"):
        say(f"float32 {parallel}", **compare(train_epoch(vary(BASE, "float32", parallel=parallel)), one))


def main(part: str) -> None:
    """`fast` or `slow`."""
    resnet34 = replace(BASE, model=replace(BASE.model, network="resnet34"))
    with jax.enable_x64(True):
        if part == "fast":
            check_wrappers(BASE, [], [("jit", "mesh", 8), ("shard_map", "mesh", 8)])
            check_remainder(8)
        else:
            ways = [("jit", "vmap", 1), ("jit", "vmap", 8), ("shard_map", "vmap", 8), ("jit", "mesh", 2)]
            check_wrappers(BASE, ["jit", "shard_map", "pmap"], ways)
            check_wrappers(resnet34, [], [])
            check_remainder(1)
    if part == "fast":
        check_gradient_dtype([("shard_map", "compute"), ("jit", "compute")])
    else:
        check_statistics("shard_map")
        check_statistics("pmap")
        check_gradient_dtype([("shard_map", "float32"), ("pmap", "compute"), ("pmap", "float32")])
        check_float32()


if __name__ == "__main__":
    main(*sys.argv[1:])
