"""Paper: ResNet101 with mask bias, as the text of doi 10.3233/CBM-230219 describes it (docs/paper.md, D1 to G2).

Claim    test AUC .699 imaging, .783 clinical, .922 both on the paper's own cohort, which is not public
Command  bonemet run paper -o runs/paper --cohort-dir COHORT   (`--dry-run` builds and times one step)
Machine  one accelerator with 40 GB or more
Time     not yet measured
Result   not yet measured
"""

from bonemet_jax.config import Config, ModelConfig, OptimConfig, PhantomConfig, RecordsConfig, TrainConfig

config = Config(
    name="paper",
    phantom=PhantomConfig(n=431, seed=0, height=400, width=500, spacing_mm=0.8),
    records=RecordsConfig(height=400, width=500, spacing_mm=0.8),
    model=ModelConfig(network="resnet101"),
    optim=OptimConfig(lr=1e-6),
    train=TrainConfig(epochs=200, batch_size=64, checkpoint_epochs=10),
)
