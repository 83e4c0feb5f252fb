"""Smoke: the whole system on the synthetic cohort, small enough for a laptop.

Claim    every stage runs, and the planted truth is found again at least in part; no claim about the paper's figures
Command  make demo   (bonemet run smoke -o runs/smoke)
Machine  2 CPU cores, no accelerator
Time     172 s, of which training 140 s, when nothing else runs
Result   test AUC .787 (network), .748 / .765 / .807 (GBDT imaging / clinical / both), Bayes-optimal .844 / .789 / .920
         (network form and rate were chosen on another synthetic cohort, phantom.seed 1001)
"""

from bonemet_jax.config import Config, ModelConfig, OptimConfig, PhantomConfig, RecordsConfig, TrainConfig

config = Config(
    name="smoke",
    phantom=PhantomConfig(n=431, seed=0, height=160, width=200, spacing_mm=2.0),
    records=RecordsConfig(height=160, width=200, spacing_mm=2.0, file_format="array_record"),
    model=ModelConfig(network="tiny"),
    optim=OptimConfig(lr=5e-3, schedule="cosine"),
    train=TrainConfig(epochs=25, batch_size=16, class_weight="balanced"),
)
