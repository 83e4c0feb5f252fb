"""A network's variables under torchvision's names and in its layouts: what others read, and the way back."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from bonemet_jax.models.initial import variable_shapes
from bonemet_jax.models.lowering import PLAIN
from bonemet_jax.models.pretrained import torch_name
from bonemet_jax.models.resnet import JointModel, PerChannelModel

#: Axes by rank: convolutions from (rows, columns, in, out) to (out, in, rows, columns), linear layers to (out, in).
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
_FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}


def name_tensors(variables: dict[str, Any], model: JointModel | PerChannelModel) -> dict[str, Any]:
    """Views of all parameters and running statistics, of numpy's arrays or jax's, by torchvision's names.

    The head is features and classes; with a network a channel that comes first: ct.layer1.0.conv1.weight.

    Args:
        variables: As they are saved, blocks one by one.
        model: Whose they are.
    """
    leaves: dict[str, Any] = traverse_util.flatten_dict(variables, sep="/")
    return {_find_name(path, model): _turn(x, _TO_TORCH) for path, x in leaves.items()}


def make_variables(tensors: Mapping[str, Any], model: JointModel | PerChannelModel) -> dict[str, Any]:
    """The inverse of `name_tensors`, of numpy's arrays or jax's. Raises: KeyError naming a tensor that is missing."""
    paths = traverse_util.flatten_dict(variable_shapes(model.clone(lowering=PLAIN)), sep="/")
    return traverse_util.unflatten_dict(
        {path: _turn(tensors[_find_name(path, model)], _FROM_TORCH) for path in paths}, sep="/"
    )


def _find_name(path: str, model: JointModel | PerChannelModel) -> str:
    """`path`: params/net/layer1_0/conv1/kernel; with a network a channel that channel is in the place of net."""
    kind, branch, rest = path.split("/", 2)
    name = torch_name(f"{kind}/{rest}")
    return name if model.config.branches == "joint" else f"{branch}.{name}"


def _turn(x: Any, axes: Mapping[int, tuple[int, ...]]) -> Any:
    return x.transpose(axes[x.ndim]) if x.ndim in axes else x
