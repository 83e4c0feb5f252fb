"""Channel ablation at the size of the demo: all four channels and the mask bias, the whole system.

Claim    none printed: the paper shows no ablation
Command  make ablation   (all five rows, then the page that sets them side by side)
Machine  2 CPU cores, no accelerator
Time     this row 4 to 6 minutes on a busy machine
Result   test AUC .787 [.726, .847] (network), .748 [.671, .826] / .807 [.742, .872] (GBDT imaging / both)
"""

from dataclasses import replace

from bonemet_jax.config import load_config

config = replace(load_config("smoke"), name="mask_bias")
