"""One training step of a ResNet by PyTorch and by ours, from the same weights, told in torchvision's names and layouts.

Both see the same batch of 4 channels, the last of them the coded mask, which is also added after stages 1 and 2.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import traverse_util

from benchmarks.peers.torch_resnet import ResNet
from bonemet_jax.config import ModelConfig
from bonemet_jax.models.lowering import PLAIN, Lowering
from bonemet_jax.models.pretrained import convert_tensors, torch_name
from bonemet_jax.models.resnet import make_model
from bonemet_jax.train.step import compute_loss

HEAD = ("features", "classes")
Tensors = dict[str, np.ndarray]


class Batch(NamedTuple):
    """Images (batch, height, width, channel) and their labels."""

    x: np.ndarray
    label: np.ndarray


class Step(NamedTuple):
    """What one step computes, by torchvision's names."""

    logits: np.ndarray
    grads: Tensors
    stats: Tensors
    """Running means and variances after the step."""

    def tensors(self) -> Tensors:
        """Everything in one dictionary."""
        grads = {f"gradient of {name}": x for name, x in self.grads.items()}
        return {"logits": self.logits} | grads | self.stats


def make_batch(n: int, height: int, width: int) -> Batch:
    """Values that float32 holds exactly; every label comes."""
    random = np.random.default_rng(0)
    x = random.uniform(0, 1, (n, height, width, 4)).astype(np.float32)
    x[..., 3] = np.where(np.hypot(*np.mgrid[-1:1:height * 1j, -1:1:width * 1j]) < random.uniform(0.4, 0.9), 0.5, -0.5)
    return Batch(x.astype(np.float64), np.arange(n) % 2)


@cache
def make_weights(network: str) -> Tensors:
    """Random weights and statistics by torchvision's names, float64 values that float32 holds exactly."""
    random = np.random.default_rng(0)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 4:
            return random.normal(size=shape) * np.sqrt(2 / (shape[0] * shape[2] * shape[3]))
        if len(shape) == 2:
            return random.normal(size=shape) / np.sqrt(shape[1])
        one = 1 if name.endswith(("weight", "running_var")) else 0
        return one + random.uniform(-0.3, 0.3, shape)

    shapes = {name: tuple(x.shape) for name, x in ResNet(network, 4).state_dict().items() if x.ndim}
    return {name: draw(name, shape).astype(np.float32).astype(np.float64) for name, shape in shapes.items()}


def make_peer(weights: Mapping[str, np.ndarray], network: str, dtype: torch.dtype) -> ResNet:
    """PyTorch's network with these weights, in training mode."""
    peer = ResNet(network, 4, bias_stages=(1, 2))
    missing = peer.load_state_dict({name: torch.tensor(x) for name, x in weights.items()}, strict=False)
    assert not missing.unexpected_keys and all("num_batches" in name for name in missing.missing_keys)
    return peer.to(dtype, memory_format=torch.channels_last).train()


def step_of_peer(network: str, batch: Batch, dtype: torch.dtype) -> Step:
    """Mean cross-entropy, backward."""
    peer = make_peer(make_weights(network), network, dtype)
    logits = peer(put(batch.x, dtype))
    torch.nn.functional.cross_entropy(logits, torch.tensor(batch.label)).backward()
    stats = {name: to_numpy(x) for name, x in peer.named_buffers() if "running" in name}
    return Step(to_numpy(logits), {name: to_numpy(p.grad) for name, p in peer.named_parameters()}, stats)


def step_of_ours(
    network: str, batch: Batch, dtype: Any, lowering: Lowering = PLAIN, options: dict[str, str] | None = None
) -> Step:
    """The same by this project's network; in float64 with x64 enabled."""
    compute = make_gradient(network, dtype, lowering, options)
    variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), to_ours(make_weights(network)))
    grads, (logits, stats) = compute(variables, batch.x.astype(dtype), batch.label)
    return Step(np.asarray(logits), to_torch({"params": grads}), to_torch({"batch_stats": stats}))


def make_gradient(
    network: str, dtype: Any, lowering: Lowering = PLAIN, options: dict[str, str] | None = None
) -> Callable[[Any, Any, Any], Any]:
    """Compiled `(variables, x, label) -> (gradients, (logits, statistics))` of the mean cross-entropy."""
    model = make_model(ModelConfig(network=network), lowering, dtype=jnp.dtype(dtype))  # type: ignore[arg-type]

    def compute(variables: Any, x: Any, label: Any) -> Any:
        def loss(params: Any) -> Any:
            given = {**variables, "params": params}
            out, new = model.apply(given, x, jnp.ones(len(x), dtype), train=True, mutable=["batch_stats"])
            return compute_loss(out.logits, label, jnp.ones(2, dtype)).mean(), (out.logits[0], new["batch_stats"])

        return jax.grad(loss, has_aux=True)(variables["params"])

    return jax.jit(compute, compiler_options=options)


def to_ours(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of the joint network: the trunk by the table that imports use, the head by hand."""
    _, trunk = convert_tensors({k: x for k, x in weights.items() if not k.startswith(HEAD)}, "peer", (4,))
    head = {f"params/{name}/{leaf}": x for name in HEAD
            for leaf, x in (("kernel", weights[f"{name}.weight"].T), ("bias", weights[f"{name}.bias"]))}
    flat = {path.replace("/", "/net/", 1): x for path, x in (trunk | head).items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def to_torch(variables: Any) -> Tensors:
    """Our parameters, gradients or statistics in torchvision's names and layouts."""
    flat = traverse_util.flatten_dict(jax.device_get(variables), sep="/")
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    return {torch_name(path.replace("/net/", "/", 1)): x.transpose(axes[x.ndim]) for path, x in flat.items()}


def put(x: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Images as PyTorch likes them."""
    return torch.tensor(x.transpose(0, 3, 1, 2)).to(dtype, memory_format=torch.channels_last)


def to_numpy(x: Any) -> np.ndarray:
    """A tensor's values, to keep."""
    return x.detach().numpy().copy()


def find_worst(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """The tensor whose largest difference is the largest part of its own largest value."""
    assert set(got) == set(want), set(got) ^ set(want)
    return max((float(np.abs(got[name] - x).max() / np.abs(x).max()), name) for name, x in want.items())
