"""The only place that knows devices: jit over a one-axis mesh; state replicated, batches split."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bonemet_jax.config import Config
from bonemet_jax.errors import UsageError
from bonemet_jax.input_pipeline.source import Feed, Source, take_batch
from bonemet_jax.models.initial import make_variables, variable_shapes
from bonemet_jax.models.resnet import make_model
from bonemet_jax.train.optim import make_optimizer
from bonemet_jax.train.platform import compiler_options, pointwise_lowering, scans_epochs
from bonemet_jax.train.state import TrainState, make_state
from bonemet_jax.train.step import make_eval_step, make_train_step


@dataclass
class Program:
    """A function compiled at its first call and never again: other shapes are an error, not a second compile."""

    function: Callable[..., Any]
    donate: tuple[int, ...] = ()
    out_sharding: NamedSharding | None = None
    options: dict[str, str] | None = None
    n_traces: int = 0
    trace_s: float = 0.0
    compile_s: float = 0.0
    compiled: Any = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Spent tracing and compiling."""
        return self.trace_s + self.compile_s

    def compile(self, *args: Any) -> Any:
        """Compile for these arguments (or ShapeDtypeStructs), once."""
        if self.compiled is None:
            start = time.perf_counter()
            lowered = jax.jit(
                self._counted, donate_argnums=self.donate, out_shardings=self.out_sharding,
                compiler_options=self.options,
            ).lower(*args)
            traced = time.perf_counter()
            self.compiled = lowered.compile()
            self.trace_s, self.compile_s = traced - start, time.perf_counter() - traced
        return self.compiled

    def __call__(self, *args: Any) -> Any:
        return self.compile(*args)(*args)

    def _counted(self, *args: Any) -> Any:
        self.n_traces += 1
        return self.function(*args)


class Engine:
    """Compiled programs of one config on all devices, shared by every fold of a run.

    `train(state, resident, feed, class_weight)` donates the state; `evaluate(variables, ...)` serves validation and
    embedding. `resident` and feed are a Source's. `train_epoch` takes a whole epoch's feeds, stacked, and gives each
    step's metrics.
    """

    def __init__(self, config: Config, steps_per_epoch: int, devices: Sequence[jax.Device] | None = None) -> None:
        """Args:
        config: The run.
        steps_per_epoch: Updates of one epoch; the learning rate's schedule counts them.
        devices: Those to use; all when None.
        """
        devices = list(devices or jax.devices())
        if config.train.batch_size % len(devices):
            raise UsageError(f"train.batch_size {config.train.batch_size} does not divide over {len(devices)} devices",
                             "", f"use a multiple of {len(devices)}")
        self.mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.split = NamedSharding(self.mesh, PartitionSpec("data"))
        self._platform = platform = devices[0].platform
        model = make_model(config.model, pointwise_lowering(platform))
        optimizer = make_optimizer(config.optim, config.train.epochs, steps_per_epoch)
        train_step, eval_step = make_train_step(model, optimizer, config), make_eval_step(model, config)

        def train(state: TrainState, resident: Any, feed: Feed, class_weight: Any) -> Any:
            return train_step(state, take_batch(resident, feed) | {"class_weight": class_weight})

        def train_epoch(state: TrainState, resident: Any, feeds: Feed, class_weight: Any) -> Any:
            return jax.lax.scan(lambda state, feed: train(state, resident, feed, class_weight), state, feeds)

        def evaluate(variables: Any, resident: Any, feed: Feed, class_weight: Any) -> Any:
            return eval_step(variables, take_batch(resident, feed) | {"class_weight": class_weight})

        options = compiler_options(platform)
        self.train = Program(train, (0,), self.replicated, options)
        self.train_epoch = Program(train_epoch, (0,), self.replicated, options)
        self.evaluate = Program(evaluate, (), self.replicated, options)
        self._model, self._optimizer = model, optimizer

    def make_state(self, seed: int, fold: int) -> TrainState:
        """The state before the first step, on every device: a pure function of (seed, fold)."""
        return self.put(make_state(make_variables(self._model, seed, fold), self._optimizer))

    def state_template(self) -> TrainState:
        """Shapes and shardings of the state, for restoring; nothing is allocated."""
        shapes = jax.eval_shape(lambda v: make_state(v, self._optimizer), variable_shapes(self._model))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.replicated), shapes)

    def describe_programs(self) -> dict[str, Any]:
        """Number of traces and seconds of compilation of each program used; more than one trace is a fault."""
        programs = {"train": self.train, "train_epoch": self.train_epoch, "evaluate": self.evaluate}
        return {
            name: {"n_traces": p.n_traces, "trace_s": round(p.trace_s, 3), "compile_s": round(p.compile_s, 3)}
            for name, p in programs.items() if p.n_traces
        }

    def scans(self, source: Source) -> bool:
        """Whether epochs from this source run as one program, `train_epoch`."""
        return source.mode == "resident" and scans_epochs(self._platform)

    def put(self, value: Any) -> Any:
        """Copy arrays to every device."""
        return jax.device_put(value, self.replicated)
