"""One fold's feature space: what is learned from its training patients before any classifier sees them (row G1).

Clinical columns are encoded and screened by Lasso-Cox; `both` is the screened columns followed by X1..Xn of that fold's
network. Classifiers get the columns in their own units: trees do not care, the support vector machine standardises.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.clinical import ClinicalEncoder
from bonemet_jax.errors import CorruptFileError, InputDataError, NumericsError
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.lasso import fit_lasso_cox


@dataclass(frozen=True)
class Screening:
    """Clinical columns kept, and why."""

    columns: tuple[str, ...]
    reason: str
    lambda_chosen: float | None = None


def screen_clinical(encoded: pd.DataFrame, survival: pd.DataFrame, enabled: bool, seed: int) -> Screening:
    """Screen encoded clinical columns of training patients by Lasso-Cox (row G1).

    Args:
        encoded: training patients x encoded columns.
        survival: the same patients' `dmfs_months` and `dmfs_event`, same index.
        enabled: False keeps every column.
        seed: of the cross-validation that chooses lambda inside these patients.
    Returns: the columns kept. When nothing can be screened, or nothing is selected, all of them, with the reason.
    """
    everything = tuple(encoded.columns)
    if not enabled:
        return Screening(everything, "screening is off: all columns")
    known = survival[[schema.TIME, schema.EVENT]].notna().all(axis=1).to_numpy()
    left_out = "" if known.all() else (
        f"; on {known.sum()} of {known.size} training patients, the others have no follow-up time")
    time, event = survival.loc[known, schema.TIME], survival.loc[known, schema.EVENT]
    try:
        lasso = fit_lasso_cox(time, event, encoded.loc[known], everything, seed=seed)
    except NotEstimableError as error:
        return Screening(everything, f"Lasso-Cox cannot be fitted ({error.what}): all columns{left_out}")
    if not lasso.selected:
        return Screening(everything, f"Lasso-Cox selected none: all columns{left_out}", lasso.chosen.penalty)
    reason = f"Lasso-Cox selected {len(lasso.selected)} of {len(everything)} columns{left_out}"
    return Screening(lasso.selected, reason, lasso.chosen.penalty)


class _EncoderFile(TypedDict):
    """`ClinicalEncoder` as JSON."""

    fill: dict[str, float | str]
    n_imputed: dict[str, int]
    unobserved: list[str]
    mean: dict[str, float] | None
    sd: dict[str, float] | None


class SpaceFile(TypedDict):
    """`FeatureSpace` as JSON: part of models/fold_<k>.json."""

    encoder: _EncoderFile
    screened_columns: list[str]
    screening_reason: str
    lambda_chosen: float | None
    n_embedding: int


def load_space(path: Path) -> "FeatureSpace":
    """The feature space of models/fold_<k>.json. Raises: CorruptFileError when it is damaged."""
    value = artifacts.load_json(path, SpaceFile)
    columns, known = value["screened_columns"], schema.encoded_names()
    if not set(columns) <= set(known) or len(set(columns)) < len(columns) or value["n_embedding"] < 1:
        raise CorruptFileError("unknown columns or features", path, "run `fuse` again")
    try:
        return FeatureSpace.from_json(value)
    except CorruptFileError as error:
        raise CorruptFileError(error.what, path, error.mend) from error


@dataclass(frozen=True)
class FeatureSpace:
    """Encoder, screened columns and embedding width of one fold."""

    encoder: ClinicalEncoder
    screening: Screening
    n_embedding: int

    def names(self, feature_set: str) -> tuple[str, ...]:
        """Columns of the matrix of a feature set, in order."""
        clinical = self.screening.columns if feature_set != "imaging" else ()
        imaging = schema.embedding_names(self.n_embedding) if feature_set != "clinical" else ()
        return clinical + imaging

    def make_matrix(
        self, feature_set: str, embedding: np.ndarray | None, clinical: pd.DataFrame | None
    ) -> np.ndarray:
        """Features (patient, feature) float64 of one feature set.

        Args:
            feature_set: imaging, clinical or both.
            embedding: (patient, n_embedding) of this fold's network; needed unless clinical.
            clinical: the same patients' clinical columns, same order; needed unless imaging.
        Raises: InputDataError when a needed part is absent or has another width; NumericsError on NaN or infinity.
        """
        parts: list[np.ndarray] = []
        if feature_set != "imaging":
            if clinical is None:
                raise InputDataError(f"feature set {feature_set} needs clinical columns, got none", "",
                                     "give --clinical, or use the feature set imaging")
            parts.append(self.encoder.transform(clinical)[list(self.screening.columns)].to_numpy(float))
        if feature_set != "clinical":
            parts.append(self._check_embedding(feature_set, embedding))
        matrix = np.hstack(parts)
        columns = np.flatnonzero(~np.isfinite(matrix).all(axis=0))
        if columns.size:
            bad = ", ".join(self.names(feature_set)[column] for column in columns[:5])
            raise NumericsError(f"NaN or infinity in features {bad}", "", "run `embed` again")
        return matrix

    def _check_embedding(self, feature_set: str, embedding: np.ndarray | None) -> np.ndarray:
        shape = None if embedding is None else np.shape(embedding)
        if embedding is None or len(np.shape(embedding)) != 2 or np.shape(embedding)[1] != self.n_embedding:
            raise InputDataError(
                f"feature set {feature_set} needs embeddings of shape (patient, {self.n_embedding}), got {shape}", "",
                "use the network of the same run",
            )
        return np.asarray(embedding, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes the same space."""
        return {
            "encoder": self.encoder.to_json(),
            "screened_columns": list(self.screening.columns),
            "screening_reason": self.screening.reason,
            "lambda_chosen": self.screening.lambda_chosen,
            "n_embedding": self.n_embedding,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The space that `to_json` described."""
        screening = Screening(tuple(value["screened_columns"]), value["screening_reason"], value["lambda_chosen"])
        return cls(ClinicalEncoder.from_json(value["encoder"]), screening, value["n_embedding"])
