"""One fold of the fusion: screening, nine classifiers, thresholds and scores. No files are touched here.

Fitting sees the training patients, the threshold sees train and validation, test patients are only scored (rows F1, G1,
G2). # PAPER: the embeddings of the network's own training patients are over-fitted; that is kept as published. A mode
that cross-fits them is not there yet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bonemet_jax import schema
from bonemet_jax.cohort.clinical import ClinicalEncoder
from bonemet_jax.config import FusionConfig
from bonemet_jax.errors import InputDataError
from bonemet_jax.fusion.classifiers import Classifier, make_classifier
from bonemet_jax.fusion.features import FeatureSpace, screen_clinical
from bonemet_jax.stats.threshold import choose_balanced_threshold

#: (feature set, classifier)
ModelName = tuple[str, str]


@dataclass(frozen=True)
class FoldModels:
    """What one fold learned and said."""

    space: FeatureSpace
    models: dict[ModelName, Classifier]
    thresholds: dict[ModelName, float]
    scores: pd.DataFrame
    """patient_id, split, feature_set, classifier, label, score, threshold"""


def fit_fold(
    cohort: pd.DataFrame,
    splits: Mapping[str, list[str]],
    embedding: pd.DataFrame,
    config: FusionConfig,
    on_model: Callable[[str], None] = lambda name: None,
) -> FoldModels:
    """Fit every classifier on every feature set of one fold.

    Args:
        cohort: clinical columns, label, time and event, indexed by patient_id.
        splits: patient ids of train, val and test.
        embedding: X1..Xn of this fold's network, indexed by patient_id.
        config: which classifiers and feature sets.
        on_model: called with a model's name when it is done.
    Raises: InputDataError when a patient has no embedding or no label, or the training part holds one class only.
    """
    ids = [patient for split in schema.SPLITS for patient in splits[split]]
    check_joinable(ids, cohort, embedding)
    space = _fit_space(cohort.loc[splits["train"]], embedding.shape[1], config)
    label = cohort.loc[ids, schema.LABEL].to_numpy(int)
    split = np.repeat(schema.SPLITS, [len(splits[name]) for name in schema.SPLITS])
    models: dict[ModelName, Classifier] = {}
    thresholds: dict[ModelName, float] = {}
    tables: list[pd.DataFrame] = []
    for feature_set in config.feature_sets:
        x = space.make_matrix(feature_set, embedding.loc[ids].to_numpy(), cohort.loc[ids])
        for name in config.classifiers:
            model = make_classifier(name).fit(x[split == "train"], label[split == "train"], config.seed)
            score = model.score(x)
            threshold = choose_balanced_threshold(label[split != "test"], score[split != "test"])
            models[feature_set, name], thresholds[feature_set, name] = model, float(threshold)
            tables.append(pd.DataFrame({
                schema.PATIENT_ID: ids, "split": split, "feature_set": feature_set, "classifier": name,
                "label": label, "score": score, "threshold": float(threshold),
            }))
            on_model(f"{name} on {feature_set}")
    return FoldModels(space, models, thresholds, pd.concat(tables, ignore_index=True))


def _fit_space(train: pd.DataFrame, n_embedding: int, config: FusionConfig) -> FeatureSpace:
    encoder = ClinicalEncoder.fit(train, ["train"] * len(train))
    screening = screen_clinical(encoder.transform(train), train, config.screen, config.seed)
    return FeatureSpace(encoder, screening, n_embedding)


def check_joinable(ids: list[str], cohort: pd.DataFrame, embedding: pd.DataFrame) -> None:
    """Raises: InputDataError counting the patients without a row, a label or an embedding."""
    known = cohort.index[cohort[schema.LABEL].notna()]
    for what, index, mend in (
        ("label", known, "leave unlabelled patients out of folds.json"),
        ("embedding", embedding.index, "run `embed` again"),
    ):
        missing = [patient for patient in ids if patient not in index]
        if missing:
            raise InputDataError(f"{len(missing)} of {len(ids)} patients have no {what}", "", mend)
