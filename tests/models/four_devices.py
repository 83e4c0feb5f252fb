"""Run by test_norm in a process with four virtual devices: a block split over them against the same block on one.

The last device has nothing but padding, the one before it a single example.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from bonemet_jax.models.layers import Layers
from bonemet_jax.models.lowering import PLAIN, Lowering
from bonemet_jax.models.resnet import Block

N = 4
SPLIT, WHOLE = PartitionSpec("data"), PartitionSpec()
WEIGHT = np.array([1.0, 1, 1, 1, 1, 0, 0, 0])
Mode = Literal["sync", "local", "frozen"]
Step = Callable[[Any, Any, Any], tuple[Any, Any, Any]]


def make_block(mode: Mode, axis: str | None, lowering: Lowering) -> Block:
    """A strided bottleneck."""
    return Block(3, 2, True, Layers(jnp.dtype("float64"), lowering, mode, axis))


def make_step(mode: Mode, axis: str | None, lowering: Lowering = PLAIN) -> Step:
    """(variables, x, weight) -> what all devices share (loss, gradients of parameters), statistics, gradients of x."""
    block = make_block(mode, axis, lowering)

    def step(variables: Any, x: Any, weight: Any) -> tuple[Any, Any, Any]:
        def share(params: Any, x: Any) -> tuple[Any, Any]:
            out, updated = block.apply({**variables, "params": params}, x, None, weight, True, mutable=["batch_stats"])
            per_example = (jnp.sin(out) * jnp.arange(1.0, 13.0)).sum((1, 2, 3))
            return (per_example * weight).sum(), updated["batch_stats"]

        (loss, stats), (grads, grads_x) = jax.value_and_grad(share, (0, 1), has_aux=True)(variables["params"], x)
        shared = (loss, grads) if axis is None else jax.lax.psum((loss, grads), axis)
        return shared, stats, grads_x

    return step


def make_inputs() -> tuple[Any, np.ndarray]:
    """Variables of the block, all different from their initial values, and eight feature maps."""
    random = np.random.default_rng(0)
    x = random.normal(1.0, 2.0, (8, 5, 6, 4))
    block = make_block("sync", None, PLAIN)
    shapes = jax.eval_shape(partial(block.init, mask=None, weight=WEIGHT, train=False), jax.random.key(0), x)
    return jax.tree.map(lambda leaf: random.uniform(0.5, 1.5, leaf.shape), shapes), x


def compute_on_one(mode: Mode, variables: Any, x: np.ndarray) -> tuple[Any, Any, Any]:
    """The same on one device; local: each device's rows by themselves, statistics averaged over real examples."""
    step = jax.jit(make_step(mode, None))
    if mode != "local":
        return step(variables, x, WEIGHT)
    parts = [step(variables, *rows) for rows in zip(x.reshape(N, 2, *x.shape[1:]), WEIGHT.reshape(N, 2), strict=True)]
    shared, stats, grads_x = zip(*parts, strict=True)
    share = WEIGHT.reshape(N, 2).sum(1) / WEIGHT.sum()
    return (
        jax.tree.map(lambda *values: sum(values), *shared),
        jax.tree.map(lambda *values: sum(s * v for s, v in zip(share, values, strict=True) if s), *stats),
        np.concatenate(grads_x),
    )


def check_same(got: Any, want: Any) -> None:
    """Equal to the last few of float64's 15 digits."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, np.abs(b).max())), got, want)


def check_mode(mode: Mode, variables: Any, x: np.ndarray, lowering: Lowering) -> int:
    """shard_map and pmap against one device, plain; returns the number of sums over devices in shard_map's program."""
    want = compute_on_one(mode, variables, x)
    step = make_step(mode, "data", lowering)
    specs = {"in_specs": (WHOLE, SPLIT, SPLIT), "out_specs": (WHOLE, WHOLE, SPLIT)}
    mesh = jax.make_mesh((N,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.jit(jax.shard_map(step, mesh=mesh, check_vma=False, **specs)).lower(variables, x, WEIGHT).compile()
    check_same(mapped(variables, x, WEIGHT), want)
    rows = [a.reshape(N, 2, *a.shape[1:]) for a in (x, WEIGHT)]
    shared, stats, grads_x = jax.device_get(jax.pmap(step, "data", in_axes=(None, 0, 0))(variables, *rows))
    for device in range(N):  # every device holds the same statistics
        check_same(jax.tree.map(lambda a, i=device: a[i], (shared, stats)), want[:2])
    check_same(grads_x.reshape(x.shape), want[2])
    if mode == "frozen":
        check_same(want[1], variables["batch_stats"])
    return mapped.as_text().count(" all-reduce(")


def main() -> None:
    """Every mode, computed plainly and with less traffic."""
    variables, x = make_inputs()
    for norm in ("plain", "lean"):
        sums = {mode: check_mode(mode, variables, x, Lowering(norm=norm)) for mode in ("sync", "local", "frozen")}
        print(f"{norm}: equal on {N} devices; sums over devices {sums}")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
