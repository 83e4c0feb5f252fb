"""The same networks in PyTorch, with torchvision's names: the peer of parity tests and step times."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bonemet_jax.config import Config


class Depth(NamedTuple):
    """Blocks a stage and their kind; channels of the stem, and of each stage before a bottleneck's expansion."""

    blocks: tuple[int, ...]
    bottleneck: bool
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: int = 64


DEPTHS = {
    "tiny": Depth((1, 1), False, (8, 16), 16),
    "resnet34": Depth((3, 4, 6, 3), False),
    "resnet50": Depth((3, 4, 6, 3), True),
    "resnet101": Depth((3, 4, 23, 3), True),
    "resnet152": Depth((3, 8, 36, 3), True),
}


class Block(nn.Module):
    """Basic block, or bottleneck with the stride in its 3x3 (v1.5)."""

    def __init__(self, chan_in: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        chan_out = width * (4 if bottleneck else 1)
        shapes = [(chan_in, width, 1, 1), (width, width, 3, stride), (width, chan_out, 1, 1)] if bottleneck else [
            (chan_in, width, 3, stride), (width, width, 3, 1)]
        self.n_layers = len(shapes)
        for i, (before, after, kernel, step) in enumerate(shapes, start=1):
            self.add_module(f"conv{i}", nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(after))
        self.downsample = None
        if stride != 1 or chan_in != chan_out:
            conv = nn.Conv2d(chan_in, chan_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(chan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Output of the block."""
        y = x
        for i in range(1, self.n_layers + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.n_layers:
                y = torch.relu(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, four stages, mask bias after those in `bias_stages`, mean, features, classes."""

    def __init__(self, network: str, n_channels: int, n_features: int = 16, n_classes: int = 2,
                 bias_stages: Sequence[int] = ()) -> None:
        """With `bias_stages` the last channel is the mask, coded +-0.5, averaged over each feature map's cell."""
        super().__init__()
        depth = DEPTHS[network]
        chan = depth.stem
        self.conv1 = nn.Conv2d(n_channels, chan, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(chan)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.n_stages, self.bias_stages = len(depth.blocks), tuple(bias_stages)
        for stage, (n_blocks, width) in enumerate(zip(depth.blocks, depth.widths, strict=True), start=1):
            layer = []
            for i in range(n_blocks):
                layer.append(Block(chan, width, 2 if stage > 1 and i == 0 else 1, depth.bottleneck))
                chan = width * (4 if depth.bottleneck else 1)
            self.add_module(f"layer{stage}", nn.Sequential(*layer))
        self.features = nn.Linear(chan, n_features)
        self.classes = nn.Linear(n_features, n_classes)

    def pooled(self, x: Tensor) -> Tensor:
        """Globally averaged feature maps, (batch, chan)."""
        mask = x[:, -1:]
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, self.n_stages + 1):
            x = getattr(self, f"layer{stage}")(x)
            if stage in self.bias_stages:
                x = x + area_mean(mask, x.shape[2], x.shape[3])
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classes(self.features(self.pooled(x)))


def make_step(config: Config, is_compiled: bool = False) -> Callable[[], float]:
    """A training step on random channels: forward, cross-entropy, backward, Adam; returns the loss.

    Channels last, on the GPU where PyTorch sees one. In bfloat16 under autocast, as PyTorch's guide has it; float32
    through TF32 there.

    Args:
        config: Network, sizes, dtype, learning rate.
        is_compiled: through torch.compile.
    """
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    model = config.model
    bias_stages = model.mask_bias.stages if model.mask_bias.enabled else ()
    net = ResNet(model.network, len(model.channels), model.n_features, model.n_classes, bias_stages)
    net = net.to(device).to(memory_format=torch.channels_last).train()  # pyrefly: ignore  # its stubs leave this form out
    optimizer = torch.optim.Adam(net.parameters(), lr=config.optim.lr, fused=device == "cuda")
    n, height, width = config.train.batch_size, config.records.height, config.records.width
    x = torch.rand(n, len(model.channels), height, width) * 2 - 1
    x[:, -1] = x[:, -1].sign() / 2
    x = x.to(device).to(memory_format=torch.channels_last)
    label = torch.as_tensor(np.arange(n) % 2).to(device)
    forward: Callable[[Tensor], Tensor] = torch.compile(net) if is_compiled else net
    is_half = model.compute_dtype == "bfloat16"

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=is_half):
            loss = nn.functional.cross_entropy(forward(x), label)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def area_mean(mask: Tensor, height: int, width: int) -> Tensor:
    """Mean of the mask over each of height x width cells, fractional borders weighted, as the paper's mask bias."""

    def overlaps(n_in: int, n_out: int) -> Tensor:
        cell = n_in / n_out
        low = torch.arange(n_out, dtype=torch.float64)[:, None] * cell
        pixel = torch.arange(n_in, dtype=torch.float64)[None]
        return ((torch.minimum(low + cell, pixel + 1) - torch.maximum(low, pixel)).clamp(min=0) / cell).to(mask.dtype)

    return torch.einsum("ph,bchw,qw->bcpq", overlaps(mask.shape[2], height), mask, overlaps(mask.shape[3], width))
