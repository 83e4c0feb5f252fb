"""Shell of the fusion: reads cohort, folds and embeddings; writes scores.parquet and models/; scores new patients."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import load_folds
from bonemet_jax.cohort.table import load_cohort
from bonemet_jax.config import FusionConfig
from bonemet_jax.errors import CorruptFileError, InputDataError
from bonemet_jax.fusion.classifiers import GradientBoosting
from bonemet_jax.fusion.features import FeatureSpace
from bonemet_jax.fusion.fold import FoldModels, fit_fold
from bonemet_jax.progress import Progress


def fuse(run_dir: Path, cohort_dir: Path, config: FusionConfig) -> None:
    """Fit all classifiers on all feature sets of all folds; write scores.parquet and models/.

    Raises: InputDataError, CorruptFileError, NumericsError as `fit_fold` and the loaders do.
    """
    cohort = load_cohort(cohort_dir / "cohort.parquet").set_index(schema.PATIENT_ID, drop=False)
    folds = load_folds(run_dir / "folds.json")
    embeddings = load_embeddings(run_dir / "embeddings.npz", folds.n_folds)
    tables: list[pd.DataFrame] = []
    n_models = folds.n_folds * len(config.feature_sets) * len(config.classifiers)
    with artifacts.atomic_dir(run_dir / "models") as models, Progress("fuse", n_models) as progress:
        for fold in range(folds.n_folds):
            splits = {split: folds.patient_ids(fold, split) for split in schema.SPLITS}
            fitted = fit_fold(cohort, splits, embeddings[fold], config, lambda name: progress.advance(text=name))
            _write_models(models, fold, fitted, config)
            tables.append(fitted.scores.assign(fold=fold))
        artifacts.write_manifest(models, {"n_folds": folds.n_folds})
    columns = ["patient_id", "fold", "split", "feature_set", "classifier", "label", "score", "threshold"]
    artifacts.save_table(run_dir / "scores.parquet", pd.concat(tables, ignore_index=True)[columns])


def load_embeddings(path: Path, n_folds: int) -> list[pd.DataFrame]:
    """X1..Xn of every fold's network, one table a fold, indexed by patient_id.

    Raises: CorruptFileError when arrays are missing or their shapes disagree with each other or with the folds.
    """
    arrays = artifacts.load_npz(path)
    if not {"patient_id", "embedding"} <= set(arrays):
        raise CorruptFileError("no arrays patient_id and embedding", path, "run `embed` again")
    ids, embedding = arrays["patient_id"].astype(str), arrays["embedding"]
    if embedding.ndim != 3 or embedding.shape[:2] != (n_folds, len(ids)) or len(set(ids.tolist())) != len(ids):
        raise CorruptFileError(
            f"embedding has shape {embedding.shape}, wanted ({n_folds} folds, {len(ids)} patients, features)", path,
            "run `embed` again",
        )
    names = list(schema.embedding_names(embedding.shape[2]))
    return [pd.DataFrame(embedding[fold], index=ids, columns=names) for fold in range(n_folds)]


def _model_path(models: Path, fold: int, feature_set: str) -> Path:
    return models / f"fold_{fold}_{feature_set}_gbdt.ubj"


def _write_models(models: Path, fold: int, fitted: FoldModels, config: FusionConfig) -> None:
    for (feature_set, _), model in fitted.models.items():
        if isinstance(model, GradientBoosting):
            artifacts.write_bytes(_model_path(models, fold, feature_set), model.to_bytes())
    value: dict[str, Any] = {
        **fitted.space.to_json(),
        "fold": fold,
        "seed": config.seed,
        "xgboost_device": "cpu",
        "features": {name: list(fitted.space.names(name)) for name in config.feature_sets},
        "thresholds": {f"{feature_set}/{name}": t for (feature_set, name), t in fitted.thresholds.items()},
    }
    artifacts.write_json(models / f"fold_{fold}.json", value)


def score_new(
    run_dir: Path, fold: int, feature_set: str, embedding: np.ndarray | None, clinical: pd.DataFrame | None
) -> np.ndarray:
    """Score in [0, 1] of new patients by the gradient boosting of one fold, from the run's files alone.

    Args:
        run_dir: a run with models/.
        fold: whose models.
        feature_set: imaging, clinical or both.
        embedding: (patient, n_embedding) of the same fold's network; needed unless clinical.
        clinical: clinical columns of the schema, same patients and order; needed unless imaging. Missing is filled as
            in training.
    Raises: CorruptFileError when a model file differs from its manifest; InputDataError when a needed part is absent.
    """
    models = run_dir / "models"
    artifacts.check_manifest(models)
    space = FeatureSpace.from_json(artifacts.load_json(models / f"fold_{fold}.json"))
    path = _model_path(models, fold, feature_set)
    if not path.is_file():
        raise InputDataError(f"the run has no gradient boosting on {feature_set}", path, "use one it has")
    x = space.make_matrix(feature_set, embedding, clinical)
    return GradientBoosting.from_bytes(path.read_bytes(), path).score(x)
