"""Choices that differ by platform, each with its reason: measured, or read off the compiled program."""

from functools import cache

from bonemet_jax.config import EngineConfig
from bonemet_jax.jax_workarounds import accepts_compiler_options
from bonemet_jax.models.lowering import Lowering

#: XLA:CPU sends matrix products and reductions, convolution gradients with them, to a faster library: a step of
#: ResNet50 at 160x200x4, batch 16, on 2 cores went from 1.90 to 2.93 images/s (jax 0.10.2); `tiny` gains nothing.
#: Its max-pooling forgets NaN; the training step therefore looks at inputs and gradients too.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


@cache
def compiler_options(platform: str) -> dict[str, str] | None:
    """Compiler options for every program on `platform`; None where this XLA does not know the option."""
    if platform != "cpu":
        return None
    return _CPU_OPTIONS if accepts_compiler_options(_CPU_OPTIONS) else None


def scans_epochs(platform: str) -> bool:
    """Whether a resident epoch is one program, its steps under `lax.scan`; on the CPU each step is a call.

    One program takes the host out of the loop. XLA:CPU, though, runs a loop's body on one thread and without its fast
    convolutions: a step took 5 to 10 times longer there (jax 0.10.2).
    """
    return platform != "cpu"


def choose_lowering(platform: str, engine: EngineConfig) -> Lowering:
    """How the network is computed: what the config asks for and what makes it fast on this platform.

    CPU: 1x1 convolutions as matrix products: the step above went from 2.93 to 3.56 images/s. 3x3 convolutions of
    stride 1 by Winograd's short way: value, image gradient and kernel gradient of one in stage 3 (4 images, 25x32x256)
    went from 19.1, 20.3 and 26.3 core-milliseconds on each of two cores to 12.9, 16.0 and 18.5. Accelerators: lean
    normalisations, which the compiled program says move a quarter less; never timed (docs/decisions/0022).
    """
    cpu = platform == "cpu"
    norm = engine.normalise if engine.normalise != "auto" else "plain" if cpu else "lean"
    return Lowering(
        pointwise="matmul" if cpu else "conv", conv3x3="winograd" if cpu else "conv", stem=engine.stem,
        norm=norm, remat=engine.remat, scan_blocks=engine.scan_blocks,
    )
