"""One fold of the fusion: what is learned before the classifiers, then one classifier at a time. No files here.

Two modes (FusionConfig.mode). Test patients are only scored in both; what differs is what the rest is used for.

`paper`: screening and classifiers learn from the training patients, described by the network that learned from them
too; hyper-parameters are chosen on the validation patients, the threshold on both (rows F1, G1, G2). # PAPER: such
embeddings are over-fitted, and so is every figure on the training part. That is kept as published.

`honest`: training and validation patients are one part, described by networks that never saw them (cross_fitting.py).
That part is dealt into inner parts, stratified; screening and classifier are learned without one and score it, in turn.
These scores choose hyper-parameters and threshold, and stand for the part in every table; then screening and classifier
are learned from the whole part and score the test patients.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from bonemet_jax import schema
from bonemet_jax.cohort.clinical import ClinicalEncoder
from bonemet_jax.config import FusionConfig
from bonemet_jax.errors import InputDataError
from bonemet_jax.fusion.classifiers import Classifier, Settings, list_candidates, make_classifier
from bonemet_jax.fusion.features import FeatureSpace, screen_clinical
from bonemet_jax.patient_ids import describe_pairs, find_alike
from bonemet_jax.stats.roc import compute_auc_or_none
from bonemet_jax.stats.threshold import choose_balanced_threshold

#: Inner parts of mode `honest`.
N_INNER = 5
Rows = Bool[np.ndarray, " patient"]


@dataclass(frozen=True)
class FoldPatients:
    """One fold's patients in order of split, and what each is described by; values alone, to be sent to a worker."""

    fold: int
    table: pd.DataFrame
    """Their rows of the cohort, indexed by patient_id."""
    split: np.ndarray
    label: Int[np.ndarray, " patient"]
    embedding: Float[np.ndarray, "patient feature"]
    """By the fold's own network."""
    cross_fitted: Float[np.ndarray, "patient feature"] | None
    """Mode `honest`: by networks that did not see the patient, for all but the test patients (NaN)."""

    @property
    def is_seen(self) -> Rows:
        """Training and validation patients."""
        return self.split != "test"


@dataclass(frozen=True)
class Fit:
    """A feature space learned from some patients, and the patients it is then asked about."""

    space: FeatureSpace
    learns: Rows
    asked: Rows


@dataclass(frozen=True)
class ModelName:
    """Which model of the nine, in which fold and repeat."""

    fold: int
    repeat: int
    feature_set: str
    classifier: str


@dataclass(frozen=True)
class FittedModel:
    """What one model learned and said."""

    name: ModelName
    classifier: Classifier
    settings: Settings
    candidate_auc: tuple[float | None, ...]
    """Of each candidate in inner validation; None where it has one class only."""
    threshold: float
    score: Float[np.ndarray, " patient"]
    """In the order of FoldPatients."""


def make_patients(
    cohort: pd.DataFrame, splits: Mapping[str, list[str]], fold: int, embedding: pd.DataFrame,
    cross_fitted: pd.DataFrame | None = None,
) -> FoldPatients:
    """Join what is known of a fold's patients.

    Args:
        cohort: clinical columns, label, time and event, indexed by patient_id.
        splits: patient ids of train, val and test.
        embedding: X1..Xn of this fold's network, indexed by patient_id.
        cross_fitted: of `cross_fit`, in mode `honest`.
    Raises: InputDataError when a patient has no embedding or no label.
    """
    ids = [patient for split in schema.SPLITS for patient in splits[split]]
    check_joinable(ids, cohort, embedding)
    return FoldPatients(
        fold, cohort.loc[ids], np.repeat(schema.SPLITS, [len(splits[name]) for name in schema.SPLITS]),
        cohort.loc[ids, schema.LABEL].to_numpy(int), embedding.loc[ids].to_numpy(),
        None if cross_fitted is None else cross_fitted.reindex(ids).to_numpy(),
    )


def check_joinable(ids: list[str], cohort: pd.DataFrame, embedding: pd.DataFrame) -> None:
    """Raises: InputDataError counting the patients without a row, a label or an embedding."""
    known = cohort.index[cohort[schema.LABEL].notna()]
    for what, index, mend in (
        ("label", known, "leave unlabelled patients out of folds.json"),
        ("embedding", embedding.index, "run `embed` again"),
    ):
        missing = [patient for patient in ids if patient not in index]
        if missing:
            alike = describe_pairs(find_alike(missing, map(str, index)))
            what = f"{len(missing)} of {len(ids)} patients have no {what}"
            raise InputDataError(f"{what}; {alike}" if alike else what, "", mend)


# --- What learns from whom -------------------------------------------------------------------------------


def list_fits(patients: FoldPatients, repeat: int, seed: int) -> list[tuple[Rows, Rows]]:
    """(learns, asked) of every fit of a model: the one that scores the test patients first, then the inner ones."""
    if patients.cross_fitted is None:
        return [(patients.split == "train", np.ones_like(patients.is_seen))]
    part = deal_parts(patients.label, patients.is_seen, (seed, patients.fold, repeat))
    inner = [(patients.is_seen & (part != i), patients.is_seen & (part == i)) for i in range(part.max() + 1)]
    return [(patients.is_seen, ~patients.is_seen), *inner]


def deal_parts(label: Int[np.ndarray, " patient"], among: Rows, seed: tuple[int, ...]) -> Int[np.ndarray, " patient"]:
    """Inner part of each patient, stratified by label; -1 for those not among them.

    Raises: InputDataError when a class has fewer than two patients.
    """
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(among & (label == wanted))) for wanted in (1, 0)]
    fewest = min(map(len, by_class))
    if fewest < 2:
        raise InputDataError(f"{fewest} patients of one class in a training part", "",
                             "mode honest needs two of each; use a larger cohort")
    part = np.full(label.size, -1)
    dealt = np.concatenate(by_class)
    part[dealt] = np.arange(dealt.size) % min(N_INNER, fewest)
    return part


def fit_space(patients: FoldPatients, learns: Rows, config: FusionConfig) -> FeatureSpace:
    """Encoding and screening of the clinical columns, learned from some of the patients.

    Raises: LeakageError when a test patient is among them.
    """
    rows = patients.table[learns]
    encoder = ClinicalEncoder.fit(rows, patients.split[learns].tolist())
    screening = screen_clinical(encoder.transform(rows), rows, config.screen, config.seed)
    return FeatureSpace(encoder, screening, patients.embedding.shape[1])


# --- One model --------------------------------------------------------------------------------------------


def fit_model(
    name: ModelName, patients: FoldPatients, fits: list[Fit], config: FusionConfig, device: str = "cpu"
) -> FittedModel:
    """Choose hyper-parameters and threshold, fit, and score every patient of the fold; equal input, equal bytes.

    Args:
        fits: of `list_fits`, with the space that each learned; the first scores the test patients.
        device: where gradient boosting runs.
    Raises: InputDataError when a training part holds one class only.
    """
    choose = _choose_on_validation if patients.cross_fitted is None else _choose_on_inner_parts
    return choose(name, patients, fits, config.seed + name.repeat, device)


def _choose_on_validation(
    name: ModelName, patients: FoldPatients, fits: list[Fit], seed: int, device: str
) -> FittedModel:
    tried = [_fit(name, patients, fits[0], settings, seed, device) for settings in list_candidates(name.classifier)]
    is_val = patients.split == "val"
    aucs = tuple(compute_auc_or_none(patients.label[is_val], score[is_val]) for _, score in tried)
    best = _pick(aucs)
    model, score = tried[best]
    threshold = choose_balanced_threshold(patients.label[patients.is_seen], score[patients.is_seen])
    return FittedModel(name, model, list_candidates(name.classifier)[best], aucs, float(threshold), score)


def _choose_on_inner_parts(
    name: ModelName, patients: FoldPatients, fits: list[Fit], seed: int, device: str
) -> FittedModel:
    final, *inner = fits
    seen, held_out = patients.is_seen, []
    for settings in list_candidates(name.classifier):
        score = np.full(patients.label.size, np.nan)
        for fit in inner:
            score[fit.asked] = _fit(name, patients, fit, settings, seed, device)[1]
        held_out.append(score)
    aucs = tuple(compute_auc_or_none(patients.label[seen], score[seen]) for score in held_out)
    best = _pick(aucs)
    settings, score = list_candidates(name.classifier)[best], held_out[best]
    model, score[final.asked] = _fit(name, patients, final, settings, seed, device)
    threshold = choose_balanced_threshold(patients.label[seen], score[seen])
    return FittedModel(name, model, settings, aucs, float(threshold), score)


def _fit(
    name: ModelName, patients: FoldPatients, fit: Fit, settings: Settings, seed: int, device: str
) -> tuple[Classifier, np.ndarray]:
    """A classifier of these settings, and its scores of those asked."""
    embedding = patients.embedding
    if patients.cross_fitted is not None:
        embedding = np.where(patients.is_seen[:, None], patients.cross_fitted, embedding)
    learned, asked = (
        fit.space.make_matrix(name.feature_set, embedding[rows], patients.table[rows])
        for rows in (fit.learns, fit.asked)
    )
    model = make_classifier(name.classifier, settings, device).fit(learned, patients.label[fit.learns], seed)
    return model, model.score(asked)


def _pick(aucs: tuple[float | None, ...]) -> int:
    """The best candidate; the first of equal ones, and where nothing is known."""
    return int(np.argmax([-1.0 if auc is None else auc for auc in aucs]))


def list_scores(patients: FoldPatients, fitted: FittedModel) -> pd.DataFrame:
    """Rows of scores.parquet (docs/contracts.md), in the order of the fold's patients."""
    name = fitted.name
    return pd.DataFrame({
        schema.PATIENT_ID: patients.table.index.to_numpy(), "fold": name.fold, "repeat": name.repeat,
        "split": patients.split, "feature_set": name.feature_set, "classifier": name.classifier,
        "label": patients.label, "score": fitted.score, "threshold": fitted.threshold,
    })
