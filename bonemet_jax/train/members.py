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


def count_side_by_side(n_members: int, n_devices: int, folds: Literal["sequential", "mesh", "vmap"]) -> int:
    """How many members train at once.

    sequential: one. vmap: all. mesh: as many as there are devices for, of the numbers that leave no wave short.
    """
    if folds == "sequential" or not n_members:
        return 1
    return n_members if folds == "vmap" else max(
        n for n in range(1, n_members + 1) if n_members % n == 0 and n <= n_devices
    )


def make_waves(members: Sequence[T], size: int) -> list[list[T]]:
    """Members that train side by side, `size` at a time, wave after wave."""
    return [list(members[i : i + size]) for i in range(0, len(members), size)]
