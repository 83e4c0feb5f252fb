"""The programs a run compiles, compiled for devices that need not be here: from shapes, nothing is allocated or run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np

from benchmarks.compiled.targets import Target
from bonemet_jax import artifacts
from bonemet_jax.config import Config
from bonemet_jax.errors import UsageError
from bonemet_jax.input_pipeline import order
from bonemet_jax.models.initial import variable_shapes
from bonemet_jax.models.resnet import make_model
from bonemet_jax.progress import say
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.members import count_side_by_side
from bonemet_jax.train.optim import make_optimizer
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.platform import choose_lowering, compiler_options
from bonemet_jax.train.program import FOLD, Program
from bonemet_jax.train.state import TrainState, make_state
from bonemet_jax.train.step import Hyper, needed_arrays

#: name -> changes to config.engine, and which of the engine's programs.
PROGRAMS: dict[str, tuple[dict[str, str], str]] = {
    "train": ({"parallel": "jit"}, "train"),
    "shard_map": ({"parallel": "shard_map"}, "train"),
    "folds": ({"parallel": "jit", "folds": "mesh"}, "train"),
    "epoch": ({"parallel": "jit"}, "train_epoch"),
    "evaluate": ({"parallel": "jit"}, "evaluate"),
}
#: Steps of the epoch in one program: what a step costs does not depend on it, and one step would be no loop.
EPOCH_STEPS = 4


@dataclass(frozen=True)
class Compiled:
    """One program, compiled for one batch size."""

    name: str
    config: Config
    engine: Engine
    program: Program
    local_batch: int
    """Images a device."""
    n_compilations: int
    """Different arguments that a run calls it with; each would be compiled by itself."""

    @property
    def n_steps(self) -> int:
        """Of one call."""
        return EPOCH_STEPS if self.program.name == "train_epoch" else 1

    @property
    def state_bytes(self) -> int:
        """Of the training state on one device."""
        leaves = jax.tree.leaves(self.engine.state_template())
        n_here = self.engine.n_members // self.engine.spread.mesh.shape[FOLD]
        return n_here * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def compile_program(target: Target, config: Config, name: str, local_batch: int) -> Compiled:
    """Compile one of PROGRAMS for the target's devices, in a process of the target's environment.

    Args:
        target: Where it would run.
        config: The run; its batch size and wrapper are set here.
        name: Which program.
        local_batch: Images a device.

    Raises: UsageError for a name that is none.
    """
    if name not in PROGRAMS:
        raise UsageError(f"no program {name}", "", f"use some of {', '.join(PROGRAMS)}")
    changes, which = PROGRAMS[name]
    devices = target.devices()
    engine_config = replace(config.engine, **changes)  # type: ignore[arg-type]
    n_members = count_side_by_side(config.folds.n_folds, len(devices), engine_config.folds)
    n_groups = n_members if engine_config.folds == "mesh" else 1
    batch_size = local_batch * (len(devices) // n_groups)
    config = replace(config, engine=engine_config, train=replace(config.train, batch_size=batch_size))
    engine = Engine(config, n_members, devices)
    program: Program = getattr(engine, which)
    say(f"compiling for {target.name}: {name}, {local_batch} images a device")
    program.options = {**(compiler_options(devices[0].platform) or {}), **target.options} or None
    state, resident, feed, hyper = describe_arguments(engine, config, EPOCH_STEPS if which == "train_epoch" else 0)
    program.compile(state.variables if which == "evaluate" else state, resident, feed, hyper)
    return Compiled(name, config, engine, program, local_batch, count_compilations(engine, config, program, state))


def describe_arguments(
    engine: Engine, config: Config, n_steps: int = 0
) -> tuple[TrainState, dict[str, Any], dict[str, Any], Hyper]:
    """Shapes, dtypes and places of what a resident run gives a step, or an epoch of `n_steps`."""

    def place(kind: str, shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=engine.spread.sharding(kind))  # type: ignore[arg-type]

    n, n_classes = engine.n_members, config.model.n_classes
    state = jax.tree.map(lambda leaf: place("member", (n, *leaf.shape), leaf.dtype), _state_shapes(engine, config))
    records = make_random_records(1, config.records.height, config.records.width)
    stored = {**records.read(range(1), needed_arrays(config)), "label": records.label}
    resident = {
        name: place("resident", (config.phantom.n, *array.shape[1:]), array.dtype) for name, array in stored.items()
    }
    images = config.train.batch_size * max(n_steps, 1)
    plan = engine.arrange([order.epoch_batches(images, config.train.batch_size, 0, 0, 1)] * n)
    kind, first = ("row_steps", 0) if n_steps else ("rows", 1)
    feed = {name: place(kind, array.shape[first:], array.dtype) for name, array in plan._asdict().items()}
    hyper: Any = (((n,), np.float32), ((n,), np.int32), ((n, n_classes), np.float32))
    return state, resident, feed, Hyper(*(place("member", *leaf) for leaf in hyper))  # type: ignore[arg-type]


def count_compilations(engine: Engine, config: Config, program: Program, state: TrainState) -> int:
    """Different arguments of the calls of two epochs: the first state and what a step leaves, feeds as they are dealt.

    jit compiles anew for each; `Program` refuses all but the first.
    """
    first = _describe(state)
    later = first if program.name == "evaluate" else _describe(program.lowered.out_info[0])
    n, batch_size = config.phantom.n, config.train.batch_size
    feeds = [
        _describe({name: step[name] for name in sorted(step)})
        for epoch in (1, 2)
        for step in _steps(engine.arrange([order.epoch_batches(n, batch_size, 0, 0, epoch)] * engine.n_members))
    ]
    return len({(first, feeds[0])} | {(later, feed) for feed in feeds})


def select_parts(config: Config) -> dict[str, Any]:
    """What of a config decides the programs, as far as it differs from a plain config.

    A field that is added with a default changes no budget's key; what a changed default does, the budget shows.
    """
    parts: dict[str, tuple[str, ...] | None] = {
        "records": ("height", "width"), "input": ("channels",), "model": None, "engine": None, "optim": None,
        "train": ("flips",), "folds": ("n_folds",), "phantom": ("n",),
    }  # fmt: skip
    plain: dict[str, Any] = asdict(Config("plain"))
    own: dict[str, Any] = asdict(config)
    found = {}
    for part, names in parts.items():
        changed = {k: v for k, v in own[part].items() if v != plain[part][k] and (names is None or k in names)}
        found |= {f"{part}.{name}": value for name, value in changed.items() if name not in ("lr", "weights")}
    return found


def name_parts(config: Config) -> str:
    """12 hex digits over them, by which a budget is found."""
    return artifacts.sha256_json(json.loads(json.dumps(select_parts(config))))[:12]


def _state_shapes(engine: Engine, config: Config) -> TrainState:
    """One member's state as the programs hold it."""
    platform = engine.spread.mesh.devices.flat[0].platform
    model = make_model(config.model, choose_lowering(platform, config.engine), engine.spread.axis)
    return jax.eval_shape(lambda variables: make_state(variables, make_optimizer()), variable_shapes(model))


def _steps(plan: order.EpochPlan) -> list[dict[str, np.ndarray]]:
    return [dict(zip(plan._fields, step, strict=True)) for step in zip(*plan, strict=True)]


def _describe(tree: Any) -> tuple[Any, ...]:
    return tuple((tuple(leaf.shape), str(leaf.dtype)) for leaf in jax.tree.leaves(tree))
