"""Batch normalisation with padding: against flax's own, without the padding, and on one device for four."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from bonemet_jax.models.moments import compute_masked_moments
from bonemet_jax.models.norm import MaskedBatchNorm, normalise


class Norm(MaskedBatchNorm):
    """Normalises what it is given."""

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array, train: bool) -> jax.Array:  # type: ignore[override]
        def compute_moments(axis: str | None, _: Any) -> Any:
            return compute_masked_moments(x.astype(jnp.float32), weight, axis)

        return normalise(x, super().__call__(x.shape[-1], compute_moments, train))


def _batch(n: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (n, 5, 6, 4)), jnp.float32)


def test_full_batch_equals_flax() -> None:
    x, ours, theirs = _batch(6), Norm(), nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    variables = ours.init(jax.random.key(0), x, jnp.ones(6), False)
    got, updates = ours.apply(variables, x, jnp.ones(6), True, mutable=["batch_stats"])
    want, _ = theirs.apply(theirs.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    np.testing.assert_allclose(got, want, atol=1e-5)
    # torch keeps the unbiased variance: numpy's ddof=1
    wanted = 0.9 * 1.0 + 0.1 * np.asarray(x, np.float64).var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(updates["batch_stats"]["var"], wanted, rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)


def test_padding_never_counts() -> None:
    x, norm = _batch(5), Norm()
    padded = jnp.concatenate([x, jnp.full((3, 5, 6, 4), 1e4)])
    weight = jnp.array([1.0] * 5 + [0.0] * 3)
    variables = norm.init(jax.random.key(0), x, jnp.ones(5), False)
    want, want_stats = norm.apply(variables, x, jnp.ones(5), True, mutable=["batch_stats"])
    got, got_stats = norm.apply(variables, padded, weight, True, mutable=["batch_stats"])
    np.testing.assert_allclose(got[:5], want, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got_stats, want_stats)


def test_evaluation_uses_running_statistics() -> None:
    x, norm = _batch(2), Norm()
    variables = norm.init(jax.random.key(0), x, jnp.ones(2), True)
    got = norm.apply(variables, x, jnp.ones(2), False)
    np.testing.assert_allclose(got, x / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_bfloat16_keeps_float32_statistics() -> None:
    x, norm = _batch(4).astype(jnp.bfloat16), Norm(jnp.dtype("bfloat16"))
    variables = norm.init(jax.random.key(0), x, jnp.ones(4), True)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    got, updates = norm.apply(variables, x, jnp.ones(4), True, mutable=["batch_stats"])
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    assert got.dtype == jnp.bfloat16


@pytest.mark.parametrize("mode", ["sync", "local"])
def test_a_batch_of_padding_alone_stays_finite(mode: str) -> None:
    """Its own statistics would be zero, and a value normalised with them three hundred times as large."""
    x, norm = 1e3 * _batch(2), Norm(mode=mode)  # type: ignore[arg-type]
    variables = norm.init(jax.random.key(0), x, jnp.ones(2), False)
    got, _ = norm.apply(variables, x, jnp.zeros(2), True, mutable=["batch_stats"])
    np.testing.assert_allclose(got, norm.apply(variables, x, jnp.zeros(2), False), rtol=1e-6)


def test_frozen_trains_gain_and_shift_alone() -> None:
    x, norm = _batch(2), Norm(mode="frozen")
    variables = norm.init(jax.random.key(0), x, jnp.ones(2), False)
    variables["batch_stats"] = {"mean": jnp.full(4, 3.0), "var": jnp.full(4, 4.0)}
    got, updates = norm.apply(variables, x, jnp.ones(2), True, mutable=["batch_stats"])
    np.testing.assert_allclose(got, (x - 3) / np.sqrt(4 + 1e-5), rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])
    grads = jax.grad(lambda p: norm.apply({**variables, "params": p}, x, jnp.ones(2), True).sum())(variables["params"])
    np.testing.assert_allclose(grads["bias"], 60.0)
    np.testing.assert_allclose(grads["scale"], got.sum((0, 1, 2)), rtol=1e-4)


@pytest.mark.every_change
def test_every_mode_on_four_devices_is_one_device() -> None:
    """float64, shard_map and pmap: loss, gradients, statistics, the same statistics on every device.

    `sync` sums twice forward and once backward for each of four norms, less one that two share, and once for the
    gradients; statistics of the device's own rows wait for that last sum. The lean way sums once a pass and norm.
    """
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "four_devices.py"], capture_output=True, text=True,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "plain: equal on 4 devices; sums over devices {'sync': 12, 'local': 1, 'frozen': 1}",
        "lean: equal on 4 devices; sums over devices {'sync': 7, 'local': 1, 'frozen': 1}",
    ]
