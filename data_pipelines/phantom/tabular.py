"""The cohort's table: row, texture factor, outcome and visits. No picture is needed for any of it."""

import numpy as np
import pandas as pd

from bonemet_jax import schema
from bonemet_jax.config import PhantomConfig
from data_pipelines.phantom import marginals, risk, rows, texture

#: Months after surgery at which an event can be seen: every 3 in years 1 and 2, every 6 in years 3 to 5.
# PAPER: surgery 2015-01 to 2016-12; everyone is followed to the administrative end at 60 months, so times do not
# depend on the date of surgery and none is stored.
VISITS_MONTHS = np.array([*range(3, 25, 3), *range(30, 61, 6)], float)


def make_table(config: PhantomConfig) -> tuple[pd.DataFrame, np.ndarray]:
    """Cohort table in the shape of cohort.parquet, and each patient's texture correlation length (n,), mm."""
    table, factor, _ = draw_cohort(config)
    return table, texture.correlation_length_mm(factor, config.texture_strength)


def draw_cohort(config: PhantomConfig) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Cohort table, standard-normal texture factor (n,) and the number of redrawn rows."""
    rng = np.random.default_rng([config.seed, 0])
    pixel_cm2 = config.spacing_mm**2 / 100
    draw = _repaired if config.generator == "repaired" else _as_printed
    table, factor, months, redrawn = draw(rng, config.n, config.null, pixel_cm2)
    label = months <= VISITS_MONTHS[-1]
    table[schema.TIME] = np.where(label, _next_visit(months), VISITS_MONTHS[-1])
    table[schema.EVENT] = label.astype(np.int64)
    table[schema.LABEL] = label.astype(np.int64)
    ids = [f"P{i + 1:06d}" for i in range(config.n)]
    table.insert(0, schema.PATIENT_ID, ids)
    table.insert(1, schema.SLICE_ID, ids)
    return table, factor, redrawn


def _next_visit(months: np.ndarray) -> np.ndarray:
    """Month of the visit at which an event is seen."""
    return VISITS_MONTHS[np.minimum(np.searchsorted(VISITS_MONTHS, months), VISITS_MONTHS.size - 1)]


Draw = tuple[pd.DataFrame, np.ndarray, np.ndarray, int]


def _repaired(rng: np.random.Generator, n: int, null: bool, pixel_cm2: float) -> Draw:
    """Row and texture first; event months from the planted hazard (`null`: one hazard for all)."""
    table, redrawn = rows.draw_rows(rng, n, None, pixel_cm2)
    factor = rng.standard_normal(n)
    if null:
        cumulative = np.full(n, -np.log1p(-marginals.EVENT_SHARE))
    else:
        planted = risk.calibrate()
        cumulative = planted.baseline * np.exp(risk.log_hazard(table) + planted.texture_log_hr * factor)
    months = risk.HORIZON_MONTHS * rng.exponential(size=n) / cumulative
    return table, factor, months, redrawn


def _as_printed(rng: np.random.Generator, n: int, null: bool, pixel_cm2: float) -> Draw:
    """Outcome first, then the row of that outcome's column of Table 1; events uniform over the 60 months.

    `null`: the rows keep their mixture of both columns, the outcome is drawn anew and tied to nothing.
    """
    label = rng.random(n) < marginals.EVENT_SHARE
    table, redrawn = rows.draw_rows(rng, n, label, pixel_cm2)
    factor = risk.draw_texture(rng, label, 0.0 if null else risk.texture_shift())
    if null:
        label = rng.random(n) < marginals.EVENT_SHARE
    months = np.where(label, rng.uniform(0, risk.HORIZON_MONTHS, n), np.inf)
    return table, factor, months, redrawn
