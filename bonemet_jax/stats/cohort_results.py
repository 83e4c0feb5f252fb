"""table1.json and correlation.json: the cohort described, and what the network features go along with."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from bonemet_jax import schema
from bonemet_jax.cohort.clinical import ClinicalEncoder, list_encoded
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.stats.estimable import find_varying
from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.table1 import compare_counts, compare_means, count_levels, summarise

_BINARY_LEVELS = {0.0: "no", 1.0: "yes"}


def compute_table1(cohort: pd.DataFrame) -> dict[str, Any]:
    """Every clinical column by bone metastasis (row H1); missing values are left out of each comparison and counted."""
    groups = [cohort[cohort[schema.LABEL] == value] for value in (0, 1)]
    return make_plain({
        "by": schema.LABEL,
        "groups": [{"value": i, "label": name, "n": len(g)} for i, (name, g) in enumerate(zip(("no", "yes"), groups,
                                                                                              strict=True))],
        "variables": [_describe(column, [g[column.name] for g in groups]) for column in schema.CLINICAL],
    })


def _describe(column: schema.Column, groups: list[pd.Series]) -> dict[str, Any]:
    known = [g.dropna() for g in groups]
    base: dict[str, Any] = {
        "name": column.name, "label": column.label, "kind": "category",
        "n": [len(k) for k in known], "n_missing": [len(g) - len(k) for g, k in zip(groups, known, strict=True)],
    }
    if column.kind == "continuous":
        summaries = [summarise(k) for k in known]
        comparison = make_plain(compare_means(*known))
        return base | {"kind": "continuous", "mean": [s.mean for s in summaries], "sd": [s.sd for s in summaries],
                       "quartiles": [s.quartiles for s in summaries]} | comparison
    levels = dict(zip(column.levels, column.levels, strict=True)) if column.levels else _BINARY_LEVELS
    counts = [count_levels(k.tolist(), list(levels)) for k in known]
    percent = [[100 * c / sum(row) if sum(row) else None for c in row] for row in counts]
    return base | {"levels": list(levels.values()), "counts": counts, "percent": percent} | make_plain(
        compare_counts(counts))


def compute_correlation(
    cohort: pd.DataFrame, folds: Folds, patient_ids: list[str], embedding: Float[np.ndarray, "fold patient feature"]
) -> dict[str, Any]:
    """Pearson r of X1..Xn against every encoded clinical column (figure 5), on held-out patients.

    Each patient's features come from the network that never saw it. Missing clinical values are left out pairwise.
    """
    clinical = _encode_known(cohort.set_index(schema.PATIENT_ID, drop=False).loc[patient_ids])
    names = list(schema.embedding_names(embedding.shape[2]))
    test_fold = np.array([folds.test_fold(p) for p in patient_ids])
    held_out = embedding[test_fold, np.arange(len(patient_ids))].astype(float)
    features = pd.DataFrame(held_out, index=clinical.index, columns=names)
    by_fold = [_correlate(features[test_fold == k], clinical[test_fold == k]) for k in range(folds.n_folds)]
    labels, n_known = list(label_encoded().values()), clinical.notna().sum().tolist()
    fewer = ", ".join(f"{label} {n}" for label, n in zip(labels, n_known, strict=True) if n < len(patient_ids))
    return make_plain({
        "features": names, "clinical": list(clinical.columns), "labels": labels, "n": len(patient_ids),
        "n_known": n_known, "r": _correlate(features, clinical), "r_folds": by_fold,
        "notes": [
            "Features of each patient come from the fold that held the patient out.",
            "Every fold trains its own network, so X1 of one fold is not X1 of another: the pooled r mixes them, "
            "the r of each fold does not.",
            *([f"Missing clinical values are left out of the column's r, which is over n patients: {fewer}."]
              if fewer else []),
        ],
    })


def _encode_known(cohort: pd.DataFrame) -> pd.DataFrame:
    encoded = ClinicalEncoder.fit(cohort, splits=None).transform(cohort)
    for column in schema.CLINICAL:
        encoded[list_encoded(column)] = encoded[list_encoded(column)].mask(cohort[column.name].isna(), axis=0)
    return encoded


def _correlate(features: pd.DataFrame, clinical: pd.DataFrame) -> Float[np.ndarray, "feature column"]:
    """Pairwise Pearson r; NaN for a constant column or fewer than three pairs."""
    x, y = features.to_numpy(float), clinical.to_numpy(float)
    known = np.isfinite(y)
    r = np.full((x.shape[1], y.shape[1]), np.nan)
    for rows in np.unique(known, axis=1).T:
        columns = (known == rows[:, None]).all(axis=0)
        if rows.sum() >= 3:
            r[:, columns] = _standardise(x[rows]).T @ _standardise(y[np.ix_(rows, columns)])
    return r.clip(-1, 1)


def _standardise(values: Float[np.ndarray, "patient column"]) -> Float[np.ndarray, "patient column"]:
    """Columns of mean 0 and length 1; NaN where constant but for rounding."""
    centred = values - values.mean(axis=0)
    return centred / np.where(find_varying(values), np.linalg.norm(centred, axis=0), np.nan)


def label_encoded() -> dict[str, str]:
    """What readers see for every encoded column."""
    return {
        name: column.label if name == column.name else f"{column.label}: {name.removeprefix(f'{column.name}_')}"
        for column in schema.CLINICAL for name in list_encoded(column)
    }
