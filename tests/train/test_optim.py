"""Learning-rate schedules against their formulas; Adam against the paper that defines it."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.config import OptimConfig
from bonemet_jax.train.optim import compute_lr, make_optimizer


def _lr(config: OptimConfig, epochs: int, steps_per_epoch: int, step: int) -> float:
    return float(compute_lr(config, epochs, jnp.float32(config.lr), jnp.int32(steps_per_epoch), jnp.int32(step)))


def test_step_schedule_halves_every_50_epochs() -> None:
    for epoch in (0, 49, 50, 99, 100, 299):
        for step in (0, 114):
            want = 1e-6 * 0.5 ** (epoch // 50)
            got = _lr(OptimConfig(lr=1e-6, schedule="step"), 300, 115, epoch * 115 + step)
            assert got == pytest.approx(want, rel=1e-6)


def test_cosine_ends_at_zero() -> None:
    for step in (0, 10, 20, 40, 50):
        want = 1e-3 * (1 + math.cos(math.pi * min(step, 40) / 40)) / 2
        assert _lr(OptimConfig(lr=1e-3, schedule="cosine"), 10, 4, step) == pytest.approx(want, abs=1e-9)


def test_constant() -> None:
    assert _lr(OptimConfig(lr=1e-6), 200, 4, 777) == pytest.approx(1e-6)


def test_first_adam_step_is_the_rate() -> None:
    optimizer = make_optimizer()
    params = {"w": jnp.array([1.0, -2.0])}
    updates, _ = optimizer.update({"w": jnp.array([0.3, -7.0])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], [1, -1], rtol=1e-5)
