"""Shell of the fusion: reads cohort, folds and embeddings; writes scores and models/; scores new patients."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import Folds, list_pairs, load_folds
from bonemet_jax.cohort.table import load_cohort
from bonemet_jax.config import FusionConfig
from bonemet_jax.errors import CorruptFileError, InputDataError
from bonemet_jax.fusion.classifiers import GradientBoosting
from bonemet_jax.fusion.contributions import Contributions, compute_contributions, summarize_contributions
from bonemet_jax.fusion.cross_fitting import cross_fit
from bonemet_jax.fusion.device import choose_device
from bonemet_jax.fusion.features import FeatureSpace, load_space
from bonemet_jax.fusion.fold import (
    Fit,
    FittedModel,
    FoldPatients,
    ModelName,
    fit_model,
    fit_space,
    list_fits,
    list_scores,
    make_patients,
)
from bonemet_jax.fusion.workers import ending_workers, run_all
from bonemet_jax.progress import track


def fuse(run_dir: Path, cohort_dir: Path, config: FusionConfig) -> None:
    """Fit all classifiers on all feature sets of all folds; write scores.parquet and models/.

    In mode `honest` also paper_scores.parquet, the same models in mode `paper`: what the leakage meter compares.

    Raises: InputDataError, CorruptFileError, NumericsError as `make_patients`, `fit_model` and the loaders do.
    """
    cohort = load_cohort(cohort_dir / "cohort.parquet").set_index(schema.PATIENT_ID, drop=False)
    folds = load_folds(run_dir / "folds.json")
    embeddings = load_embeddings(run_dir / "embeddings.npz", folds.n_folds)
    published = [_make_fold(cohort, folds, fold, embeddings[fold]) for fold in range(folds.n_folds)]
    if config.mode == "paper":
        patients, paper_scores = published, None
    else:
        patients = _cross_fit(run_dir, published, folds)
        once = replace(config, mode="paper", repeats=1)
        paper_scores = _join_scores(published, _fit_all(published, once)[1])
    spaces, models = _fit_all(patients, config)
    with artifacts.atomic_dir(run_dir / "models") as directory:
        for fold, space in enumerate(spaces):
            _write_models(directory, space, [m for m in models if (m.name.fold, m.name.repeat) == (fold, 0)], config)
        artifacts.write_manifest(directory, {"n_folds": folds.n_folds})
    artifacts.write_json(run_dir / "shap.json", _explain(patients, spaces, models))
    published_scores = run_dir / "paper_scores.parquet"
    published_scores.unlink(missing_ok=True)
    if paper_scores is not None:
        artifacts.save_table(published_scores, paper_scores)
    artifacts.save_table(run_dir / "scores.parquet", _join_scores(patients, models))


def _make_fold(cohort: pd.DataFrame, folds: Folds, fold: int, embedding: pd.DataFrame) -> FoldPatients:
    splits = {split: folds.patient_ids(fold, split) for split in schema.SPLITS}
    return make_patients(cohort, splits, fold, embedding)


def _cross_fit(run_dir: Path, published: Sequence[FoldPatients], folds: Folds) -> list[FoldPatients]:
    """The folds' patients with the embeddings of networks that did not see them."""
    pairs = list_pairs(folds.n_folds)
    cross = load_embeddings(run_dir / "cross" / "embeddings.npz", len(pairs))
    test_fold = {patient: folds.test_fold(patient) for patient in folds.splits}
    found = []
    for patients in published:
        of_fold = {sum(pair) - patients.fold: table for pair, table in zip(pairs, cross, strict=True)
                   if patients.fold in pair}
        ids, names = patients.table.index, schema.embedding_names(patients.embedding.shape[1])
        own = pd.DataFrame(patients.embedding, index=ids, columns=list(names))
        val = ids[patients.split == "val"].tolist()
        fitted = cross_fit(own, of_fold, test_fold, patients.fold, val).reindex(ids)
        found.append(replace(patients, cross_fitted=fitted.to_numpy()))
    return found


@ending_workers()
def _fit_all(patients: Sequence[FoldPatients], config: FusionConfig) -> tuple[list[FeatureSpace], list[FittedModel]]:
    """Each fold's space for its test patients, and every model of every fold and repeat."""
    places = [(of_fold, repeat) for of_fold in patients for repeat in range(config.repeats)]
    rows = [list_fits(of_fold, repeat, config.seed) for of_fold, repeat in places]
    learning = [(place[0], learns, config) for place, fits in zip(places, rows, strict=True) for learns, _ in fits]
    spaces = iter(list(track(run_all(fit_space, learning, config), "screen", len(learning))))
    fits = [[Fit(next(spaces), *of_fit) for of_fit in of_place] for of_place in rows]
    tasks = [
        (ModelName(of_fold.fold, repeat, feature_set, name), of_fold, of_place, config,
         choose_device(config.xgboost_device, int(of_place[0].learns.sum())))
        for (of_fold, repeat), of_place in zip(places, fits, strict=True)
        for feature_set in config.feature_sets for name in config.classifiers
    ]
    models = list(track(run_all(fit_model, tasks, config), f"fuse ({config.mode})", len(tasks)))
    return [of_place[0].space for (_, repeat), of_place in zip(places, fits, strict=True) if repeat == 0], models


def _explain(
    patients: Sequence[FoldPatients], spaces: Sequence[FeatureSpace], models: Sequence[FittedModel]
) -> dict[str, Any]:
    """SHAP values of the gradient boosting on every fold's test patients, by feature set."""
    folds: dict[str, list[Contributions]] = {}
    for name, boosting in ((m.name, m.classifier) for m in models if m.name.repeat == 0):
        if isinstance(boosting, GradientBoosting):
            of_fold, space = patients[name.fold], spaces[name.fold]
            x = space.make_matrix(name.feature_set, of_fold.embedding, of_fold.table)[~of_fold.is_seen]
            found = compute_contributions(boosting.booster, x, space.names(name.feature_set))
            folds.setdefault(name.feature_set, []).append(found)
    imaging = schema.embedding_names(spaces[0].n_embedding)
    return {feature_set: summarize_contributions(found, imaging) for feature_set, found in folds.items()}


def _join_scores(patients: Sequence[FoldPatients], models: Sequence[FittedModel]) -> pd.DataFrame:
    return pd.concat([list_scores(patients[model.name.fold], model) for model in models], ignore_index=True)


def load_embeddings(path: Path, n_folds: int) -> list[pd.DataFrame]:
    """X1..Xn of every fold's network, one table a fold, indexed by patient_id.

    Raises: CorruptFileError when arrays are missing or their shapes disagree with each other or with the folds.
    """
    arrays = artifacts.load_npz(path, layout={"patient_id": ("U", 1), "embedding": ("f", 3)})
    ids, embedding = arrays["patient_id"].astype(str), arrays["embedding"]
    if embedding.shape[:2] != (n_folds, len(ids)) or len(set(ids.tolist())) != len(ids):
        raise CorruptFileError(
            f"embedding has shape {embedding.shape}, wanted ({n_folds} folds, {len(ids)} patients, features)", path,
            "run `embed` again",
        )
    names = list(schema.embedding_names(embedding.shape[2]))
    return [pd.DataFrame(embedding[fold], index=ids, columns=names) for fold in range(n_folds)]


def _model_path(models: Path, fold: int, feature_set: str) -> Path:
    return models / f"fold_{fold}_{feature_set}_gbdt.ubj"


def _write_models(models: Path, space: FeatureSpace, fitted: Sequence[FittedModel], config: FusionConfig) -> None:
    """The gradient boosting of one fold, and what was learned and chosen around it."""
    for model in fitted:
        if isinstance(model.classifier, GradientBoosting):
            path = _model_path(models, model.name.fold, model.name.feature_set)
            artifacts.write_bytes(path, model.classifier.to_bytes())
    fold = fitted[0].name.fold
    value: dict[str, Any] = {
        **space.to_json(),
        "fold": fold,
        "mode": config.mode,
        "seed": config.seed,
        "xgboost_device": sorted({m.classifier.device for m in fitted if isinstance(m.classifier, GradientBoosting)}),
        "features": {name: list(space.names(name)) for name in config.feature_sets},
        "thresholds": {_key(model): model.threshold for model in fitted},
        "settings": {_key(model): model.settings for model in fitted},
        "candidate_auc": {_key(model): list(model.candidate_auc) for model in fitted},
    }
    artifacts.write_json(models / f"fold_{fold}.json", value)


def _key(model: FittedModel) -> str:
    return f"{model.name.feature_set}/{model.name.classifier}"


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
    space = load_space(models / f"fold_{fold}.json")
    path = _model_path(models, fold, feature_set)
    if not path.is_file():
        raise InputDataError(f"the run has no gradient boosting on {feature_set}", path, "use one it has")
    x = space.make_matrix(feature_set, embedding, clinical)
    model = GradientBoosting.from_bytes(path.read_bytes(), path)
    if model.booster.num_features() != x.shape[1]:
        raise CorruptFileError(f"gradient boosting of {model.booster.num_features()} features, the fold has "
                               f"{x.shape[1]}", path, "run `fuse` again")
    return model.score(x)
