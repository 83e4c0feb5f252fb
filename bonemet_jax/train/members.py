"""What trains side by side: members, and the waves they train in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from bonemet_jax.config import Config

T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """One training: a fold under a config, with a folder of its own.

    Members that share a program may differ in fold, train.seed and optim.lr alone.
    """

    fold: int
    config: Config
    directory: Path
    variant: str = ""
    """What sets it apart from the run's own folds."""

    @property
    def name(self) -> str:
        """As the person watching sees it."""
        return f"{self.variant} fold {self.fold}" if self.variant else f"fold {self.fold}"


def make_waves(
    members: Sequence[T], n_devices: int, folds: Literal["sequential", "mesh", "vmap"]
) -> list[list[T]]:
    """Members that train side by side, wave after wave; all waves are of one size, so that one program serves them.

    sequential: one at a time. vmap: all at once. mesh: as many as there are devices for, of the numbers that leave no
    wave short.
    """
    size = max(len(members), 1) if folds == "vmap" else 1
    if folds == "mesh" and members:
        size = max(n for n in range(1, len(members) + 1) if len(members) % n == 0 and n <= n_devices)
    return [list(members[i : i + size]) for i in range(0, len(members), size)]
