"""Learning-rate schedules against their formulas; Adam against the paper that defines it."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.config import OptimConfig
from bonemet_jax.train.optim import make_optimizer, make_schedule


def test_step_schedule_halves_every_50_epochs() -> None:
    schedule = make_schedule(OptimConfig(lr=1e-6, schedule="step"), 300, 115)
    for epoch in (0, 49, 50, 99, 100, 299):
        for step in (0, 114):
            want = 1e-6 * 0.5 ** (epoch // 50)
            assert float(schedule(epoch * 115 + step)) == pytest.approx(want, rel=1e-6)


def test_cosine_ends_at_zero() -> None:
    schedule = make_schedule(OptimConfig(lr=1e-3, schedule="cosine"), 10, 4)
    for step in (0, 10, 20, 40):
        assert float(schedule(step)) == pytest.approx(1e-3 * (1 + math.cos(math.pi * step / 40)) / 2, abs=1e-9)


def test_constant() -> None:
    assert float(make_schedule(OptimConfig(lr=1e-6), 200, 4)(777)) == pytest.approx(1e-6)


def test_first_adam_step_is_the_rate() -> None:
    optimizer = make_optimizer(OptimConfig(lr=1e-3), 1, 1)
    params = {"w": jnp.array([1.0, -2.0])}
    updates, _ = optimizer.update({"w": jnp.array([0.3, -7.0])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], [-1e-3, 1e-3], rtol=1e-5)
