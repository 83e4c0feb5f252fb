"""Tables to audit: the shipped ones as text to edit, and those of synthetic cohorts."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import schema
from bonemet_jax.audit.audit import EXAMPLE, audit_tables
from bonemet_jax.audit.document import load_tree
from bonemet_jax.audit.finding import Finding
from bonemet_jax.audit.own import make_tables
from bonemet_jax.audit.read import parse_tables
from bonemet_jax.cohort.folds import Folds, make_folds
from bonemet_jax.config import FoldsConfig, PhantomConfig
from bonemet_jax.stats.cohort_results import compute_table1
from bonemet_jax.stats.roc_results import compute_roc_results
from bonemet_jax.stats.survival_results import compute_km_results, compute_table2
from bonemet_jax.stats.threshold import choose_balanced_threshold
from data_pipelines.phantom import make_table

_SCORES = ["patient_id", "fold", "split", "feature_set", "classifier", "label", "score", "threshold"]


@pytest.fixture
def paper() -> dict[str, Any]:
    """The shipped tables as nested text, to be edited."""
    tree = load_tree(EXAMPLE)
    assert isinstance(tree, dict)
    return tree


@pytest.fixture(scope="session")
def find() -> Callable[[Any], tuple[Finding, ...]]:
    """Findings of nested text."""
    return lambda tree: audit_tables(parse_tables(tree)).findings


def _make_scores(cohort: pd.DataFrame, folds: Folds, seed: int) -> pd.DataFrame:
    """Nine models whose two parts are independent given the outcome; each fold has its threshold."""
    rng = np.random.default_rng(seed)
    ids = cohort[schema.PATIENT_ID].tolist()
    label = cohort[schema.LABEL].to_numpy()
    imaging, clinical = rng.normal(size=(2, label.size)) + 1.2 * label
    rows = []
    for feature_set, score in (("imaging", imaging), ("clinical", clinical), ("both", imaging + clinical)):
        for classifier in schema.CLASSIFIERS:
            own = score + rng.normal(size=label.size) * 0.3
            for k in range(folds.n_folds):
                split = np.array([folds.split_of(p, k) for p in ids])
                threshold = choose_balanced_threshold(label[split != "test"], own[split != "test"])
                rows += [(p, k, s, feature_set, classifier, y, v, threshold)
                         for p, s, y, v in zip(ids, split, label, own, strict=True)]
    return pd.DataFrame(rows, columns=_SCORES)


@lru_cache(maxsize=64)
def _make_stats(seed: int, generator: str, share_missing: float) -> tuple[dict[str, Any], ...]:
    cohort, _ = make_table(PhantomConfig(n=431, seed=seed, generator=generator))  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    for column in schema.CLINICAL if share_missing else ():
        missing = rng.random(len(cohort)) < share_missing
        cohort[column.name] = cohort[column.name].astype(object if column.levels else float).mask(missing)
    folds = make_folds(cohort[schema.PATIENT_ID].tolist(), cohort[schema.LABEL].tolist(), FoldsConfig())
    roc = compute_roc_results(_make_scores(cohort, folds, seed), n_draws=100)
    return compute_table1(cohort), compute_table2(cohort, {}), roc, compute_km_results(cohort, folds)


@pytest.fixture(scope="session")
def make_stats() -> Callable[..., tuple[dict[str, Any], ...]]:
    """table1, table2, roc and km of a synthetic cohort of 431 patients, as a run writes them."""
    def make(seed: int, generator: str = "repaired", share_missing: float = 0.0) -> tuple[dict[str, Any], ...]:
        return _make_stats(seed, generator, share_missing)

    return make


@pytest.fixture
def refit(make_stats: Callable[..., Any]) -> dict[str, Any]:
    """The tables of a repaired cohort: nothing contradicts."""
    return make_tables(*make_stats(0))


@pytest.fixture
def clean(refit: dict[str, Any]) -> dict[str, Any]:
    """The same, but Table 2 prints exp(coefficient), as published tables are read."""
    table2 = refit["table2"]
    for name, row in table2.items():
        if name not in ("hr_is", "listed"):
            row[0] = f"{math.log(float(row[1])):.6f}"
    return refit | {"table2": table2 | {"hr_is": "exp_coef"}}
