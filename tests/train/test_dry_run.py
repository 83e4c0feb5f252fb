"""The dry run: real network, one real step."""

import math

import pytest

from bonemet_jax.config import Config, MaskBiasConfig, ModelConfig, RecordsConfig, load_config
from bonemet_jax.models.lowering import PLAIN
from bonemet_jax.train import parallel
from bonemet_jax.train.dry_run import dry_run


@pytest.mark.every_change
def test_tiny(config: Config) -> None:
    facts = dry_run(config)
    assert math.isfinite(facts["loss"]) and facts["parameters"] > 0
    assert facts["image"] == [64, 80, 4] and facts["batch_size"] == 2
    assert facts["compiled_gflop_per_image"] == pytest.approx(facts["train_gflop_per_image"], rel=0.3)


@pytest.mark.slow
def test_paper_counts_within_one_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer as it stands; Winograd's short way, which the CPU takes, multiplies less."""
    monkeypatch.setattr(parallel, "choose_lowering", lambda *_: PLAIN)
    facts = dry_run(load_config("configs/paper.py"))
    assert facts["train_gflop_per_image"] == pytest.approx(191.7, abs=0.06)
    assert facts["compiled_gflop_per_image"] == pytest.approx(facts["train_gflop_per_image"], rel=0.01)


@pytest.mark.slow
def test_one_network_a_channel() -> None:
    model = ModelConfig(network="tiny", channels=("ct", "lbp", "hog"), branches="per_channel",
                        mask_bias=MaskBiasConfig(enabled=False), embedding="pooled")  # fmt: skip
    facts = dry_run(Config("branches", model=model, records=RecordsConfig(height=64, width=80)))
    assert math.isfinite(facts["loss"]) and facts["image"] == [64, 80, 3]
