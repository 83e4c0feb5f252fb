"""Work per image: the analytic count against published figures and against XLA's count."""

import jax
import jax.numpy as jnp
import pytest

from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.models.flops import compute_train_gflop_per_image
from bonemet_jax.models.resnet import make_model

# 2 x multiply-adds of the forward pass at 224x224x3 and 1000 classes (torchvision's model table, GFLOPs column counts
# multiply-adds): 3.66, 4.09, 7.80.
TORCHVISION_GMAC = {"resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.80}


@pytest.mark.parametrize("network", TORCHVISION_GMAC)
def test_agrees_with_torchvision(network: str) -> None:
    config = ModelConfig(network=network, channels=("ct", "lbp", "hog"), mask_bias=MaskBiasConfig(enabled=False))  # type: ignore[arg-type]
    gmac = compute_train_gflop_per_image(config, 224, 224) / 6
    assert gmac == pytest.approx(TORCHVISION_GMAC[network], rel=0.005)


@pytest.mark.parametrize(("network", "gflop"), [("resnet34", 90.5), ("resnet50", 100.8), ("resnet101", 191.7)])
def test_at_the_papers_size(network: str, gflop: float) -> None:
    got = compute_train_gflop_per_image(ModelConfig(network=network), 400, 500)  # type: ignore[arg-type]
    assert got == pytest.approx(gflop, abs=0.06)


@pytest.mark.parametrize("network", ["resnet34", "resnet101"])
def test_forward_count_is_xlas(network: str) -> None:
    """XLA's count of the lowered forward pass leaves out products with padding (2 to 3 %) and adds elementwise work."""
    config = ModelConfig(network=network)  # type: ignore[arg-type]
    model, x, weight = make_model(config), jnp.zeros((1, 400, 500, 4)), jnp.ones(1)
    variables = jax.eval_shape(model.init, jax.random.key(0), x, weight)
    lowered = jax.jit(lambda v: model.apply(v, x, weight).logits).lower(variables)
    counted = lowered.cost_analysis()["flops"] / 1e9
    assert counted == pytest.approx(compute_train_gflop_per_image(config, 400, 500) / 3, rel=0.04)


def test_per_channel_counts_each_network() -> None:
    config = ModelConfig(channels=("ct", "lbp", "hog"), branches="per_channel", mask_bias=MaskBiasConfig(enabled=False))
    one = ModelConfig(channels=("ct",), mask_bias=MaskBiasConfig(enabled=False))
    assert compute_train_gflop_per_image(config, 400, 500) == pytest.approx(
        3 * compute_train_gflop_per_image(one, 400, 500))
