"""ResNet v1.5 with mask bias and a 16-feature head (rows D1 to D3).

v1.5 puts a bottleneck's stride in its 3x3 convolution. Padding is explicit and symmetric, as in torch, so that
imported weights mean the same; names of layers follow torchvision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.models.mask_bias import add_mask
from bonemet_jax.models.norm import MaskedBatchNorm

HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
Bias = Callable[[Array], Array]


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


class Conv(nn.Module):
    """Convolution without bias, symmetric padding of kernel // 2, he-normal weights over the fan-out as torchvision."""

    features: int
    kernel: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32
    pointwise: Literal["conv", "matmul"] = "conv"

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width chan"]) -> Float[Array, "batch h w features"]:
        """Feature maps in the compute dtype."""
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", HE_NORMAL, shape, jnp.promote_types(self.dtype, jnp.float32)).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.kernel == 1 and self.pointwise == "matmul":
            return x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        pad = self.kernel // 2
        return jax.lax.conv_general_dilated(
            x, kernel, (self.stride, self.stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


class Block(nn.Module):
    """One residual block: two 3x3 convolutions, or 1x1, 3x3 (strided), 1x1 with four times the channels."""

    width: int
    stride: int
    bottleneck: bool
    dtype: jnp.dtype
    pointwise: Literal["conv", "matmul"]

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], train: bool,
        bias: Bias | None = None,
    ) -> Float[Array, "batch h w chan_out"]:
        """Output of the block; `bias` is applied to the sum before the last ReLU."""

        def conv(x: Array, features: int, kernel: int, stride: int, name: str) -> Array:
            return Conv(features, kernel, stride, self.dtype, self.pointwise, name=name)(x)

        def norm(x: Array, name: str) -> Array:
            return MaskedBatchNorm(self.dtype, name=name)(x, weight, train)

        chan_out = self.width * (4 if self.bottleneck else 1)
        steps = [(self.width, 1, 1), (self.width, 3, self.stride), (chan_out, 1, 1)] if self.bottleneck else [
            (self.width, 3, self.stride), (self.width, 3, 1)]
        y = x
        for i, (features, kernel, stride) in enumerate(steps, start=1):
            y = norm(conv(y, features, kernel, stride, f"conv{i}"), f"bn{i}")
            if i < len(steps):
                y = nn.relu(y)
        if x.shape[-1] != chan_out or self.stride != 1:
            x = norm(conv(x, chan_out, 1, self.stride, "downsample_conv"), "downsample_bn")
        total = x + y
        return nn.relu(total if bias is None else bias(total))


class ResNet(nn.Module):
    """Stem, residual stages with mask bias, global average pool, features, classes."""

    depth: Depth
    n_features: int
    n_classes: int
    mask_bias: MaskBiasConfig
    dtype: jnp.dtype = jnp.float32
    pointwise: Literal["conv", "matmul"] = "conv"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], mask: Float[Array, "batch height width"] | None,
        weight: Float[Array, " batch"], train: bool,
    ) -> Output:
        """Logits, features, pooled maps and taps; `mask` is coded +-0.5, `weight` is 0 for padding."""
        taps: dict[str, Array] = {}
        with jax.named_scope("stem"):
            x = Conv(self.depth.stem, 7, 2, self.dtype, name="conv1")(x)
            x = nn.relu(MaskedBatchNorm(self.dtype, name="bn1")(x, weight, train))
            taps["stem"] = x
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage in range(1, len(self.depth.blocks) + 1):
            with jax.named_scope(f"stage{stage}"):
                x = self._stage(stage, x, mask, weight, train)
            taps[f"stage{stage}"] = x
        # The mean is taken in the parameters' precision: the head is small and decides.
        pooled = x.astype(jnp.promote_types(self.dtype, jnp.float32)).mean((1, 2))
        features = nn.Dense(self.n_features, name="features")(pooled)
        logits = nn.Dense(self.n_classes, name="classes")(features)
        return Output(logits[None], features[None], pooled[None], taps)

    def _stage(self, stage: int, x: Array, mask: Array | None, weight: Array, train: bool) -> Array:
        biased = self.mask_bias.enabled and mask is not None and stage in self.mask_bias.stages
        bias = partial(add_mask, mask=mask, method=self.mask_bias.resize) if biased else None
        n_blocks = self.depth.blocks[stage - 1]
        for i in range(n_blocks):
            block = Block(
                self.depth.widths[stage - 1], 2 if stage > 1 and i == 0 else 1, self.depth.bottleneck, self.dtype,
                self.pointwise, name=f"layer{stage}_{i}",
            )
            inside = bias is not None and self.mask_bias.position == "before_relu" and i == n_blocks - 1
            x = block(x, weight, train, bias if inside else None)
        return bias(x) if bias is not None and self.mask_bias.position == "after_relu" else x


class JointModel(nn.Module):
    """One network sees all channels."""

    config: ModelConfig
    pointwise: Literal["conv", "matmul"] = "conv"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], train: bool = False
    ) -> Output:
        """`x` holds `config.channels` in their order; `weight` is 1 for real examples, 0 for padding."""
        has_mask = "mask" in self.config.channels
        mask = x[..., self.config.channels.index("mask")] if has_mask else None
        return _make_resnet(self.config, self.pointwise, "net")(x, mask, weight, train)


class PerChannelModel(nn.Module):
    """One network a channel, as the released code trains them.

    Adam works element by element, so training the sum of the branches' losses moves each branch exactly as training
    it alone with the same batches would.
    """

    config: ModelConfig
    pointwise: Literal["conv", "matmul"] = "conv"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width chan"], weight: Float[Array, " batch"], train: bool = False
    ) -> Output:
        """As JointModel, one branch a channel."""
        outs = [
            _make_resnet(self.config, self.pointwise, channel)(x[..., i : i + 1], None, weight, train)
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


def make_model(config: ModelConfig, pointwise: Literal["conv", "matmul"] = "conv") -> JointModel | PerChannelModel:
    """The network of `config`; call it as `apply(variables, x, weight, train)`.

    `pointwise` chooses how 1x1 convolutions are lowered; parameters and results are the same.
    """
    return (JointModel if config.branches == "joint" else PerChannelModel)(config, pointwise)


def compute_score(logits: Float[Array, "branch batch class"]) -> Float[Array, " batch"]:
    """The network's own P(bone metastasis): softmax of class 1, averaged over branches."""
    return jax.nn.softmax(logits, axis=-1)[..., 1].mean(0)


def compute_embedding(out: Output, config: ModelConfig) -> Float[Array, "batch feature"]:
    """A patient's embedding: X1..Xn or the pooled maps, branches side by side in channel order."""
    parts = out.features if config.embedding == "head" else out.pooled
    return jnp.moveaxis(parts, 0, 1).reshape(parts.shape[1], -1)


def _make_resnet(config: ModelConfig, pointwise: Literal["conv", "matmul"], name: str) -> ResNet:
    return ResNet(
        DEPTHS[config.network], config.n_features, config.n_classes, config.mask_bias,
        jnp.dtype(config.compute_dtype), pointwise, name=name,
    )
