"""The bootstrap and DeLong's test as one writes them down: a loop over draws with scikit-learn, and all pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

_UNDEFINED: Any = np.nan  # scikit-learn takes it; its annotation knows text alone


@dataclass(frozen=True)
class CohortRows:
    """Pooled rows of one split and what every model says of them."""

    label: Bool[np.ndarray, " patient"]
    patient: Int[np.ndarray, " row"]
    score: Float[np.ndarray, "model row"]
    decision: Bool[np.ndarray, "model row"]


def bootstrap_by_loop(rows: CohortRows, n_draws: int, rng: np.random.Generator) -> Float[np.ndarray, "model draw 6"]:
    """AUC, ACC, SENS, SPEC, PPV, NPV of every model in every draw of patients, each class on its own.

    All models share a draw, and each patient's rows are looked up once: what a careful loop does.
    """
    rows_of = [np.flatnonzero(rows.patient == i) for i in range(rows.label.size)]
    classes = (np.flatnonzero(rows.label), np.flatnonzero(~rows.label))
    found = np.empty((len(rows.score), n_draws, 6))
    for draw in range(n_draws):
        taken = np.concatenate([rng.choice(members, members.size) for members in classes])
        drawn = np.concatenate([rows_of[i] for i in taken])
        truth = rows.label[rows.patient[drawn]]
        for model, (score, said) in enumerate(zip(rows.score[:, drawn], rows.decision[:, drawn], strict=True)):
            found[model, draw] = _measure(truth, score, said)
    return found


def _measure(truth: np.ndarray, score: np.ndarray, said: np.ndarray) -> Sequence[float]:
    return (
        float(roc_auc_score(truth, score)), float(accuracy_score(truth, said)), float(recall_score(truth, said)),
        float(recall_score(truth, said, pos_label=False)),
        float(precision_score(truth, said, zero_division=_UNDEFINED)),
        float(precision_score(truth, said, pos_label=False, zero_division=_UNDEFINED)),
    )  # fmt: skip


def compare_by_all_pairs(label: Bool[np.ndarray, " patient"], a: np.ndarray, b: np.ndarray) -> float:
    """z of DeLong's paired test from the matrix of all pairs of a positive and a negative (DeLong 1988)."""
    components = [_win(score[label][:, None], score[~label]) for score in (a, b)]
    covariance = sum(
        np.cov([win.mean(axis=axis) for win in components]) / size
        for axis, size in ((1, int(label.sum())), (0, int((~label).sum())))
    )
    contrast = np.array([1.0, -1.0])
    return float((components[0].mean() - components[1].mean()) / np.sqrt(contrast @ covariance @ contrast))


def _win(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return (above > below) + 0.5 * (above == below)
