"""The step alone: padding changes nothing, branches' losses add up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bonemet_jax.config import Config
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.models.initial import make_variables
from bonemet_jax.models.resnet import make_model
from bonemet_jax.train.state import TrainState, make_state
from bonemet_jax.train.step import Hyper, compute_loss, make_train_step


@pytest.mark.every_change
def test_padded_batch_gives_the_same_update(records: RecordArrays, config: Config) -> None:
    # the update is the gradient itself
    model, optimizer = make_model(config.model), optax.identity()
    hyper = Hyper(jnp.float32(1), jnp.int32(1), jnp.ones(2))
    step = jax.jit(make_train_step(model, optimizer, config))
    state = make_state(make_variables(model, 0, 0), optimizer)

    def updated(rows: list[int], weight: list[float]) -> tuple[TrainState, float]:
        batch = {name: getattr(records, name)[rows] for name in ("ct", "lbp", "hog", "mask", "label")}
        more = {"flip": jnp.zeros((len(rows), 2), bool), "weight": jnp.array(weight)}
        new, metrics = step(state, batch | more, hyper)
        assert float(metrics.n) == 3
        return new, float(metrics.loss_sum)

    want, want_loss = updated([3, 4, 5], [1, 1, 1])
    got, got_loss = updated([3, 4, 5, 0, 0], [1, 1, 1, 0, 0])
    assert abs(got_loss - want_loss) < 1e-4
    for a, b, start in zip(*(jax.tree.leaves(s.params) for s in (got, want, state)), strict=True):
        # float32 sums in another order: measured 1e-5 of the largest gradient; padding that counts gives 1e-1
        np.testing.assert_allclose(a - start, b - start, atol=2e-3 * float(np.abs(b - start).max()) + 1e-6)
    for a, b in zip(*(jax.tree.leaves(s.batch_stats) for s in (got, want)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_loss_sums_branches_and_weighs_classes() -> None:
    logits = jnp.array([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    got = compute_loss(logits, jnp.array([1, 0]), jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(got, [3 * 2 * np.log(2), np.log1p(np.exp(-2)) + np.log(2)], rtol=1e-6)
