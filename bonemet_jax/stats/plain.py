"""Results as plain JSON values: arrays become lists, NaN becomes null."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def make_plain(value: Any) -> Any:
    """Dataclasses, arrays, tuples and numpy scalars as JSON values; NaN and infinity as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): make_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [make_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
