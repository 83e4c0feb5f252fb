"""What a training would need and take, from its shapes: memory of a batch, largest batch that fits, hours."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from bonemet_jax.config import Config
from bonemet_jax.models.flops import compute_train_gflop_per_image
from bonemet_jax.models.initial import variable_shapes
from bonemet_jax.models.resnet import make_model
from bonemet_jax.telemetry.device_rates import Rates
from bonemet_jax.train.optim import make_optimizer
from bonemet_jax.train.platform import choose_lowering
from bonemet_jax.train.state import make_state


@dataclass(frozen=True)
class BatchMemory:
    """Memory of one training step on one device, bytes."""

    fixed: int
    """Parameters, running statistics, Adam's moments, gradients."""
    per_image: int
    """What the backward pass needs of one image."""

    def count(self, n_images: int) -> int:
        """Of a batch of so many images on the device."""
        return self.fixed + n_images * self.per_image

    def find_largest_batch(self, free_bytes: float) -> int:
        """Images that fit into so many bytes; 0: not even one."""
        return max(0, int((free_bytes - self.fixed) // self.per_image))


#: Compiled for an H100, a step of ResNet101 with plain normalisations keeps this many times what lean ones keep.
_PLAIN_OVER_LEAN = 1.26
#: Bytes that the compiled step of ResNet101 moves (59.1 GB at 32 images, docs/decisions/0022) over those that it keeps.
_MOVED_OVER_KEPT = 9.4


def estimate_memory(config: Config) -> BatchMemory:
    """From shapes alone: what automatic differentiation keeps between the forward and the backward pass.

    Nothing is compiled. ResNet101 in bfloat16, lean: 183 MB an image; the step compiled for an H100 takes 197.

    Args:
        config: network, image size, dtype, engine.
    """
    lean = choose_lowering("gpu", replace(config.engine, normalise="lean"))
    model = make_model(config.model, lean)
    variables = variable_shapes(model)
    state = jax.eval_shape(lambda given: make_state(given, make_optimizer()), variables)
    gradients = count_bytes(variables["params"])
    one, two = (_count_kept(config, model, variables, n) for n in (1, 2))
    factor = _PLAIN_OVER_LEAN if config.engine.normalise == "plain" else 1
    return BatchMemory(count_bytes(state) + gradients, int(factor * (two - one)))


def estimate_images_per_s(config: Config, memory: BatchMemory, rates: Rates) -> float:
    """Images/s of a training on one device: arithmetic at the rate of a convolution, then memory traffic.

    A rough figure: what overlaps is counted twice, what waits not at all. Small networks wait most: `tiny` on two CPU
    cores trains at about a third of it.
    """
    gflop = compute_train_gflop_per_image(config.model, config.records.height, config.records.width)
    return 1 / (gflop / rates.convolution_gflop_s + _MOVED_OVER_KEPT * memory.per_image / 1e9 / rates.memory_gb_s)


def _count_kept(config: Config, model: Any, variables: dict[str, Any], n_images: int) -> int:
    height, width = config.records.height, config.records.width
    x = jax.ShapeDtypeStruct((n_images, height, width, len(config.model.channels)), jnp.float32)

    def keep(variables: dict[str, Any], x: Any) -> Any:
        def loss(params: Any) -> Any:
            given = {**variables, "params": params}
            out, _ = model.apply(given, x, jnp.ones(n_images), train=True, mutable=["batch_stats"])
            return out.logits.astype(jnp.float32).sum()

        return jax.vjp(loss, variables["params"])[1]

    return count_bytes(jax.eval_shape(keep, variables, x))


def count_bytes(tree: Any) -> int:
    """Of all arrays, or their shapes, in a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
