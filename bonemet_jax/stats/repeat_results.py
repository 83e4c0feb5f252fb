"""repeats.json: how far a model's test AUC moves when its classifier is fitted again with another seed."""

from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.roc import compute_auc_or_none


def compute_repeats(scores: pd.DataFrame) -> dict[str, Any]:
    """Pooled test AUC of every model in every repeat, with mean, SD and range over repeats.

    Args:
        scores: rows of scores.parquet, all repeats.
    """
    test = scores[scores["split"] == "test"]
    rows = []
    for (feature_set, classifier), part in test.groupby(["feature_set", "classifier"], sort=False):
        found = [compute_auc_or_none(p["label"], p["score"]) for _, p in part.groupby("repeat")]
        aucs = [np.nan if auc is None else auc for auc in found]
        rows.append({
            "feature_set": feature_set, "classifier": classifier, "auc": aucs, "mean": np.mean(aucs),
            "sd": np.std(aucs, ddof=1) if len(aucs) > 1 else None, "min": min(aucs), "max": max(aucs),
        })
    return make_plain({"n_repeats": int(scores["repeat"].max()) + 1, "rows": rows})
