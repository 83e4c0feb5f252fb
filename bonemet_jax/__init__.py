"""bonemet_jax: bone-metastasis prediction from one CT slice and clinical data, for accelerator throughput."""

__version__ = "0.1.0"
