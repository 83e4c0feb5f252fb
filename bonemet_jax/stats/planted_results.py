"""planted.json: what the run found beside what the synthetic cohort holds."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bonemet_jax import schema
from bonemet_jax.stats.roc_results import NETWORK
from bonemet_jax.stats.survival_results import compute_planted_hazards

#: Fixed beforehand, never the best of several.
_MODELS = (("imaging", NETWORK), ("imaging", "gbdt"), ("clinical", "gbdt"), ("both", "gbdt"))


def compute_planted(roc: Mapping[str, Any], truth: Mapping[str, Any] | None, cohort: pd.DataFrame) -> dict[str, Any]:
    """Test AUCs beside the Bayes-optimal ones, estimated hazard ratios beside the planted ones.

    Args:
        roc: of compute_roc_results.
        truth: truth.json of a synthetic cohort, None for real data.
        cohort: the cohort table.
    """
    if truth is None:
        reason = "real cohort: nothing is planted"
        return {"synthetic": False, "reason": reason, "generator": None, "null_cohort": False, "rows": [],
                "hazard_ratios": [], "hazard_ratios_reason": reason, "notes": []}
    n_known = int(cohort[[schema.TIME, schema.EVENT]].notna().all(axis=1).sum())
    hazards, reason = compute_planted_hazards(cohort, truth.get("log_hazard_ratios") or {})
    tested = {(r["feature_set"], r["classifier"]): r for r in roc["rows"] if r["split"] == "test"}
    bayes = truth.get("bayes_auc") or {}
    return {
        "synthetic": True, "reason": None, "generator": truth.get("generator"), "null_cohort": bool(truth.get("null")),
        "rows": [_compare(*model, tested[model], bayes.get(model[0])) for model in _MODELS if model in tested],
        "hazard_ratios": hazards, "hazard_ratios_reason": reason,
        "notes": [f"Hazard ratios: {n_known} of {len(cohort)} patients, those with a follow-up time.",
                  "Hazard ratios are estimated without the planted texture factor, which no clinical column holds; "
                  "leaving it out draws them towards 1."],
    }


def _compare(feature_set: str, classifier: str, row: Mapping[str, Any], bayes_auc: float | None) -> dict[str, Any]:
    auc = row["auc"]
    return {
        "feature_set": feature_set, "classifier": classifier, "auc": auc, "ci95_delong": row["auc_ci95_delong"],
        "bayes_auc": bayes_auc, "gap": None if auc is None or bayes_auc is None else auc - bayes_auc,
        "reason": row["reason"] if bayes_auc is not None else "truth.json holds no Bayes-optimal AUC for it",
    }
