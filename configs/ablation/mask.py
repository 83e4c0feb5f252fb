"""Channel ablation at the size of the demo: CT, LBP, HOG and the fat mask as an input channel, no mask bias.

Claim    none printed: the paper shows no ablation
Command  make ablation   (all five rows, then the page that sets them side by side)
Machine  2 CPU cores, no accelerator
Time     this row 4 to 6 minutes on a busy machine
Result   test AUC .777 [.714, .840] (network), .746 [.673, .819] / .822 [.765, .880] (GBDT imaging / both)
"""

from dataclasses import replace

from bonemet_jax.config import MaskBiasConfig, load_config

smoke = load_config("smoke")
config = replace(
    smoke, name="mask",
    model=replace(smoke.model, channels=("ct", "lbp", "hog", "mask"), mask_bias=MaskBiasConfig(enabled=False)),
)
