"""Channel ablation at the size of the demo: CT and LBP.

Claim    none printed: the paper shows no ablation
Command  make ablation   (all five rows, then the page that sets them side by side)
Machine  2 CPU cores, no accelerator
Time     this row 4 to 6 minutes on a busy machine
Result   test AUC .797 [.741, .853] (network), .759 [.688, .830] / .837 [.787, .887] (GBDT imaging / both)
"""

from dataclasses import replace

from bonemet_jax.config import MaskBiasConfig, load_config

smoke = load_config("smoke")
config = replace(
    smoke, name="lbp",
    model=replace(smoke.model, channels=("ct", "lbp"), mask_bias=MaskBiasConfig(enabled=False)),
)
