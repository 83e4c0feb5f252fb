"""Embedding and score of images by PyTorch in evaluation mode: the peer of `embed`, with our own weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flax import traverse_util
from jaxtyping import Float32

from benchmarks.peers.torch_resnet import ResNet
from bonemet_jax.config import Config
from bonemet_jax.models.pretrained import torch_name

#: Kernels of convolutions and of linear layers, as PyTorch has them.
_AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}


def make_embed(
    config: Config, variables: Any, x: Float32[np.ndarray, "image height width chan"]
) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    """`embed(n, batch_size)`: embeddings and scores of the first n images, batch by batch, channels last.

    Args:
        config: The network, `joint`.
        variables: Our parameters and running statistics of one member, on the host.
        x: Input channels of all images, ready-made.
    """
    model = config.model
    bias_stages = model.mask_bias.stages if model.mask_bias.enabled else ()
    net = ResNet(model.network, len(model.channels), model.n_features, model.n_classes, bias_stages)
    flat: dict[str, Any] = traverse_util.flatten_dict(variables, sep="/")
    weights = {torch_name(path.replace("/net/", "/", 1)): leaf.transpose(_AXES[leaf.ndim])
               for path, leaf in flat.items()}  # fmt: skip
    tensors = {name: torch.tensor(np.ascontiguousarray(leaf)) for name, leaf in weights.items()}
    net.load_state_dict(tensors | {name: value for name, value in net.state_dict().items() if name not in tensors})
    net = net.to(memory_format=torch.channels_last).eval()  # pyrefly: ignore  # its stubs leave this form out
    images = torch.tensor(x.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)

    def embed(n: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            features = [net.features(net.pooled(part)) for part in images[:n].split(batch_size)]
            scores = [net.classes(part).softmax(1)[:, 1] for part in features]
            return torch.cat(features).numpy(), torch.cat(scores).numpy()

    return embed
