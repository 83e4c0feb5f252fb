"""Image channels: CT window, LBP, HOG, mask. Pure, batched and jit-able; `reference` is scikit-image.

`from bonemet_jax.channels import hog, local_binary_pattern` serves anyone. The names are looked up when asked for, so
that rooms which need no accelerator read a module of this one without importing jax.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bonemet_jax.channels.lbp import local_binary_pattern
    from bonemet_jax.channels.oriented_gradients import hog

__all__ = ["hog", "local_binary_pattern"]


def __getattr__(name: str) -> Any:
    if name == "hog":
        from bonemet_jax.channels.oriented_gradients import hog

        return hog
    if name == "local_binary_pattern":
        from bonemet_jax.channels.lbp import local_binary_pattern

        return local_binary_pattern
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
