"""Adam and its learning-rate schedules (row E1)."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32

from bonemet_jax.config import OptimConfig


def make_optimizer() -> optax.GradientTransformation:
    """Adam with torch's defaults (beta .9 and .999, epsilon 1e-8), less the rate: `compute_lr` gives that."""
    return optax.scale_by_adam()


def compute_lr(
    config: OptimConfig, epochs: int, lr: Float[Array, ""], steps_per_epoch: Int32[Array, ""], step: Int32[Array, ""]
) -> Float[Array, ""]:
    """Learning rate of the update after `step` updates.

    Rate and epoch length are arrays, so that one program serves trainings that differ in them.

    Args:
        config: Schedule; its own rate is not looked at.
        epochs: Epochs of the whole run; `cosine` ends at zero there.
        lr: Rate at the start.
        steps_per_epoch: Updates of one epoch.
        step: Updates done.
    """
    if config.schedule == "cosine":
        progress = jnp.minimum(step / (epochs * steps_per_epoch), 1)
        return lr * (1 + jnp.cos(jnp.pi * progress)) / 2
    if config.schedule == "step":
        return lr * config.step_factor ** (step // steps_per_epoch // config.step_epochs)
    return lr
