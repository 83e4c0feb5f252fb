"""Channel ablation at the size of the demo: CT alone.

Claim    none printed: the paper shows no ablation
Command  make ablation   (all five rows, then the page that sets them side by side)
Machine  2 CPU cores, no accelerator
Time     this row 4 to 6 minutes on a busy machine
Result   test AUC .635 [.564, .707] (network), .537 [.454, .620] / .679 [.603, .755] (GBDT imaging / both)
"""

from dataclasses import replace

from bonemet_jax.config import MaskBiasConfig, load_config

smoke = load_config("smoke")
config = replace(
    smoke, name="ct",
    model=replace(smoke.model, channels=("ct",), mask_bias=MaskBiasConfig(enabled=False)),
)
