"""Channel ablation at the size of the demo: CT, LBP and HOG.

Claim    none printed: the paper shows no ablation
Command  make ablation   (all five rows, then the page that sets them side by side)
Machine  2 CPU cores, no accelerator
Time     this row 4 to 6 minutes on a busy machine
Result   test AUC .764 [.706, .821] (network), .710 [.635, .786] / .767 [.702, .833] (GBDT imaging / both)
"""

from dataclasses import replace

from bonemet_jax.config import MaskBiasConfig, load_config

smoke = load_config("smoke")
config = replace(
    smoke, name="hog",
    model=replace(smoke.model, channels=("ct", "lbp", "hog"), mask_bias=MaskBiasConfig(enabled=False)),
)
