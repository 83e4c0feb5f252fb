"""One training step and one evaluation step of one member: pure, for one device or many.

Nothing here knows devices. With `axis` a step is one device's part: it sees its rows of the batch alone and says itself
what is summed over the others. Without, it sees the whole batch, wherever its rows lie.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Bool, Float, Int32

from bonemet_jax.channels.stack import find_needed, make_channels
from bonemet_jax.config import Config
from bonemet_jax.models.moments import sum_over
from bonemet_jax.models.resnet import JointModel, PerChannelModel, compute_embedding, compute_score
from bonemet_jax.train.optim import compute_lr
from bonemet_jax.train.state import TrainState

Batch = dict[str, Array]
"""The stored arrays that `needed_arrays` names, label, flip and weight (0 for padding)."""
Tree = TypeVar("Tree")


class Hyper(NamedTuple):
    """What may differ between trainings that share one program."""

    lr: Float[Array, ""]
    """Learning rate before its schedule."""
    steps_per_epoch: Int32[Array, ""]
    class_weight: Float[Array, " class"]


class StepMetrics(NamedTuple):
    """Sums, so that an epoch's mean counts every example once."""

    loss_sum: Float[Array, ""]
    n: Float[Array, ""]
    """Examples."""
    sound: Bool[Array, ""]
    """False at and after the first step whose input, loss or gradient is not finite."""
    unsound: Bool[Array, " batch"]
    """Examples of this device whose input or loss is not finite."""


class Evaluation(NamedTuple):
    """One row an example; rows of weight 0 mean nothing."""

    loss: Float[Array, " batch"]
    score: Float[Array, " batch"]
    embedding: Float[Array, "batch feature"]


TrainStep = Callable[[TrainState, Batch, Hyper], tuple[TrainState, StepMetrics]]
EvalStep = Callable[[dict[str, Any], Batch, Hyper], Evaluation]


def make_train_step(
    model: JointModel | PerChannelModel, optimizer: optax.GradientTransformation, config: Config,
    axis: str | None = None,
) -> TrainStep:
    """`train_step(state, batch, hyper) -> (state, metrics)`: channels, forward, backward, sum over devices, update.

    A batch of padding alone changes nothing, and nothing changes after a value that is not finite.

    Args:
        model: Made for the same `axis`.
        optimizer: Direction of the update; `compute_lr` its length.
        config: Channels, schedule, dtype in which gradients are summed.
        axis: Mesh axis over which the batch is split; None for the whole batch.
    """
    gradient_dtype = jnp.dtype(
        config.model.compute_dtype if config.engine.gradient_dtype == "compute" else config.engine.gradient_dtype
    )

    def train_step(state: TrainState, batch: Batch, hyper: Hyper) -> tuple[TrainState, StepMetrics]:
        x = make_batch_channels(batch, config)
        n = sum_over(axis, batch["weight"].sum())

        def loss_share(params: Any) -> tuple[Array, tuple[Any, Array]]:
            """This device's part of the mean loss of the whole batch."""
            variables = {"params": params, "batch_stats": state.batch_stats}
            out, updated = model.apply(variables, x, batch["weight"], train=True, mutable=["batch_stats"])
            loss = compute_loss(out.logits, batch["label"], hyper.class_weight)
            share = (loss * batch["weight"]).sum() / jnp.maximum(n, 1)
            return share, (updated.get("batch_stats", state.batch_stats), loss)

        (share, (batch_stats, losses)), grads = jax.value_and_grad(loss_share, has_aux=True)(state.params)
        unsound = (batch["weight"] > 0) & ~(jnp.isfinite(x).all((1, 2, 3)) & jnp.isfinite(losses))
        with jax.named_scope("gradient_sum"):
            grads = _sum_in(gradient_dtype, axis, grads)
            loss, n_unsound = sum_over(axis, (share, unsound.sum().astype(share.dtype)))
            grads = jax.tree.map(_lay_out, grads)
        # Maximum on some backends forgets a NaN, so a finite loss alone proves nothing.
        finite = (n_unsound == 0) & jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads))
        sound = state.sound & (finite | (n == 0))
        with jax.named_scope("update"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            lr = compute_lr(config.optim, config.train.epochs, hyper.lr, hyper.steps_per_epoch, state.step)
            params = jax.tree.map(lambda p, u: (p - lr * u).astype(p.dtype), state.params, updates)
            updated = TrainState(state.step + 1, sound, params, batch_stats, opt_state)
            kept = jax.tree.map(lambda new, old: jnp.where(sound & (n > 0), new, old), updated, state)
        return kept._replace(sound=sound), StepMetrics(loss * n, n, sound, unsound)

    return train_step


def make_eval_step(model: JointModel | PerChannelModel, config: Config) -> EvalStep:
    """`eval_step(variables, batch, hyper) -> Evaluation`, with the running statistics.

    Validation and embedding share it; no device needs another.
    """

    def eval_step(variables: dict[str, Any], batch: Batch, hyper: Hyper) -> Evaluation:
        out: Any = model.apply(variables, make_batch_channels(batch, config), batch["weight"], train=False)
        loss = compute_loss(out.logits, batch["label"], hyper.class_weight)
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


def _sum_in(dtype: jnp.dtype, axis: str | None, values: Tree) -> Tree:
    """`sum_over`, the sums taken in `dtype`."""
    if axis is None:
        return values
    sums = sum_over(axis, jax.tree.map(lambda x: x.astype(dtype), values))
    return jax.tree.map(lambda total, x: total.astype(x.dtype), sums, values)


def _lay_out(grad: Array) -> Array:
    """In memory as the parameter is, before the update begins.

    GPUs give kernels' gradients with their axes in another order. Were they turned inside the update, it could not
    happen in place: the whole state would be written twice.
    """
    return jax.lax.optimization_barrier(with_layout_constraint(grad, Layout(tuple(range(grad.ndim)))))
