"""What was planted, as written to truth.json."""

from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import schema
from bonemet_jax.config import PhantomConfig
from data_pipelines.phantom import marginals, risk, tabular, texture


def describe_truth(config: PhantomConfig, table: pd.DataFrame, factor: np.ndarray, redrawn: int) -> dict[str, Any]:
    """Every planted coefficient, the Bayes-optimal AUCs, and the marginals drawn beside Table 1's."""
    hazards = config.generator == "repaired" and not config.null
    shifted = config.generator == "as_printed" and not config.null
    return {
        "generator": config.generator,
        "seed": config.seed,
        "n": config.n,
        "null": config.null,
        "log_hazard_ratios": risk.LOG_HAZARD_RATIOS if hazards else {},
        "baseline_cumulative_hazard_60_months": risk.calibrate().baseline if hazards else None,
        "texture": {
            "lives_in": "correlation length of subcutaneous and visceral fat, mm",
            "mapping": "length_mm = median_mm * exp(log_sd * factor), factor standard normal",
            "median_mm": texture.MEDIAN_LENGTH_MM,
            "log_sd": config.texture_strength * texture.LOG_LENGTH_PER_SD,
            "log_hazard_ratio_per_sd": risk.calibrate().texture_log_hr if hazards else None,
            "shift_between_outcomes_sd": risk.texture_shift() if shifted else None,
            "factor": dict(zip(table[schema.PATIENT_ID], np.round(factor, 6).tolist(), strict=True)),
        },
        "event_times": _event_times(config),
        "expected_event_share": marginals.EVENT_SHARE,
        "events": int(table[schema.EVENT].sum()),
        "bayes_auc": risk.bayes_auc(config.generator, config.null, config.texture_strength > 0),
        "bayes_auc_draws": risk.DRAWS,
        "redrawn_rows": redrawn,
        "marginals": _marginals(table),
    }


def _event_times(config: PhantomConfig) -> str:
    seen = f"seen at the next visit (months {', '.join(f'{m:g}' for m in tabular.VISITS_MONTHS)}), end at 60 months"
    if config.generator == "as_printed":
        return f"uniform over 0 to 60 months for patients with the outcome, {seen}"
    hazard = "one constant hazard for all" if config.null else "proportional hazards, constant baseline"
    return f"{hazard}, {seen}"


def _marginals(table: pd.DataFrame) -> dict[str, Any]:
    """Mean and SD, or share of the second level, by outcome: drawn beside printed (matched by `as_printed` alone)."""
    groups: dict[marginals.Group, pd.DataFrame] = {
        "no": table[table[schema.LABEL] == 0],
        "yes": table[table[schema.LABEL] == 1],
    }
    kinds = {column.name: column for column in schema.CLINICAL}
    found: dict[str, Any] = {}
    for name, printed in marginals.CONTINUOUS.items():
        found[name] = {
            g: {"drawn_mean": _number(rows[name].mean()), "drawn_sd": _number(rows[name].std()),
                "printed_mean": getattr(printed, g)[0], "printed_sd": getattr(printed, g)[1]}
            for g, rows in groups.items()
        }  # fmt: skip
    for name in marginals.COUNTS:
        second = kinds[name].levels[1] if kinds[name].levels else 1
        found[name] = {
            g: {"level": second, "drawn_share": _number((rows[name] == second).mean()),
                "printed_share": _number(marginals.group_share(name, g))}
            for g, rows in groups.items()
        }  # fmt: skip
    for k, level in enumerate(marginals.SUBTYPE_COUNTS):
        found[f"subtype_{level}"] = {
            g: {"drawn_share": _number((rows["subtype"] == level).mean()),
                "printed_share": _number(marginals.subtype_shares(g)[k])}
            for g, rows in groups.items()
        }  # fmt: skip
    return found


def _number(value: float) -> float | None:
    """Four decimals; None where a group is too small to say."""
    return round(float(value), 4) if np.isfinite(value) else None
