"""Layers with less traffic: how they round in bfloat16, and what they leave to be written to memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from bonemet_jax.models.layers import Layers
from bonemet_jax.models.lowering import Lowering
from bonemet_jax.models.norm import MOMENTUM
from bonemet_jax.models.resnet import Block

CHAN = 64


def _compute(dtype: str, norm: Any, seed: int) -> dict[str, np.ndarray]:
    """Output, running statistics and gradients of one bottleneck in training, from values that are the same for all."""
    random = np.random.default_rng(seed)
    x = np.maximum(random.normal(size=(8, 16, 20, 4 * CHAN)), 0)
    pull = random.normal(size=x.shape)
    high = jnp.promote_types(dtype, jnp.float32)
    block = Block(CHAN, 1, True, Layers(jnp.dtype(dtype), Lowering(norm=norm)))
    shapes = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, None, np.ones(8), False), x)

    drawn = jax.tree.map(lambda leaf: _draw(random, leaf, high), shapes)
    variables = drawn | {"batch_stats": jax.tree.map(jnp.ones_like, shapes["batch_stats"])}

    def feel(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        out, updated = block.apply({**variables, "params": params}, x, None, jnp.ones(8), True, mutable=["batch_stats"])
        return (out.astype(high) * pull.astype(high)).sum(), {"output": out, "statistics": updated["batch_stats"]}

    step = jax.jit(jax.value_and_grad(feel, (0, 1), has_aux=True))
    (_, found), grads = step(variables["params"], x.astype(dtype))
    named = jax.tree_util.tree_leaves_with_path(found | {"gradient": grads})
    return {jax.tree_util.keystr(path): np.asarray(leaf, np.float64) for path, leaf in named}


def _draw(random: np.random.Generator, leaf: Any, dtype: Any) -> jax.Array:
    """Kernels of He's spread; scales about 1 and biases too, so that few values are cut off."""
    spread = (2 / np.prod(leaf.shape[:3])) ** 0.5 if leaf.ndim == 4 else 0.3
    return jnp.asarray(random.normal(leaf.ndim == 1, spread, leaf.shape), dtype)


class Blocks(nn.Module):
    """Four bottlenecks, one after the other."""

    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for _ in range(4):
            x = Block(CHAN // 4, 1, True, self.layers)(x, None, jnp.ones(len(x)), train)
        return x


def _train_blocks(dtype: str, norm: Any, x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Output of a first step, and the statistics of its batch."""
    variables = _draw_blocks(dtype, norm, x)
    out, updated = _jit(_blocks(dtype, norm).apply, True, ("batch_stats",))(variables, jnp.asarray(x, dtype))
    return np.asarray(out, np.float64), jax.tree.map(lambda leaf: leaf / (1 - MOMENTUM), updated["batch_stats"])


def _evaluate_blocks(dtype: str, norm: Any, x: np.ndarray, statistics: Any) -> np.ndarray:
    variables = _draw_blocks(dtype, norm, x) | {"batch_stats": statistics}
    return np.asarray(_jit(_blocks(dtype, norm).apply, False, False)(variables, jnp.asarray(x, dtype)), np.float64)


def _blocks(dtype: str, norm: Any) -> Blocks:
    return Blocks(Layers(jnp.dtype(dtype), Lowering(norm=norm)))


def _draw_blocks(dtype: str, norm: Any, x: np.ndarray) -> Any:
    random, high = np.random.default_rng(1), jnp.promote_types(dtype, jnp.float32)
    shapes = jax.eval_shape(lambda x: _blocks(dtype, norm).init(jax.random.key(0), x, False), x)
    params = jax.tree.map(lambda leaf: _draw(random, leaf, high), shapes["params"])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, high), shapes["batch_stats"])
    return {"params": params, "batch_stats": zeros}


def _jit(apply: Any, train: bool, mutable: Any) -> Any:
    return jax.jit(lambda variables, x: apply(variables, x, train, mutable=mutable))


@pytest.mark.every_change
def test_less_traffic_rounds_little_worse_in_bfloat16() -> None:
    """Errors beside float64 over those of the plain way, three seeds: a few hundredths to a third more on the CPU,
    which rounds the convolution's output, the shift's sum and the shortcut's one after another; cuDNN rounds once.

    Running statistics are those of the kernel that evaluation applies, as the plain way's.
    """
    ratios: dict[str, list[float]] = {}
    for seed in range(3):
        with jax.enable_x64(True):
            truth = _compute("float64", "plain", seed)
        plain, lean = (_compute("bfloat16", norm, seed) for norm in ("plain", "lean"))
        for name, want in truth.items():
            errors = [np.linalg.norm(got[name] - want) for got in (lean, plain)]
            ratios.setdefault(name, []).append(float(errors[0] / errors[1]))
    means = {name: float(np.exp(np.log(values).mean())) for name, values in ratios.items()}
    print({name: round(ratio, 2) for name, ratio in means.items()})
    assert 0.8 < np.median(list(means.values())) < 1.2 and max(means.values()) < 1.5
    assert 0.95 < means["['statistics']['bn3']['mean']"] < 1.05


@pytest.mark.parametrize("far", [0, 3])
@pytest.mark.every_change
def test_what_folding_leaves_in_bfloat16(far: int) -> None:
    """An offset a channel, from the folded kernel's rounding and the shift's: small beside the whole error.

    That grows by a sixth at most through four blocks; evaluation, with the statistics so gathered, is the plain way's.
    """
    x = np.maximum(np.random.default_rng(0).normal(size=(8, 12, 12, CHAN)), 0) + far
    with jax.enable_x64(True):
        truth, statistics = _train_blocks("float64", "plain", x)
    found = {norm: _train_blocks("bfloat16", norm, x) for norm in ("plain", "lean")}
    error = {norm: np.linalg.norm(out - truth) for norm, (out, _) in found.items()}
    offset = {norm: np.linalg.norm((out - truth).mean((0, 1, 2))) * (truth[..., 0].size**0.5)
              for norm, (out, _) in found.items()}  # fmt: skip
    print({norm: (round(error[norm] / error["plain"], 3), round(offset[norm] / error["plain"], 3)) for norm in found})
    assert error["lean"] < 1.3 * error["plain"] and offset["lean"] < 0.4 * error["plain"]
    evaluated = [_evaluate_blocks("bfloat16", norm, x, found["lean"][1]) for norm in ("plain", "lean")]
    np.testing.assert_array_equal(*evaluated)
    with jax.enable_x64(True):
        truth = _evaluate_blocks("float64", "plain", x, statistics)
    own = np.linalg.norm(_evaluate_blocks("bfloat16", "plain", x, found["plain"][1]) - truth)
    assert np.linalg.norm(evaluated[0] - truth) < 1.1 * own
