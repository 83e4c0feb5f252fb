"""Every way to compute a network is equal to the plain one in float64: loss, gradients, statistics."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.models.conv import Conv, convolve, convolve_blocks, multiply_pixels
from bonemet_jax.models.initial import make_variables, variable_shapes
from bonemet_jax.models.lowering import Lowering
from bonemet_jax.models.resnet import make_model
from bonemet_jax.models.stacking import unstack_blocks

from .equality import compute_spread, compute_step, make_images

AFTER, BEFORE = MaskBiasConfig(), MaskBiasConfig(position="before_relu")
WEIGHT = np.array([1.0, 1.0, 0.0, 1.0])
ALL = Lowering("matmul", "space_to_depth", remat=True, scan_blocks=True)
LEAN = Lowering(norm="lean")


def _compute(config: ModelConfig, lowering: Lowering) -> tuple[Any, Any, Any]:
    model = make_model(config, lowering, dtype=jnp.float64)
    # Most of the time would go into making code fast that runs once.
    step = jax.jit(partial(compute_step, model), compiler_options={"xla_backend_optimization_level": 0})
    x = make_images(4)[..., -len(config.channels) :]
    return unstack_blocks(jax.device_get(step(make_variables(model, 0, 0), x, WEIGHT)), model)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("bias", "lowerings"), [
    (AFTER, [Lowering("matmul", "space_to_depth"), Lowering(remat=True), Lowering(scan_blocks=True), LEAN]),
    (BEFORE, [ALL, replace(ALL, norm="lean")]),
], ids=["after_relu", "before_relu"])  # fmt: skip
@pytest.mark.every_change
def test_each_lowering_is_the_plain_network(bias: MaskBiasConfig, lowerings: list[Lowering]) -> None:
    config = ModelConfig(network="tiny", mask_bias=bias)
    want = _compute(config, Lowering())
    spread = {lowering: compute_spread(_compute(config, lowering), want) for lowering in lowerings}
    assert max(spread.values()) < 1e-11, spread


@pytest.mark.usefixtures("short")
@pytest.mark.every_change
def test_a_network_a_channel_under_every_lowering_at_once() -> None:
    config = ModelConfig(network="tiny", channels=("hog", "mask"), branches="per_channel",
                         mask_bias=replace(AFTER, enabled=False), norm="frozen")  # fmt: skip
    want = _compute(config, Lowering())
    assert compute_spread(_compute(config, ALL), want) < 1e-11
    assert compute_spread(_compute(config, LEAN), want) < 1e-11


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("height", "width"), [(12, 10), (13, 10), (12, 11), (7, 9), (1, 2)])
def test_stem_over_blocks_of_pixels(height: int, width: int) -> None:
    random = np.random.default_rng(1)
    x, kernel = random.normal(size=(2, height, width, 3)), random.normal(size=(7, 7, 3, 5))
    (want, pull_want), (got, pull_got) = (jax.vjp(partial(f, stride=2), x, kernel) for f in (convolve, convolve_blocks))
    assert got.shape == (2, (height + 1) // 2, (width + 1) // 2, 5)
    assert compute_spread(got, want) < 1e-13
    cotangent = jnp.asarray(random.normal(size=got.shape))
    assert compute_spread(pull_got(cotangent), pull_want(cotangent)) < 1e-13


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_as_a_matrix_product(stride: int) -> None:
    random = np.random.default_rng(2)
    x, kernel = random.normal(size=(2, 5, 6, 3)), random.normal(size=(1, 1, 3, 7))
    assert compute_spread(multiply_pixels(x, kernel, stride), convolve(x, kernel, stride)) < 1e-14


@pytest.mark.every_change
def test_each_lowering_is_another_program() -> None:
    """So that equality above is no accident of a choice that nobody reads."""

    def text(lowering: Lowering) -> str:
        model = make_model(ModelConfig(network="resnet34"), lowering)
        x, weight = jnp.zeros((1, 64, 64, 4)), jnp.ones(1)
        return str(jax.make_jaxpr(partial(compute_step, model))(variable_shapes(model), x, weight))

    plain = text(Lowering())
    lean = text(LEAN)
    assert "optimization_barrier" not in plain and "optimization_barrier" in lean
    for lowering, sign, n in (
        (Lowering(remat=True), "remat", 16), (Lowering(scan_blocks=True), "scan[", 2 * 4),
        (Lowering(stem="space_to_depth"), "f32[4,4,16,64]", 1),
    ):  # fmt: skip
        assert sign not in plain and text(lowering).count(sign) >= n, lowering
    one = jnp.zeros((1, 4, 4, 3))
    variables = Conv(8, 1).init(jax.random.key(0), one)
    as_matmul = jax.make_jaxpr(Conv(8, 1, lowering=Lowering(pointwise="matmul")).apply)(variables, one)
    assert "dot_general" in str(as_matmul) and "conv_general" not in str(as_matmul)


@pytest.mark.usefixtures("short")
def test_float64_reaches_every_variable_and_result() -> None:
    model = make_model(ModelConfig(network="tiny"), dtype=jnp.float64)
    variables = make_variables(model, 0, 0)
    out = jax.eval_shape(partial(model.apply, train=False), variables, make_images(1), np.ones(1))
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, out))} == {np.dtype("float64")}
