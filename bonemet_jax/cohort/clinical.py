"""Clinical columns as numbers (row A2): learned on training rows, the same for every other row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from bonemet_jax import schema
from bonemet_jax.errors import CorruptFileError, InputDataError, LeakageError


def list_encoded(column: schema.Column) -> list[str]:
    """The encoded columns of one clinical column: itself, or one a level but the first."""
    return [f"{column.name}_{level}" for level in column.levels[1:]] or [column.name]


@dataclass(frozen=True)
class ClinicalEncoder:
    """Fills missing values and encodes categories; optionally standardises every encoded column.

    Missing numbers become the median, missing 0/1 and categories the mode (ties: the lower or first level) of the
    rows seen by `fit`, and `n_imputed` counts them. A column without a single known value is listed in `unobserved`
    and becomes the constant 0 everywhere, so that it carries nothing.
    """

    fill: dict[str, float | str]
    n_imputed: dict[str, int]
    unobserved: tuple[str, ...] = ()
    mean: dict[str, float] | None = None
    sd: dict[str, float] | None = None

    @classmethod
    def fit(cls, frame: pd.DataFrame, splits: Sequence[str] | None, standardise: bool = False) -> Self:
        """Learn from training rows.

        Args:
            frame: rows of a checked cohort table (load_cohort).
            splits: each row's split; None when a whole cohort is described and nothing is held out.
            standardise: also learn mean and SD (1/N variance) of every encoded column.

        Raises: LeakageError when any row is a test row.
        """
        if splits is not None and (len(splits) != len(frame) or "test" in set(splits)):
            raise LeakageError("test rows (or rows without a split) would reach the clinical encoding", "fit",
                               "pass training rows alone, with the split of each")
        fill: dict[str, float | str] = {}
        n_imputed: dict[str, int] = {}
        unobserved: list[str] = []
        for column in schema.CLINICAL:
            known = frame[column.name].dropna()
            if known.empty:
                unobserved.append(column.name)
                continue
            fill[column.name] = _typical(known, column)
            if len(known) < len(frame):
                n_imputed[column.name] = len(frame) - len(known)
        encoder = cls(fill, n_imputed, tuple(unobserved))
        if not standardise:
            return encoder
        encoded = encoder.transform(frame)
        sd = encoded.std(ddof=0)
        return cls(fill, n_imputed, tuple(unobserved), encoded.mean().to_dict(), sd.where(sd > 0, 1.0).to_dict())

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Encode rows: float64 columns `schema.encoded_names()`, indexed by patient_id.

        Raises: InputDataError for a missing column or an unknown level.
        """
        columns: dict[str, Any] = {}
        for column in schema.CLINICAL:
            columns |= self._encode(frame, column)
        encoded = pd.DataFrame(columns, index=pd.Index(frame[schema.PATIENT_ID], name=schema.PATIENT_ID))
        encoded = encoded[list(schema.encoded_names())]
        if self.mean is not None and self.sd is not None:
            encoded = (encoded - pd.Series(self.mean)) / pd.Series(self.sd)
        return encoded[list(schema.encoded_names())]

    def _encode(self, frame: pd.DataFrame, column: schema.Column) -> dict[str, Any]:
        if column.name not in frame.columns:
            raise InputDataError(f"clinical column {column.name} is missing", "the cohort table", "add it")
        names = list_encoded(column)
        if column.name in self.unobserved:
            return {name: [0.0] * len(frame) for name in names}
        values = frame[column.name]
        values = values.where(values.notna(), self.fill[column.name])
        if column.kind != "category":
            return {column.name: values.to_numpy(dtype=float)}
        unknown = ~values.isin(column.levels)
        if unknown.any():
            raise InputDataError(f"unknown level {values[unknown].iloc[0]!r} in {column.name}", "the cohort table",
                                 f"use one of {', '.join(column.levels)}")
        return {f"{column.name}_{level}": (values == level).to_numpy(dtype=float) for level in column.levels[1:]}

    def count_missing(self, frame: pd.DataFrame) -> dict[str, int]:
        """Missing values that `transform` would fill, by column; columns without any are left out."""
        counts = {name: int(frame[name].isna().sum()) for name in schema.clinical_names()}
        return {name: count for name, count in counts.items() if count}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; floats survive the round trip exactly."""
        return {"fill": self.fill, "n_imputed": self.n_imputed, "unobserved": list(self.unobserved),
                "mean": self.mean, "sd": self.sd}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Inverse of `to_json`. Raises: CorruptFileError for anything else."""
        try:
            encoder = cls(dict(value["fill"]), dict(value["n_imputed"]), tuple(value["unobserved"]),
                          value["mean"], value["sd"])
            known = {*encoder.fill, *encoder.unobserved}
            scales = [encoder.mean or {}, encoder.sd or {}]
            numbers = [float(number) for scale in scales for number in scale.values()]
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise CorruptFileError(f"not a clinical encoding ({error})", "the model file", "fuse again") from error
        kinds = {column.name: str if column.kind == "category" else (int, float) for column in schema.CLINICAL}
        if any(not isinstance(fill, kinds.get(name, ())) for name, fill in encoder.fill.items()):
            raise CorruptFileError("clinical encoding of other types", "the model file", "fuse again")
        if (encoder.mean is None) != (encoder.sd is None) or not all(
            scale is None or set(scale) == set(schema.encoded_names()) for scale in (encoder.mean, encoder.sd)
        ):
            raise CorruptFileError("clinical encoding of other scales", "the model file", "fuse again")
        if known != set(schema.clinical_names()) or not all(map(math.isfinite, numbers)):
            raise CorruptFileError("clinical encoding of other columns", "the model file", "fuse again")
        return encoder


def _typical(known: pd.Series, column: schema.Column) -> float | str:
    if column.kind == "continuous":
        return float(known.median())
    if column.kind == "binary":
        return float(known.mean() > 0.5)
    counts = [int((known == level).sum()) for level in column.levels]
    return column.levels[counts.index(max(counts))]
