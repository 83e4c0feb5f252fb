"""Shapes, taps, parameter counts, mask bias in place, branches."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.models.conv import Conv
from bonemet_jax.models.flops import count_parameters
from bonemet_jax.models.initial import make_variables, variable_shapes
from bonemet_jax.models.lowering import Lowering
from bonemet_jax.models.resnet import Output, compute_embedding, compute_score, find_stride, make_model

from .equality import compute_step

OFF = MaskBiasConfig(enabled=False)


def _shapes(config: ModelConfig, height: int, width: int) -> Output:
    model = make_model(config)
    x, weight = jnp.zeros((2, height, width, len(config.channels))), jnp.ones(2)
    variables = jax.eval_shape(model.init, jax.random.key(0), x, weight)
    return jax.eval_shape(model.apply, variables, x, weight)


def _apply(config: ModelConfig, x: jax.Array) -> Output:
    model, weight = make_model(config), jnp.ones(len(x))
    # weights depend on the seed and on the tree alone, so configs that differ in mask bias share them
    return jax.jit(model.apply)(make_variables(model, 0, 0), x, weight)


def _image(chan: int = 4) -> jax.Array:
    image = np.random.default_rng(0).normal(size=(2, 64, 80, chan)).astype(np.float32)
    image[..., -1] = np.where(image[..., -1] > 0, 0.5, -0.5)
    return jnp.asarray(image)


@pytest.mark.parametrize(("network", "pooled"), [("resnet34", 512), ("resnet50", 2048), ("resnet101", 2048)])
def test_shapes_and_taps_at_the_papers_size(network: str, pooled: int) -> None:
    out = _shapes(ModelConfig(network=network), 400, 500)  # type: ignore[arg-type]
    assert (out.logits.shape, out.features.shape, out.pooled.shape) == ((1, 2, 2), (1, 2, 16), (1, 2, pooled))
    sizes = {name: tap.shape[1:3] for name, tap in out.taps.items()}
    assert sizes == {"stem": (200, 250), "stage1": (100, 125), "stage2": (50, 63), "stage3": (25, 32),
                     "stage4": (13, 16)}  # fmt: skip


# torchvision's published counts for 3 channels and 1000 classes, its classifier taken off.
TORCHVISION_TRUNK = {
    "resnet34": 21_797_672 - 513_000, "resnet50": 25_557_032 - 2_049_000, "resnet101": 44_549_160 - 2_049_000,
}  # fmt: skip


@pytest.mark.parametrize("network", TORCHVISION_TRUNK)
def test_parameter_count_is_torchvisions(network: str) -> None:
    out = 512 if network == "resnet34" else 2048
    fourth_channel, head = 49 * 64, out * 16 + 16 + 16 * 2 + 2
    config = ModelConfig(network=network)  # type: ignore[arg-type]
    assert count_parameters(config) == TORCHVISION_TRUNK[network] + fourth_channel + head


def test_mask_bias_is_added_after_its_stages_alone() -> None:
    x = _image()
    plain = _apply(ModelConfig(network="tiny", mask_bias=OFF), x).taps
    one = _apply(ModelConfig(network="tiny", mask_bias=MaskBiasConfig(stages=(1,), resize="nearest")), x).taps
    np.testing.assert_array_equal(plain["stem"], one["stem"])
    np.testing.assert_allclose(np.abs(one["stage1"] - plain["stage1"]), 0.5, atol=1e-5)
    before = MaskBiasConfig(stages=(1,), position="before_relu", resize="nearest")
    clipped = _apply(ModelConfig(network="tiny", mask_bias=before), x).taps["stage1"]
    assert clipped.min() == 0 and one["stage1"].min() < 0
    inside = clipped > 0.6
    np.testing.assert_allclose(clipped[inside], one["stage1"][inside], atol=1e-5)


def test_matmul_lowering_gives_the_same() -> None:
    x = _image()
    for stride in (1, 2):
        variables = Conv(8, 1, stride).init(jax.random.key(0), x)
        want, got = (Conv(8, 1, stride, lowering=Lowering(pointwise=p)).apply(variables, x) for p in ("conv", "matmul"))
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_padding_of_strided_convolutions_is_symmetric() -> None:
    # A 3x3 stride-2 convolution of ones over ones: only the first row and column touch the border at even sizes.
    conv = Conv(1, 3, 2)
    got = conv.apply({"params": {"kernel": jnp.ones((3, 3, 1, 1))}}, jnp.ones((1, 6, 6, 1)))
    np.testing.assert_array_equal(got[0, :, :, 0], [[4, 6, 6], [6, 9, 9], [6, 9, 9]])


@pytest.mark.parametrize(("branches", "branch"), [("joint", "net"), ("per_channel", "lbp")])
def test_what_is_added_to_a_tap_has_its_gradient(branches: str, branch: str) -> None:
    """Zeros change nothing; the last tap's gradient is the head's weights over its pixels, whatever branch it is of."""
    x, weight = _image(3), jnp.ones(2)
    config = ModelConfig(network="tiny", channels=("ct", "lbp", "hog"), branches=branches, mask_bias=OFF)  # type: ignore[arg-type]
    variables = make_variables(make_model(config), 0, 0)
    apply = jax.jit(partial(make_model(config).apply, variables))
    plain = apply(x, weight)
    zeros = {tap: jnp.zeros_like(value) for tap, value in plain.taps.items() if "stage" in tap}
    first, last = (f"{branch}/stage{k}".removeprefix("net/") for k in (1, 2))

    grads = jax.grad(lambda added: apply(x, weight, added=added).logits[..., 1].sum())(zeros)
    head = variables["params"][branch]
    want = (head["features"]["kernel"] @ head["classes"]["kernel"])[:, 1] / np.prod(zeros[last].shape[1:3])
    np.testing.assert_allclose(grads[last], np.broadcast_to(want, zeros[last].shape), rtol=1e-5)
    np.testing.assert_allclose(apply(x, weight, added=zeros).logits, plain.logits, rtol=1e-5)
    other = apply(x, weight, added={first: zeros[first] + 1}).taps
    np.testing.assert_allclose(other[first], plain.taps[first] + 1, atol=1e-6)
    assert {tap for tap in other if not np.allclose(other[tap], plain.taps[tap])} == {first, last}


@pytest.mark.every_change
def test_a_cell_of_a_tap_looks_around_its_multiple_of_the_stride() -> None:
    """Cell (5, 6) of stage 2 sees as far above its pixel (40, 48) as below, as far to its left as to its right."""
    taps = _shapes(ModelConfig(network="resnet34"), 400, 500).taps
    for stage in range(1, 5):
        stride = find_stride(f"stage{stage}")
        assert taps[f"stage{stage}"].shape[1:3] == (-(-400 // stride), -(-500 // stride))
        assert find_stride(f"ct/stage{stage}") == stride
    config = ModelConfig(network="tiny", channels=("ct",), mask_bias=OFF)
    variables = make_variables(make_model(config), 0, 0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 88, 104, 1)), jnp.float32)
    look = jax.grad(lambda x: make_model(config).apply(variables, x, jnp.ones(16)).taps["stage2"][:, 5, 6].sum())
    seen = np.argwhere(np.abs(look(x)).sum((0, 3)) > 0)
    assert ((seen.min(0) + seen.max(0)) / 2).tolist() == [40, 48]


def test_per_channel_branches_stand_alone() -> None:
    config = ModelConfig(network="tiny", channels=("ct", "lbp", "hog"), branches="per_channel", mask_bias=OFF,
                         embedding="pooled")  # fmt: skip
    x = _image()[..., :3]
    out = _apply(config, x)
    assert out.logits.shape == (3, 2, 2)
    assert {name.split("/")[0] for name in out.taps} == {"ct", "lbp", "hog"}
    assert compute_embedding(out, config).shape == (2, 3 * 16)
    other = _apply(config, x.at[..., 1].set(0.0))
    same = np.asarray(out.pooled == other.pooled).all((1, 2))
    assert same.tolist() == [True, False, True]


def test_embedding_keeps_branches_in_channel_order() -> None:
    parts = jnp.arange(12.0).reshape(3, 2, 2)
    out = Output(jnp.zeros((3, 2, 2)), parts, parts, {})
    got = compute_embedding(out, ModelConfig(embedding="head"))
    np.testing.assert_array_equal(got, [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]])


def test_score_is_the_mean_probability_of_class_1() -> None:
    logits = jnp.log(jnp.array([[[0.2, 0.8]], [[0.6, 0.4]]]))
    np.testing.assert_allclose(compute_score(logits), [0.6], rtol=1e-6)


def test_bfloat16_computes_low_and_keeps_parameters_high() -> None:
    config = ModelConfig(network="tiny", compute_dtype="bfloat16")
    out = _shapes(config, 64, 80)
    assert out.taps["stage2"].dtype == jnp.bfloat16 and out.logits.dtype == jnp.float32
    model = make_model(config)
    init = partial(model.init, jax.random.key(0))
    variables = jax.eval_shape(init, jnp.zeros((1, 64, 80, 4)), jnp.ones(1))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("lowering", [Lowering(), Lowering(remat=True, scan_blocks=True)], ids=["plain", "scan"])
@pytest.mark.every_change
def test_a_profile_names_stages_and_mask_bias(lowering: Lowering) -> None:
    """The compiled step, forward and backward; the mask is added in stage 2 alone."""
    model = make_model(ModelConfig(network="tiny", mask_bias=MaskBiasConfig(stages=(2,))), lowering)
    step = jax.jit(partial(compute_step, model), compiler_options={"xla_backend_optimization_level": 0})
    text = step.lower(variable_shapes(model), jnp.zeros((1, 64, 64, 4)), jnp.ones(1)).compile().as_text()
    names = set(re.findall(r'op_name="([^"]*)"', text))
    backward = {name for name in names if "transpose(" in name}
    for scope in ("stem", "stage1", "stage2"):
        for part in (names - backward, backward):
            assert any(f"/net/{scope}/" in name for name in part), scope
    biased = {name for name in names if "/mask_bias/" in name}
    assert biased and all("/stage2/" in name for name in biased)
