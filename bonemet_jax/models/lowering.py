"""How a network is computed: choices that change programs, never parameters or results (beyond rounding)."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp


@dataclass(frozen=True)
class Lowering:
    """How the network is computed; parameters and results are the same."""

    pointwise: Literal["conv", "matmul"] = "conv"
    """1x1 convolutions: as convolutions, or as matrix products over pixels."""
    conv3x3: Literal["conv", "winograd"] = "conv"
    """3x3 convolutions of stride 1: as they stand, or with 2.25 times fewer multiplications (winograd.py)."""
    stem: Literal["conv", "space_to_depth"] = "conv"
    """The 7x7 stride-2 stem: as it stands, or as 4x4 over 2x2 pixels side by side."""
    norm: Literal["plain", "lean"] = "plain"
    """Normalisations: as they stand, or with fewer reads and writes of feature maps (layers.py), which in bfloat16
    leaves a small offset a channel (docs/decisions/0022)."""
    remat: bool = False
    """Recompute each residual block's inside in the backward pass instead of keeping it."""
    scan_blocks: bool = False
    """Compile the equal blocks of a stage once and loop over them; their variables are stacked (stacking.py)."""


#: Every layer as it stands.
PLAIN = Lowering()


def parameter_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Dtype of parameters and statistics: float32, or float64 when the network computes in float64."""
    return jnp.promote_types(dtype, jnp.float32)
