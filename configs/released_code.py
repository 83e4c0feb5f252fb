"""Released code: what the authors' published PyTorch scripts do, which differs from the paper's text.

Three one-channel ResNets (CT, LBP, HOG), no mask, batch 2, 300 epochs, Adam 1e-6 with StepLR(50, 0.5), pooled
3 x 2048 features; LBP and HOG pictures flipped naively, random flips at validation and embedding too.

Claim    none printed for this variant
Command  bonemet run released_code -o runs/released_code --cohort-dir COHORT
Machine  one accelerator
Time     not yet measured
Result   not yet measured
"""

from bonemet_jax.config import (
    Config,
    MaskBiasConfig,
    ModelConfig,
    OptimConfig,
    PhantomConfig,
    RecordsConfig,
    TrainConfig,
)

config = Config(
    name="released_code",
    phantom=PhantomConfig(n=431, seed=0, height=400, width=500, spacing_mm=0.8),
    records=RecordsConfig(height=400, width=500, spacing_mm=0.8),
    model=ModelConfig(
        network="resnet101",
        channels=("ct", "lbp", "hog"),
        branches="per_channel",
        mask_bias=MaskBiasConfig(enabled=False),
        embedding="pooled",
    ),
    optim=OptimConfig(lr=1e-6, schedule="step", step_epochs=50, step_factor=0.5),
    train=TrainConfig(epochs=300, batch_size=2, flips="naive", eval_flips=True, checkpoint_epochs=10),
)
