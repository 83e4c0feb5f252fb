"""The programs of a run, compiled once for all members that train side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from bonemet_jax import hosts
from bonemet_jax.config import Config
from bonemet_jax.errors import UsageError
from bonemet_jax.input_pipeline.order import EpochPlan, join_plans
from bonemet_jax.input_pipeline.source import Feed, Source, take_batch
from bonemet_jax.models.initial import make_variables, variable_shapes
from bonemet_jax.models.lowering import PLAIN
from bonemet_jax.models.pretrained import apply_weights
from bonemet_jax.models.resnet import JointModel, PerChannelModel, make_model
from bonemet_jax.models.stacking import stack_blocks, unstack_blocks
from bonemet_jax.progress import say
from bonemet_jax.train.optim import make_optimizer
from bonemet_jax.train.platform import choose_lowering, compiler_options, scans_epochs
from bonemet_jax.train.program import Kind, Program, Spread, group_devices, over_members
from bonemet_jax.train.state import TrainState, make_state
from bonemet_jax.train.step import Evaluation, Hyper, StepMetrics, make_eval_step, make_train_step


class Engine:
    """Compiled programs of one config for `n_members` trainings side by side.

    `train(state, resident, feed, hyper)` donates the state; `evaluate(variables, ...)` serves validation and
    embedding. `resident` and feed are a Source's. `train_epoch` takes a whole epoch's feeds, stacked, and gives each
    step's metrics. State, feeds, hyper and results have the member on their first axis (feeds of an epoch on the
    second), also when there is but one.
    """

    def __init__(self, config: Config, n_members: int = 1, devices: Sequence[jax.Device] | None = None) -> None:
        """Args:
        config: The run.
        n_members: Trainings side by side: as many groups of devices (engine.folds mesh), or all on each (vmap).
        devices: Those to use; all when None.
        """
        devices = list(devices or jax.devices())
        self.n_members, self._config = n_members, config
        self.spread = Spread(
            group_devices(devices, n_members if config.engine.folds == "mesh" else 1), config.engine.parallel
        )
        self.n_data = self.spread.mesh.devices.shape[1]
        if self.n_data == 0:
            raise UsageError(f"{n_members} folds side by side want at least as many devices, here are {len(devices)}",
                             "", "use --engine.folds sequential")
        if config.train.batch_size % self.n_data:
            raise UsageError(f"train.batch_size {config.train.batch_size} does not divide over {self.n_data} devices",
                             "", f"use a multiple of {self.n_data}")
        if n_idle := len(devices) - self.spread.mesh.devices.size:
            say(f"note: {n_idle} of {len(devices)} devices stand idle: {n_members} groups of {self.n_data} train")
        self.split = self.spread.sharding("rows")
        self._platform = platform = devices[0].platform
        lowering = choose_lowering(platform, config.engine)
        self._model, self._optimizer = make_model(config.model, lowering, self.spread.axis), make_optimizer()
        train_step = make_train_step(self._model, self._optimizer, config, self.spread.axis)
        eval_step = make_eval_step(self._model, config)

        def train(state: TrainState, resident: Any, feed: Feed, hyper: Hyper) -> Any:
            return train_step(state, take_batch(resident, feed), hyper)

        def evaluate(variables: Any, resident: Any, feed: Feed, hyper: Hyper) -> Any:
            return eval_step(variables, take_batch(resident, feed), hyper)

        train_block = over_members(train)

        def train_epoch(state: TrainState, resident: Any, feeds: Feed, hyper: Hyper) -> Any:
            return jax.lax.scan(lambda state, feed: train_block(state, resident, feed, hyper), state, feeds)

        options = compiler_options(platform)
        state = jax.tree.map(lambda _: "member", self._state_shapes(self._model))
        one_step = StepMetrics("member", "member", "member", "rows")  # type: ignore[arg-type]
        all_steps = StepMetrics("member_steps", "member_steps", "member_steps", "row_steps")  # type: ignore[arg-type]
        def program(name: str, function: Any, feed: Kind, gives: Any, donate: tuple[int, ...] = ()) -> Program:
            return Program(name, function, self.spread, ("member", "resident", feed, "member"), gives, donate, options)

        self.train = program("train", train_block, "rows", (state, one_step), (0,))
        self.train_epoch = program("train_epoch", train_epoch, "row_steps", (state, all_steps), (0,))
        self.evaluate = program("evaluate", over_members(evaluate), "rows", Evaluation("rows", "rows", "rows"))  # type: ignore[arg-type]

    def make_state(self, names: Sequence[tuple[int, int]]) -> TrainState:
        """The state before the first step, on the devices: of each member a pure function of its (seed, fold).

        With model.weights the imported ones take the place of those drawn. Raises: UsageError, CorruptFileError.
        """
        drawn = [make_variables(self._model, *name) for name in names]
        if (path := self._config.model.weights) is not None:
            drawn = [apply_weights(variables, path, self._model) for variables in drawn]
        return self._put_side_by_side([make_state(variables, self._optimizer) for variables in drawn])

    def put_states(self, states: Sequence[TrainState]) -> TrainState:
        """States of all members, as `fetch_states` gives them, side by side on the devices."""
        return self._put_side_by_side([stack_blocks(state, self._model) for state in states])

    def fetch_states(self, state: TrainState) -> list[TrainState]:
        """Copies of each member's own state on the host, as they are saved: every block by its own name."""
        host = hosts.fetch(state)
        own = [jax.tree.map(lambda x, i=i: np.array(x[i]), host) for i in range(self.n_members)]
        return [unstack_blocks(state, self._model) for state in own]

    def put_hyper(
        self, lr: Sequence[float], steps_per_epoch: Sequence[int], class_weight: Sequence[Float[np.ndarray, " class"]]
    ) -> Hyper:
        """What differs between the members, on the devices."""
        return Hyper(
            self.put(np.array(lr, np.float32)), self.put(np.array(steps_per_epoch, np.int32)),
            self.put(np.array(class_weight, np.float32)),
        )  # fmt: skip

    def plain_hyper(self) -> Hyper:
        """For all members the config's rate, an epoch of one step, classes of equal weight."""
        n, equal = self.n_members, np.ones(self._config.model.n_classes, np.float32)
        return self.put_hyper([self._config.optim.lr] * n, [1] * n, [equal] * n)

    def state_template(self) -> TrainState:
        """Shapes of one member's state as it is saved; nothing is allocated."""
        return self._state_shapes(self._model.clone(lowering=PLAIN))

    def put(self, value: Any) -> Any:
        """Copy arrays whose first axis is the member to the devices."""
        return hosts.put(value, self.spread.sharding("member"))

    def arrange(self, plans: Sequence[EpochPlan], n_steps: int = 0) -> EpochPlan:
        """Plans of all members as the programs take them, of at least so many steps."""
        plan = join_plans(plans, n_steps)
        if self.spread.parallel != "pmap":
            return plan

        def by_device(values: np.ndarray) -> np.ndarray:
            steps, _, batch_size, *tail = values.shape
            return values.reshape(steps, self.n_data, 1, batch_size // self.n_data, *tail)

        return EpochPlan(*map(by_device, plan))

    def fetch_rows(self, rows: Sequence[Any]) -> Any:
        """Results of several steps on the host: a tree of (member, row, ...), rows in the order of the plan."""

        def join(*parts: np.ndarray) -> np.ndarray:
            tail = parts[0].shape[3:] if self.spread.parallel == "pmap" else parts[0].shape[2:]
            return np.concatenate([part.reshape(self.n_members, -1, *tail) for part in parts], axis=1)

        return jax.tree.map(join, *hosts.fetch(rows))

    def programs(self) -> dict[str, Program]:
        """Those that were compiled, by name."""
        return {p.name: p for p in (self.train, self.train_epoch, self.evaluate) if p.n_traces}

    def is_compiling(self) -> bool:
        """Whether one of the programs is being compiled now."""
        return any(program.is_compiling for program in (self.train, self.train_epoch, self.evaluate))

    def is_compiling_updates(self) -> bool:
        """Whether what updates is: no update has been made since the engine was."""
        return self.train.is_compiling or self.train_epoch.is_compiling

    def dump_programs(self, directory: Path) -> None:
        """Write every program's StableHLO, optimised HLO and memory analysis: now, or once it is compiled."""
        for program in (self.train, self.train_epoch, self.evaluate):
            program.dump_to = directory
            if program.compiled is not None:
                program.dump(directory)

    def gb_accessed(self) -> float | None:
        """Memory traffic of an update on one device as XLA counts it, GB; None where it does not say.

        Of an epoch in one program XLA counts the loop's body once: with what is carried over, an upper figure.
        """
        return self.train.gb_accessed() or self.train_epoch.gb_accessed()

    def scans(self, source: Source) -> bool:
        """Whether epochs from this source run as one program, `train_epoch`."""
        return source.mode == "resident" and scans_epochs(self._platform)

    def _put_side_by_side(self, states: Sequence[TrainState]) -> TrainState:
        return self.put(jax.tree.map(lambda *leaves: np.stack(leaves), *states))

    def _state_shapes(self, model: JointModel | PerChannelModel) -> TrainState:
        return jax.eval_shape(lambda v: make_state(v, self._optimizer), variable_shapes(model))
