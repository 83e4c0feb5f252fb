"""ResNet v1.5 with mask bias and a 16-feature head (rows D1 to D3).

v1.5 puts a bottleneck's stride in its 3x3 convolution. Padding is explicit and symmetric, as in torch, so that
imported weights mean the same; names of layers follow torchvision.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.models.layers import Layers
from bonemet_jax.models.lowering import PLAIN, Lowering, parameter_dtype
from bonemet_jax.models.mask_bias import MaskBias
from bonemet_jax.models.pool import max_pool


@dataclass(frozen=True)
class Depth:
    """Shape of one network: blocks a stage, channels of a stage before expansion, and the block's kind."""

    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: int = 64
    bottleneck: bool = False

    @property
    def expansion(self) -> int:
        """Output channels of a stage over its width."""
        return 4 if self.bottleneck else 1


DEPTHS: dict[str, Depth] = {
    # Two narrow stages: with four, 28 positive patients are learned by heart before the fat's texture is.
    "tiny": Depth((1, 1), widths=(8, 16), stem=16),
    "resnet34": Depth((3, 4, 6, 3)),
    "resnet50": Depth((3, 4, 6, 3), bottleneck=True),
    "resnet101": Depth((3, 4, 23, 3), bottleneck=True),
}


class Output(NamedTuple):
    """What a network says about a batch; `branch` is 1 unless every channel has its own network."""

    logits: Float[Array, "branch batch class"]
    features: Float[Array, "branch batch feature"]
    """X1..Xn, the head's linear layer."""
    pooled: Float[Array, "branch batch pooled"]
    """Globally averaged feature maps."""
    taps: dict[str, Float[Array, "batch height width chan"]]
    """Feature maps by name: stem, stage1 to the last stage (`ct/stage1` and so on with a network a channel)."""


#: Feature maps to add to taps of the residual stages, by the taps' names: with zeros, the gradient with respect to them
#: is the tap's own. Without any, the program is as if there were none.
Added = Mapping[str, Float[Array, "batch height width chan"]]


class Block(nn.Module):
    """One residual block: two 3x3 convolutions, or 1x1, 3x3 (strided), 1x1 with four times the channels."""

    width: int
    stride: int
    bottleneck: bool
    layers: Layers
    mask_bias: MaskBiasConfig | None = None
    """Added to the sum before the last ReLU; None: nothing is."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], mask: Float[Array, "batch in_height in_width"] | None,
        weight: Float[Array, " batch"], train: bool,
    ) -> Float[Array, "batch h w chan_out"]:
        """Output of the block."""
        chan_out = self.width * (4 if self.bottleneck else 1)
        steps = [(self.width, 1, 1), (self.width, 3, self.stride), (chan_out, 1, 1)] if self.bottleneck else [
            (self.width, 3, self.stride), (self.width, 3, 1)]
        y = x
        for i, step in enumerate(steps, start=1):
            y = self.layers.conv_norm(y, weight, train, *step, (f"conv{i}", f"bn{i}"), clip=i < len(steps))
        if x.shape[-1] != chan_out or self.stride != 1:
            names = "downsample_conv", "downsample_bn"
            x = self.layers.conv_norm(x, weight, train, chan_out, 1, self.stride, names, clip=False)
        total = x + y
        if self.mask_bias is not None and mask is not None:
            total = MaskBias(self.mask_bias)(total, mask)
        return self.layers.relu(total)


class ResNet(nn.Module):
    """Stem, residual stages with mask bias, global average pool, features, classes."""

    depth: Depth
    n_features: int
    n_classes: int
    mask_bias: MaskBiasConfig
    norm: Literal["sync", "local", "frozen"] = "sync"
    dtype: jnp.dtype = jnp.float32
    lowering: Lowering = PLAIN
    axis: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], mask: Float[Array, "batch height width"] | None,
        weight: Float[Array, " batch"], train: bool, added: Added | None = None,
    ) -> Output:
        """Logits, features, pooled maps and taps; `mask` is coded +-0.5, `weight` is 0 for padding."""
        layers = Layers(self.dtype, self.lowering, self.norm, self.axis)
        taps: dict[str, Array] = {}
        with jax.named_scope("stem"):
            x = layers.conv_norm(x, weight, train, self.depth.stem, 7, 2, ("conv1", "bn1"), clip=True)
            taps["stem"] = x
            x = max_pool(x)
        make_block = partial(self._make_block, layers)
        for stage in range(1, len(self.depth.blocks) + 1):
            with jax.named_scope(f"stage{stage}"):
                x = self._stage(stage, make_block, x, mask, weight, train)
            if added is not None and f"stage{stage}" in added:
                x = x + added[f"stage{stage}"]
            taps[f"stage{stage}"] = x
        # The mean is taken in the parameters' precision: the head is small and decides.
        high = parameter_dtype(self.dtype)
        pooled = x.astype(high).mean((1, 2))
        features = nn.Dense(self.n_features, param_dtype=high, name="features")(pooled)
        logits = nn.Dense(self.n_classes, param_dtype=high, name="classes")(features)
        return Output(logits[None], features[None], pooled[None], taps)

    @nn.nowrap
    def _stage(
        self, stage: int, make_block: Callable[[int, int, str], nn.Module], x: Array, mask: Array | None,
        weight: Array, train: bool,
    ) -> Array:
        """The blocks one after another, equal ones in a loop if asked, and the mask bias behind them."""
        groups = find_equal_blocks(self.depth, self.mask_bias) if self.lowering.scan_blocks else {}
        scanned = groups.get(f"layer{stage}_rest", ())

        def apply(block: nn.Module, x: Array, _: None) -> tuple[Array, None]:
            return block(x, mask, weight, train), None

        loop = nn.scan(apply, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True},
                       length=len(scanned))  # fmt: skip
        for i in range(self.depth.blocks[stage - 1]):
            name = f"layer{stage}_{i}"
            if name not in scanned:
                x, _ = apply(make_block(stage, i, name), x, None)
            elif name == scanned[0]:
                x, _ = loop(make_block(stage, i, f"layer{stage}_rest"), x, None)
        if mask is not None and _adds_mask(self.mask_bias, stage, "after_relu"):
            x = MaskBias(self.mask_bias)(x, mask)
        return x

    @nn.nowrap
    def _make_block(self, layers: Layers, stage: int, i: int, name: str) -> nn.Module:
        """Block `i` of a stage; the mask bias before a ReLU is its last block's."""
        block = nn.remat(Block, static_argnums=(4,)) if self.lowering.remat else Block
        last = i == self.depth.blocks[stage - 1] - 1
        biased = last and _adds_mask(self.mask_bias, stage, "before_relu")
        return block(
            self.depth.widths[stage - 1], 2 if stage > 1 and i == 0 else 1, self.depth.bottleneck, layers,
            self.mask_bias if biased else None, name=name,
        )


def find_equal_blocks(depth: Depth, mask_bias: MaskBiasConfig) -> dict[str, tuple[str, ...]]:
    """Blocks of one stage that differ in nothing but their values, two or more, by the name they have when stacked.

    A stage's first block changes the shape; its last one differs when the mask is added inside.
    """
    groups = {}
    for stage, n_blocks in enumerate(depth.blocks, start=1):
        equal = range(1, n_blocks - 1 if _adds_mask(mask_bias, stage, "before_relu") else n_blocks)
        if len(equal) > 1:
            groups[f"layer{stage}_rest"] = tuple(f"layer{stage}_{i}" for i in equal)
    return groups


def _adds_mask(config: MaskBiasConfig, stage: int, position: Literal["after_relu", "before_relu"]) -> bool:
    return config.enabled and stage in config.stages and config.position == position


class JointModel(nn.Module):
    """One network sees all channels."""

    config: ModelConfig
    lowering: Lowering = PLAIN
    axis: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], train: bool = False,
        added: Added | None = None,
    ) -> Output:
        """`x` holds `config.channels` in their order; `weight` is 1 for real examples, 0 for padding."""
        has_mask = "mask" in self.config.channels
        mask = x[..., self.config.channels.index("mask")] if has_mask else None
        return _make_resnet(self, "net")(x, mask, weight, train, added)


class PerChannelModel(nn.Module):
    """One network a channel, as the released code trains them.

    Adam works element by element, so training the sum of the branches' losses moves each branch exactly as training
    it alone with the same batches would.
    """

    config: ModelConfig
    lowering: Lowering = PLAIN
    axis: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], train: bool = False,
        added: Added | None = None,
    ) -> Output:
        """As JointModel, one branch a channel."""
        outs = [
            _make_resnet(self, channel)(x[..., i : i + 1], None, weight, train, _pick_branch(added, channel))
            for i, channel in enumerate(self.config.channels)
        ]
        taps = {
            f"{channel}/{name}": tap
            for channel, out in zip(self.config.channels, outs, strict=True) for name, tap in out.taps.items()
        }
        return Output(
            jnp.concatenate([o.logits for o in outs]), jnp.concatenate([o.features for o in outs]),
            jnp.concatenate([o.pooled for o in outs]), taps,
        )


def make_model(
    config: ModelConfig, lowering: Lowering = PLAIN, axis: str | None = None, dtype: jnp.dtype | None = None
) -> JointModel | PerChannelModel:
    """The network of `config`; call it as `apply(variables, x, weight, train)`.

    Args:
        config: What is computed.
        lowering: How; parameters and results are the same.
        axis: Mesh axis over which the batch is split, when the model runs inside shard_map or pmap; None when it sees
            the whole batch, wherever its rows lie.
        dtype: Of activations, instead of the config's: float64 (with x64 enabled) makes parameters and statistics
            float64 too, so that two ways of computing can be compared without rounding.
    """
    kind = JointModel if config.branches == "joint" else PerChannelModel
    return kind(config, lowering, axis, jnp.dtype(dtype or config.compute_dtype))


def find_stride(tap: str) -> int:
    """Pixels of the image between two neighbours in a residual stage's tap: 4 after the first, then twice as many."""
    return 2 ** (int(tap.rpartition("stage")[2]) + 1)


def compute_score(logits: Float[Array, "branch batch class"]) -> Float[Array, " batch"]:
    """The network's own P(bone metastasis): softmax of class 1, averaged over branches."""
    return jax.nn.softmax(logits, axis=-1)[..., 1].mean(0)


def compute_embedding(out: Output, config: ModelConfig) -> Float[Array, "batch feature"]:
    """A patient's embedding: X1..Xn or the pooled maps, branches side by side in channel order."""
    parts = out.features if config.embedding == "head" else out.pooled
    return jnp.moveaxis(parts, 0, 1).reshape(parts.shape[1], -1)


def _pick_branch(added: Added | None, channel: str) -> Added | None:
    """What is added to this branch's taps, by their names inside it."""
    prefix = f"{channel}/"
    return added and {name.removeprefix(prefix): x for name, x in added.items() if name.startswith(prefix)}


def _make_resnet(model: JointModel | PerChannelModel, name: str) -> ResNet:
    config = model.config
    return ResNet(
        DEPTHS[config.network], config.n_features, config.n_classes, config.mask_bias, config.norm, model.dtype,
        model.lowering, model.axis, name=name,
    )
