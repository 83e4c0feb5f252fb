"""Fake runs of any size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import Folds, make_folds, save_folds
from bonemet_jax.config import FoldsConfig


def make_cohort(n: int, seed: int = 0, n_positive: int | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.zeros(n)
    label[: max(2, n // 8) if n_positive is None else n_positive] = 1
    rng.shuffle(label)
    table = pd.DataFrame({schema.PATIENT_ID: [f"P{i:06d}" for i in range(n)]})
    for column in schema.CLINICAL:
        if column.kind == "category":
            table[column.name] = rng.choice(column.levels, n)
        elif column.kind == "binary":
            table[column.name] = (rng.random(n) < 0.4 + 0.2 * label).astype(float)
        else:
            effect = -8 * label if column.name == "sfi_cm2_m2" else 0
            table[column.name] = (rng.normal(45, 12, n) + effect).clip(max(column.low, 20), column.high - rng.random(n))
    table[schema.LABEL] = label
    table[schema.TIME] = np.where(label == 1, rng.integers(1, 20, n) * 3.0, 60.0)
    table[schema.EVENT] = label
    return table


def make_scores(folds: Folds, label: dict[str, int], rng: np.random.Generator) -> pd.DataFrame:
    rows = [
        (p, k, 0, folds.split_of(p, k), feature_set, classifier, label[p], rng.random() * 0.8 + 0.2 * label[p], 0.5)
        for k in range(folds.n_folds) for feature_set in schema.FEATURE_SETS for classifier in schema.CLASSIFIERS
        for p in sorted(folds.splits)
    ]
    return pd.DataFrame(rows, columns=[schema.PATIENT_ID, "fold", "repeat", "split", "feature_set", "classifier",
                                       "label", "score", "threshold"])


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a new run directory with a cohort in `cohort/`; returns it."""

    def make(n: int, n_positive: int | None = None, truth: dict[str, Any] | None = None,
             change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table) -> Path:
        run = tmp_path_factory.mktemp("run")
        cohort = change(make_cohort(n, n_positive=n_positive))
        rng = np.random.default_rng(1)
        ids = cohort[schema.PATIENT_ID].tolist()
        folds = make_folds(ids, cohort[schema.LABEL].tolist(), FoldsConfig())
        label = dict(zip(ids, cohort[schema.LABEL].astype(int), strict=True))
        artifacts.save_table(run / "cohort" / "cohort.parquet", cohort)
        if truth is not None:
            artifacts.write_json(run / "cohort" / "truth.json", truth)
        artifacts.write_manifest(run / "cohort", {"kind": "real" if truth is None else "synthetic"})
        save_folds(run / "folds.json", folds)
        order = rng.permutation(ids)  # files are joined by id, never by position
        artifacts.save_npz(run / "embeddings.npz", {
            "patient_id": order, "embedding": rng.normal(size=(3, n, 16)).astype("float32"),
            "score": rng.random((3, n)).astype("float32"),
        })
        artifacts.save_table(run / "scores.parquet", make_scores(folds, label, rng))
        return run

    return make
