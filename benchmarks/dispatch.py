"""Milliseconds to hand over an empty step: the state in, donated, and out again, beside plain jax.jit and nnx.jit.

Full size: the state of ResNet101, every array its real shape. Quick: that of `tiny`. An empty step computes one sum, so
what is left is the host's part: flattening the tree, checking it, giving the buffers on. nnx.jit moves the parameters
alone, a third of the arrays, and is given them flat, which flatters it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.harness import Measurement, Options, interleave, ratio_interval
from bonemet_jax.config import Config, ModelConfig
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.state import TrainState

FULL, QUICK = (Config("dispatch", model=ModelConfig(network=name)) for name in ("resnet101", "tiny"))
#: A call takes a few milliseconds: a sample is the mean of so many.
_CALLS = 20


def measure(options: Options) -> list[Measurement]:
    """Milliseconds a call of each way, and what plain jax.jit and nnx.jit take over ours."""
    config, n = (QUICK, 3) if options.quick else (FULL, 20)
    state = make_zero_state(config)
    n_arrays, n_params = len(jax.tree.leaves(state)), len(jax.tree.leaves(state.params))
    ways = {"ours": call_ours(config), "jax_jit": call_jit(config)}
    if options.has_peer("nnx"):
        ways["nnx_jit"] = call_nnx(state)
    timings = interleave(ways, n, warm_up=2)
    parameters: dict[str, Any] = {"network": config.model.network, "calls_a_sample": _CALLS, "warm_up": 2}
    found = [
        Measurement("dispatch", f"{name}_ms", "ms", "lower", list(1e3 * timing.wall_s / _CALLS),
                    parameters | {"arrays": n_params if name == "nnx_jit" else n_arrays}, config,
                    {"core_ms": float(1e3 * np.median(timing.cpu_s) / _CALLS)})
        for name, timing in timings.items()
    ]  # fmt: skip
    ours = timings["ours"].wall_s
    for name in [name for name in timings if name != "ours"]:
        theirs = timings[name].wall_s
        found.append(Measurement("dispatch", f"{name}_over_ours", "1", "higher", list(theirs / ours), parameters,
                                 config, ratio=ratio_interval(theirs, ours), compared=("ours_ms", f"{name}_ms")))
    return found


def make_zero_state(config: Config) -> TrainState:
    """A state of zeros of one member, as the programs take it."""
    engine = Engine(config)
    return engine.put(jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), engine.state_template()))


def count_step(state: TrainState) -> TrainState:
    """The empty step."""
    return state._replace(step=state.step + 1)


def call_ours(config: Config) -> Callable[[], None]:
    """The training's own wrapper: compiled ahead, then called."""
    state = make_zero_state(config)
    kinds = jax.tree.map(lambda _: "member", state)
    program = replace(Engine(config).train, function=count_step, takes=("member",), gives=kinds)
    return _repeat(program, state)


def call_jit(config: Config) -> Callable[[], None]:
    """jax.jit as it comes."""
    return _repeat(jax.jit(count_step, donate_argnums=0), make_zero_state(config))


def call_nnx(state: TrainState) -> Callable[[], None]:
    """nnx.jit over a module that holds the parameters."""
    holder = nnx.Module()
    for i, leaf in enumerate(jax.tree.leaves(state.params)):
        setattr(holder, f"param{i}", nnx.Param(jnp.zeros_like(leaf)))
    holder.step = nnx.Variable(jnp.zeros((), jnp.int32))  # type: ignore[attr-defined]

    def count(module: Any) -> None:
        module.step[...] = module.step[...] + 1

    step = nnx.jit(count, donate_argnums=0)

    def call() -> None:
        for _ in range(_CALLS):
            step(holder)
        jax.block_until_ready(holder.step[...])  # type: ignore[attr-defined]

    return call


def _repeat(step: Callable[[TrainState], TrainState], state: TrainState) -> Callable[[], None]:
    def call() -> None:
        nonlocal state
        for _ in range(_CALLS):
            state = step(state)
        jax.block_until_ready(state)

    return call
