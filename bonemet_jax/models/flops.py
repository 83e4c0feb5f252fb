"""Work of one training step, counted from the network's shape: no compilation, no allocation."""

import math
from collections.abc import Iterator

import jax

from bonemet_jax.config import ModelConfig
from bonemet_jax.models.initial import variable_shapes
from bonemet_jax.models.resnet import DEPTHS, Depth, make_model


def compute_train_gflop_per_image(config: ModelConfig, height: int, width: int) -> float:
    """GFLOP of one image's training step: 3 x 2 x multiply-adds of convolutions and linear layers.

    The forward pass, the gradient of the weights and the gradient of the inputs cost the same; normalisation,
    activation and optimiser are left out. 191.7 for ResNet101 at 400x500x4.

    Args:
        config: Network and channels.
        height, width: Image, pixels.
    """
    n_channels = len(config.channels)
    branches, chan_in = (1, n_channels) if config.branches == "joint" else (n_channels, 1)
    macs = sum(_count_macs(DEPTHS[config.network], chan_in, height, width))
    out = DEPTHS[config.network].widths[-1] * DEPTHS[config.network].expansion
    macs += out * config.n_features + config.n_features * config.n_classes
    return branches * macs * 6 / 1e9


def count_parameters(config: ModelConfig) -> int:
    """Trained values of the network; running statistics are not counted."""
    shapes = variable_shapes(make_model(config))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def _count_macs(depth: Depth, chan: int, height: int, width: int) -> Iterator[int]:
    """Multiply-adds of each convolution, stem to last block."""
    height, width = _halve(height), _halve(width)
    yield height * width * 49 * chan * depth.stem
    height, width, chan = _halve(height), _halve(width), depth.stem
    for stage, (n_blocks, inner) in enumerate(zip(depth.blocks, depth.widths, strict=True)):
        for i in range(n_blocks):
            before = height * width
            if stage > 0 and i == 0:
                height, width = _halve(height), _halve(width)
            after, out = height * width, inner * depth.expansion
            if depth.bottleneck:  # the first 1x1 runs before the stride
                yield before * chan * inner + after * (9 * inner * inner + inner * out)
            else:
                yield after * 9 * (chan * inner + inner * inner)
            if chan != out or before != after:
                yield after * chan * out
            chan = out


def _halve(size: int) -> int:
    """Output size of a stride-2 layer with symmetric padding of kernel // 2."""
    return (size + 1) // 2
