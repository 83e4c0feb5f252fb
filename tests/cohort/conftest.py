"""A plausible cohort table, drawn from the schema alone."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import schema


@pytest.fixture
def make_table() -> Callable[..., pd.DataFrame]:
    def make(n: int = 40, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({schema.PATIENT_ID: [f"{i:03d}" for i in range(n)]})
        for column in schema.CLINICAL:
            if column.kind == "category":
                table[column.name] = rng.choice(column.levels, n)
            elif column.kind == "binary":
                table[column.name] = rng.integers(0, 2, n).astype(float)
            else:
                table[column.name] = rng.uniform(20, 60, n).clip(column.low, column.high)
        table[schema.LABEL] = np.where(np.arange(n) % 4 == 0, 1.0, 0.0)
        table[schema.TIME] = rng.uniform(1, 60, n)
        table[schema.EVENT] = table[schema.LABEL]
        return table

    return make
