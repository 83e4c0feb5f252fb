"""Adam and its learning-rate schedules (row E1)."""

import optax

from bonemet_jax.config import OptimConfig


def make_optimizer(config: OptimConfig, epochs: int, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam with torch's defaults (beta .9 and .999, epsilon 1e-8); the rate changes by epoch as `config` says.

    Args:
        config: Rate and schedule.
        epochs: Epochs of the whole run; `cosine` ends at zero there.
        steps_per_epoch: Updates of one epoch.
    """
    return optax.adam(make_schedule(config, epochs, steps_per_epoch))


def make_schedule(config: OptimConfig, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate as a function of updates done."""
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(config.lr, epochs * steps_per_epoch)
    if config.schedule == "step":
        drops = range(config.step_epochs, epochs, config.step_epochs)
        return optax.piecewise_constant_schedule(
            config.lr, {epoch * steps_per_epoch: config.step_factor for epoch in drops}
        )
    return optax.constant_schedule(config.lr)
