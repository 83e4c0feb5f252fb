"""Variables of equal blocks stacked and back: the same arrays, wherever they stand in a tree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.models.initial import make_variables, variable_shapes
from bonemet_jax.models.lowering import Lowering
from bonemet_jax.models.resnet import DEPTHS, JointModel, PerChannelModel, find_equal_blocks, make_model
from bonemet_jax.models.stacking import stack_blocks, unstack_blocks

SCAN = Lowering(scan_blocks=True)
PER_CHANNEL = ModelConfig(network="tiny", channels=("ct", "hog"), branches="per_channel",
                          mask_bias=MaskBiasConfig(enabled=False))  # fmt: skip


class State(NamedTuple):
    """As a training state: a step, parameters, moments."""

    step: np.ndarray
    params: dict
    opt_state: optax.OptState


def _make(config: ModelConfig) -> tuple[JointModel | PerChannelModel, dict, dict]:
    scanned = make_model(config, SCAN)
    return scanned, make_variables(make_model(config), 3, 1), make_variables(scanned, 3, 1)


def _check_same(got: object, want: object) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("config", [ModelConfig(network="tiny"), PER_CHANNEL], ids=["joint", "per_channel"])
def test_scanned_networks_draw_the_same_weights(config: ModelConfig) -> None:
    scanned, plain, stacked = _make(config)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), stacked) == jax.tree.map(
        lambda x: (x.shape, x.dtype), variable_shapes(scanned))  # fmt: skip
    for net in plain["params"]:
        blocks = [plain["params"][net][f"layer2_{i}"]["conv2"]["kernel"] for i in (1, 2, 3)]
        np.testing.assert_array_equal(stacked["params"][net]["layer2_rest"]["conv2"]["kernel"], np.stack(blocks))
    _check_same(unstack_blocks(stacked, scanned), plain)


@pytest.mark.usefixtures("short")
def test_whole_states_of_several_members_there_and_back() -> None:
    scanned, plain, _ = _make(ModelConfig(network="tiny"))
    members = jax.tree.map(lambda x: np.stack([x, 2 * x]), plain)
    optimizer = optax.scale_by_adam()
    state = State(np.arange(2), members["params"], optimizer.init(members["params"]))
    stacked = stack_blocks(state, scanned, axis=1)
    moments = optimizer.init(stack_blocks(members["params"], scanned, axis=1))
    assert jax.tree.structure(stacked.opt_state) == jax.tree.structure(moments)
    kernel = stacked.params["net"]["layer2_rest"]["conv1"]["kernel"]
    assert isinstance(kernel, np.ndarray) and kernel.shape == (2, 3, 1, 1, 24, 6)
    np.testing.assert_array_equal(kernel[1, 2], 2 * plain["params"]["net"]["layer2_3"]["conv1"]["kernel"])
    _check_same(unstack_blocks(stacked, scanned, axis=1), state)


@pytest.mark.usefixtures("short")
def test_under_jit_and_on_jax_arrays() -> None:
    scanned, plain, stacked = _make(ModelConfig(network="tiny"))
    got = jax.jit(lambda tree: stack_blocks(tree, scanned))(plain)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(stack_blocks(got, scanned)))
    _check_same(jax.device_get(got), stacked)
    _check_same(jax.device_get(jax.jit(lambda tree: unstack_blocks(tree, scanned))(stacked)), plain)


def test_a_plain_network_keeps_its_tree() -> None:
    tree = {"layer3_1": jnp.zeros(1), "layer3_2": jnp.zeros(1)}
    model = make_model(ModelConfig())
    assert stack_blocks(tree, model) is tree and unstack_blocks(tree, model) is tree


def test_equal_blocks_of_resnet101() -> None:
    depth, before = DEPTHS["resnet101"], MaskBiasConfig(stages=(1, 3), position="before_relu")
    names = {name: len(blocks) for name, blocks in find_equal_blocks(depth, MaskBiasConfig()).items()}
    assert names == {"layer1_rest": 2, "layer2_rest": 3, "layer3_rest": 22, "layer4_rest": 2}
    biased = find_equal_blocks(depth, before)
    assert biased["layer3_rest"] == tuple(f"layer3_{i}" for i in range(1, 22)) and "layer1_rest" not in biased
