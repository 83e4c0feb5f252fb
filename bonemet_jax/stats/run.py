"""Shell: reads a run and its cohort, writes stats/*.json (shapes: docs/contracts.md)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import Folds, load_folds
from bonemet_jax.cohort.table import load_cohort
from bonemet_jax.errors import CorruptFileError, LeakageError
from bonemet_jax.stats.clinical_use_results import compute_calibration_results, compute_decision_results
from bonemet_jax.stats.cohort_results import compute_correlation, compute_table1
from bonemet_jax.stats.leakage_results import compute_leakage
from bonemet_jax.stats.planted_results import compute_planted
from bonemet_jax.stats.repeat_results import compute_repeats
from bonemet_jax.stats.roc_results import compute_roc_results, make_network_scores
from bonemet_jax.stats.survival_results import compute_km_results, compute_table2

_SCORE_COLUMNS = (
    schema.PATIENT_ID, "fold", "repeat", "split", "feature_set", "classifier", "label", "score", "threshold",
)
#: Kinds of dtype, numpy's letters, of those that are numbers.
_SCORE_KINDS = {"fold": "iu", "repeat": "iu", "label": "iu", "score": "f", "threshold": "f"}


def compute_run_stats(run_dir: Path, cohort_dir: Path, is_honest: bool = False) -> None:
    """Write every file of `run_dir`/stats (docs/contracts.md), all together or not at all.

    Reads cohort.parquet and, where the cohort's manifest names it, truth.json of the cohort; folds.json,
    scores.parquet, embeddings.npz and, in mode `honest`, paper_scores.parquet of the run. Equal inputs
    give equal bytes.

    Raises: InputDataError, CorruptFileError for inputs that cannot be used; LeakageError when scores disobey the folds.
    """
    run_dir, cohort_dir = Path(run_dir), Path(cohort_dir)
    folds = load_folds(run_dir / "folds.json")
    cohort, n_left_out = _load_dealt(cohort_dir / "cohort.parquet", folds)
    label = dict(zip(cohort[schema.PATIENT_ID], cohort[schema.LABEL].astype(int), strict=True))
    patient_ids, embedding, score = _load_embeddings(run_dir / "embeddings.npz", folds)
    repeats = _load_scores(run_dir / "scores.parquet", folds, label)
    scores = repeats[repeats["repeat"] == 0]
    paper = _load_scores(run_dir / "paper_scores.parquet", folds, label) if is_honest else None
    truth = artifacts.load_json(cohort_dir / "truth.json") if artifacts.is_listed(cohort_dir, "truth.json") else None
    log_hr = dict((truth or {}).get("log_hazard_ratios") or {})
    every = _join_network(scores, folds, patient_ids, score)
    roc = compute_roc_results(every)
    results: dict[str, dict[str, Any]] = {
        "table1": compute_table1(cohort) | {"n_left_out": n_left_out},
        "table2": compute_table2(cohort, log_hr) | {"n_cohort": len(cohort)},
        "roc": roc,
        "repeats": compute_repeats(repeats),
        "leakage": compute_leakage(scores if paper is None else paper, None if paper is None else scores),
        "calibration": compute_calibration_results(every),
        "decision_curve": compute_decision_results(every),
        "km": compute_km_results(cohort, folds),
        "planted": compute_planted(roc, truth, cohort),
        "correlation": compute_correlation(cohort, folds, patient_ids, embedding),
    }
    with artifacts.atomic_dir(run_dir / "stats") as out:
        for name, value in results.items():
            artifacts.write_json(out / f"{name}.json", value)


def load_run_scores(run_dir: Path, folds: Folds) -> pd.DataFrame:
    """Every model's scores of a run, first repeat, the network's own among them. Raises: as `compute_run_stats`."""
    scores = _load_scores(run_dir / "scores.parquet", folds)
    patient_ids, _, score = _load_embeddings(run_dir / "embeddings.npz", folds)
    return _join_network(scores[scores["repeat"] == 0], folds, patient_ids, score)


def _join_network(scores: pd.DataFrame, folds: Folds, patient_ids: list[str], score: np.ndarray) -> pd.DataFrame:
    label = dict(zip(scores[schema.PATIENT_ID], scores["label"].astype(int), strict=True))
    network = make_network_scores(score, patient_ids, label, folds.splits)
    return pd.concat([network, scores], ignore_index=True)


def _load_dealt(path: Path, folds: Folds) -> tuple[pd.DataFrame, int]:
    """The cohort's rows that the folds hold, and how many others it has.

    Raises: LeakageError when a patient of the folds has no row or no label.
    """
    cohort = load_cohort(path, need_label=False)
    dealt = cohort[cohort[schema.PATIENT_ID].isin(folds.splits)].reset_index(drop=True)
    if len(dealt) != len(folds.splits) or dealt[schema.LABEL].isna().any():
        raise LeakageError("folds.json deals patients that the cohort does not have, or has without a label", path,
                           "make the folds again for this cohort")
    return dealt, len(cohort) - len(dealt)


def _load_embeddings(path: Path, folds: Folds) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Patient ids, embedding (fold, patient, feature) and score (fold, patient)."""
    arrays = artifacts.load_npz(path, layout={"patient_id": ("U", 1), "embedding": ("f", 3), "score": ("f", 2)})
    mend = "embed again"
    ids = [str(p) for p in arrays["patient_id"]]
    wanted = (folds.n_folds, len(ids))
    if arrays["score"].shape != wanted or arrays["embedding"].shape[:2] != wanted:
        raise CorruptFileError(f"embeddings do not have {wanted[0]} folds x {wanted[1]} patients", path, mend)
    if sorted(ids) != sorted(folds.splits):
        raise LeakageError("embeddings and folds.json hold different patients", path, mend)
    if not (np.isfinite(arrays["score"]).all() and np.isfinite(arrays["embedding"]).all()):
        raise CorruptFileError("embeddings hold a missing or infinite value", path, mend)
    return ids, arrays["embedding"], arrays["score"]


def _load_scores(path: Path, folds: Folds, label: dict[str, int] | None = None) -> pd.DataFrame:
    """Rows of every model, whose splits and labels are those of the folds and, where given, of the cohort."""
    scores = artifacts.load_table(path)
    missing = [name for name in _SCORE_COLUMNS if name not in scores.columns]
    if missing:
        raise CorruptFileError(f"scores lack column {', '.join(missing)}", path, "fuse again")
    wrong = [name for name, kind in _SCORE_KINDS.items() if scores[name].dtype.kind not in kind]
    if wrong:
        raise CorruptFileError(f"scores have {', '.join(wrong)} of another type", path, "fuse again")
    if not np.isfinite(scores[["score", "threshold"]]).all(axis=None):
        raise CorruptFileError("scores hold a missing or infinite value", path, "fuse again")
    if not scores["fold"].between(0, folds.n_folds - 1).all():
        raise CorruptFileError("scores of a fold that there is not", path, "fuse again")
    label = dict(zip(scores[schema.PATIENT_ID], scores["label"], strict=True)) if label is None else label
    for patient, fold, split, said in zip(
        scores[schema.PATIENT_ID], scores["fold"], scores["split"], scores["label"], strict=True
    ):
        if folds.split_of(patient, fold) != split or label.get(patient) != said:
            raise LeakageError("a row's split or label differs from folds.json or the cohort", path, "fuse again")
    return scores
