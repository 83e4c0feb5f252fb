"""One training step and one evaluation step: pure, for one device or many. Nothing here knows devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from bonemet_jax.channels.stack import find_needed, make_channels
from bonemet_jax.config import Config
from bonemet_jax.models.resnet import JointModel, PerChannelModel, compute_embedding, compute_score
from bonemet_jax.train.state import TrainState

Batch = dict[str, Array]
"""The stored arrays that `needed_arrays` names, label, flip, weight (0 for padding) and class_weight (class,)."""


class StepMetrics(NamedTuple):
    """Sums, so that an epoch's mean counts every example once."""

    loss_sum: Float[Array, ""]
    """NaN also when an input or a gradient was not finite."""
    n: Float[Array, ""]


class Evaluation(NamedTuple):
    """One row an example; rows of weight 0 mean nothing."""

    loss: Float[Array, " batch"]
    score: Float[Array, " batch"]
    embedding: Float[Array, "batch feature"]


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]
EvalStep = Callable[[dict[str, Any], Batch], Evaluation]


def make_train_step(
    model: JointModel | PerChannelModel, optimizer: optax.GradientTransformation, config: Config
) -> TrainStep:
    """`train_step(state, batch) -> (state, metrics)`: channels, forward, backward, update."""

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        x = make_batch_channels(batch, config)
        n = batch["weight"].sum()

        def mean_loss(params: Any) -> tuple[Array, Any]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            out, updates = model.apply(variables, x, batch["weight"], train=True, mutable=["batch_stats"])
            loss = compute_loss(out.logits, batch["label"], batch["class_weight"])
            return (loss * batch["weight"]).sum() / jnp.maximum(n, 1), updates["batch_stats"]

        (loss, batch_stats), grads = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # Maximum on some backends forgets a NaN, so a finite loss alone proves nothing.
        sound = jnp.isfinite(x).all() & jnp.isfinite(optax.tree.norm(grads))
        metrics = StepMetrics(jnp.where(sound, loss * n, jnp.nan), n)
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return train_step


def make_eval_step(model: JointModel | PerChannelModel, config: Config) -> EvalStep:
    """`eval_step(variables, batch) -> Evaluation`, with the running statistics; validation and embedding share it."""

    def eval_step(variables: dict[str, Any], batch: Batch) -> Evaluation:
        out: Any = model.apply(variables, make_batch_channels(batch, config), batch["weight"], train=False)
        loss = compute_loss(out.logits, batch["label"], batch["class_weight"])
        return Evaluation(loss, compute_score(out.logits), compute_embedding(out, config.model))

    return eval_step


def needed_arrays(config: Config) -> tuple[str, ...]:
    """Stored arrays that the config's input channels are made of."""
    return find_needed(config.model.channels, config.input.channels == "on_device")


def make_batch_channels(batch: Batch, config: Config) -> Float[Array, "batch height width chan"]:
    """The network's input, float32, from a batch of stored arrays."""
    needed = needed_arrays(config)
    lbp, hog, mask = (batch[name] if name in needed else None for name in ("lbp", "hog", "mask"))
    with jax.named_scope("channels"):
        return make_channels(batch["ct"], lbp, hog, mask, batch["flip"], config.model.channels, config.train.flips)


def compute_loss(
    logits: Float[Array, "branch batch class"], label: Array, class_weight: Float[Array, " class"]
) -> Float[Array, " batch"]:
    """Cross-entropy of each example times its class's weight, summed over branches.

    The caller divides by the number of examples, not by the sum of their weights: a batch without positives then does
    not pull harder than one with them.
    """
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.broadcast_to(label, logits.shape[:-1]))
    return entropy.sum(0) * class_weight[label]
