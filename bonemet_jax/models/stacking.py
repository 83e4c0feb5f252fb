"""Variables of equal blocks: one by one, as they are saved and named by torchvision, or stacked, as `scan_blocks` runs.

Both functions take any tree whose dictionaries name blocks as the network does: parameters, running statistics, the
moments of an optimiser.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bonemet_jax.models.resnet import DEPTHS, JointModel, PerChannelModel, find_equal_blocks

Tree = TypeVar("Tree")
Node = dict[str, Any]


def stack_blocks(tree: Tree, model: JointModel | PerChannelModel, axis: int = 0) -> Tree:
    """The tree as `model` computes with it, from the one that is saved; as it is when `model` does not scan.

    Args:
        tree: Leaves are numpy or jax arrays.
        model: Says which blocks are stacked.
        axis: Where the block axis goes: 0, or 1 after a leading axis of members.
    """

    def stack(node: Node, name: str, members: tuple[str, ...]) -> Node:
        rest = {key: value for key, value in node.items() if key not in members}
        return rest | {name: jax.tree.map(lambda *leaves: _stack(leaves, axis), *(node[key] for key in members))}

    return _convert(tree, model, stack, lambda name, members: members[0])


def unstack_blocks(tree: Tree, model: JointModel | PerChannelModel, axis: int = 0) -> Tree:
    """The inverse of `stack_blocks`: the tree that is saved."""

    def unstack(node: Node, name: str, members: tuple[str, ...]) -> Node:
        rest = {key: value for key, value in node.items() if key != name}
        parts = {key: jax.tree.map(lambda x, i=i: x[(slice(None),) * axis + (i,)], node[name])
                 for i, key in enumerate(members)}  # fmt: skip
        return rest | parts

    return _convert(tree, model, unstack, lambda name, members: name)


def _convert(
    tree: Tree, model: JointModel | PerChannelModel, change: Callable[[Node, str, tuple[str, ...]], Node],
    key: Callable[[str, tuple[str, ...]], str],
) -> Tree:
    """`change` applied for each group of equal blocks to every dictionary that holds the group's `key`."""
    groups = find_equal_blocks(DEPTHS[model.config.network], model.config.mask_bias)
    if not model.lowering.scan_blocks:
        return tree

    def is_network(node: Any) -> bool:
        return isinstance(node, dict) and any(key(*group) in node for group in groups.items())

    def convert(node: Any) -> Any:
        if is_network(node):
            for group in groups.items():
                node = change(node, *group)
        return node

    return jax.tree.map(convert, tree, is_leaf=is_network)


def _stack(leaves: tuple[Any, ...], axis: int) -> Any:
    return (np if isinstance(leaves[0], np.ndarray) else jnp).stack(leaves, axis)
