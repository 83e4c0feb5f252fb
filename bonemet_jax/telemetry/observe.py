"""What a training is asked to show of its inside: flags in words, without jax."""

import re
from pathlib import Path
from typing import NamedTuple

from bonemet_jax.errors import UsageError


class TraceWindow(NamedTuple):
    """Which updates are traced, counted over all that a call makes, from 0 on."""

    start: int
    n_steps: int


class Observe(NamedTuple):
    """What a training shows, besides its figures."""

    window: TraceWindow | None = None
    """Updates to trace, into the run's folder `profile`."""
    dump_hlo: Path | None = None
    """Folder for the compiled programs' texts."""


#: Figures alone.
NOTHING = Observe()


def parse_window(text: str) -> TraceWindow:
    """START:STEPS. Raises: UsageError."""
    found = re.fullmatch(r"(\d{1,9}):([1-9]\d{0,5})", text)
    if found is None:
        raise UsageError(f"--profile {text} is no START:STEPS", "", "for example 10:5, five steps from the 10th on")
    return TraceWindow(int(found[1]), int(found[2]))
