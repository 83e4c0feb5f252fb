"""How a finished run decides about new patients: threshold, class and recalibrated risk of one of its models.

A new patient is scored by the model of every fold; score, threshold and risk are means over the folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.stats.calibration import Recalibration

#: How a fold's threshold was chosen, by the run's mode of fusion.
_CHOSEN_ON = {
    "paper": "the fold's training and validation patients",
    "honest": "held-out scores of the fold's training and validation patients",
}
#: Names of class 0 and class 1. Class 1 is the model's class for bone metastasis.
LABELS = ("below threshold", "above threshold")
_DECIMALS = 6
#: A 95 % band of the observed share wider than this is not given.
_VAGUE = 0.9


@dataclass(frozen=True)
class DecisionRule:
    """What turns the folds' scores of a new patient into a class and a risk."""

    feature_set: str
    """imaging or both."""
    classifier: str
    thresholds: tuple[float, ...]
    """One per fold, in [0, 1]."""
    chosen_on: str
    """Patients on whom the thresholds were chosen."""
    n_patients: int
    """Patients of the run, over all folds."""
    n_events: int
    """Of these, with bone metastasis."""
    n_train: tuple[int, ...]
    """Patients whose labels each fold's model learned from (training part)."""
    maps: tuple[Recalibration, ...] = ()
    """One per fold; empty where the run has none."""
    curve: Mapping[str, Sequence[float]] | None = None
    """Calibration curve of the held-out patients: predicted, observed, lower, upper."""
    reason: str | None = None
    """Why there is no map or no curve."""

    @property
    def name(self) -> str:
        """Which model decides, in words."""
        data = {"imaging": "imaging", "both": "imaging and clinical data"}[self.feature_set]
        return f"gradient boosting on {data}, mean of {len(self.thresholds)} folds"

    @property
    def threshold(self) -> float:
        """Mean of the folds' thresholds, in [0, 1]."""
        return round(float(np.mean(self.thresholds)), _DECIMALS)

    def describe(self) -> dict[str, Any]:
        """The rule as plain data."""
        return {
            "model": self.name, "feature_set": self.feature_set, "classifier": self.classifier,
            "threshold": self.threshold, "fold_thresholds": [round(value, _DECIMALS) for value in self.thresholds],
            "threshold_rule": "class 1 where score >= threshold; threshold = mean over folds of the score at which "
                              f"|sensitivity - specificity| is smallest on {self.chosen_on}",
            "risk_rule": "risk = mean over folds of the logistic recalibration learned on the fold's training and "
                         "validation patients; observed share among similar held-out patients = share with bone "
                         "metastasis at this predicted risk, with its 95 % band, by the run's calibration curve; the "
                         "interval is one of the observed share, and the risk may be outside it",
            "training": {"n_patients": self.n_patients, "n_events": self.n_events, "n_folds": len(self.thresholds),
                         "n_train_per_fold": list(self.n_train)},
        }  # fmt: skip

    def decide(self, scores: Sequence[float]) -> dict[str, Any]:
        """Score, threshold, class and risk of one patient as plain data.

        Args:
            scores: one per fold, in [0, 1].
        """
        score, threshold = round(float(np.mean(scores)), _DECIMALS), self.threshold
        return {
            "model": self.name, "score": score, "threshold": threshold, "class": int(score >= threshold),
            "class_label": LABELS[int(score >= threshold)],
            "fold_scores": [round(float(value), _DECIMALS) for value in scores],
            "n_folds_positive": sum(s >= t for s, t in zip(scores, self.thresholds, strict=True)),
            "risk": self._estimate_risk(scores),
            "training": {"n_patients": self.n_patients, "n_events": self.n_events},
        }  # fmt: skip

    def _estimate_risk(self, scores: Sequence[float]) -> dict[str, Any]:
        """Recalibrated risk; share with bone metastasis among held-out patients at this risk, with its 95 % band.

        What cannot be given is null, with the reason.
        """
        found: dict[str, Any] = {"value": None, "observed": None, "ci95": None, "reason": self.reason}
        if not self.maps:
            return found
        risk = float(np.mean([fold.apply([score])[0] for fold, score in zip(self.maps, scores, strict=True)]))
        found["value"] = round(risk, _DECIMALS)
        if self.curve is None:
            return found
        predicted = np.asarray(self.curve["predicted"], float)
        if not predicted[0] <= risk <= predicted[-1]:
            reach = f"{predicted[0]:.3f} to {predicted[-1]:.3f}"
            return found | {"reason": f"no held-out patient has a predicted risk like this (they reach {reach})"}
        observed, lower, upper = (round(float(np.interp(risk, predicted, self.curve[name])), _DECIMALS)
                                  for name in ("observed", "lower", "upper"))
        if upper - lower > _VAGUE:
            return found | {"reason": "too few held-out patients near this risk for a useful interval"}
        return found | {"observed": observed, "ci95": [lower, upper]}


def load_decision_rule(run_dir: Path, feature_set: str, mode: str, has_stats: bool) -> DecisionRule:
    """The rule of the gradient boosting on a feature set.

    Args:
        run_dir: a run whose stage fuse is finished.
        feature_set: imaging or both.
        mode: of the fusion: paper or honest.
        has_stats: whether stats/ belongs to these models; else there is no risk.

    Raises: CorruptFileError when the scores lack the model, or a file cannot be read.
    """
    path, classifier = run_dir / "scores.parquet", "gbdt"
    scores = artifacts.load_table(path)
    rows = scores[(scores["feature_set"] == feature_set) & (scores["classifier"] == classifier)
                  & (scores["repeat"] == 0)]  # fmt: skip
    if rows.empty:
        raise CorruptFileError(f"no scores of the gradient boosting on {feature_set}", path, "fuse again")
    patients = rows.drop_duplicates(schema.PATIENT_ID)
    n_train = rows[rows["split"] == "train"].groupby("fold").size()
    maps, curve, reason = _load_calibration(run_dir, feature_set, classifier) if has_stats else (
        (), None, "the run's statistics are missing or of other models: finish it with `bonemet run`")  # fmt: skip
    return DecisionRule(
        feature_set, classifier, tuple(rows.groupby("fold")["threshold"].first().tolist()), _CHOSEN_ON[mode],
        len(patients), int(patients["label"].sum()), tuple(n_train.astype(int).tolist()), maps, curve, reason,
    )


def _load_calibration(
    run_dir: Path, feature_set: str, classifier: str
) -> tuple[tuple[Recalibration, ...], Mapping[str, Sequence[float]] | None, str | None]:
    """The folds' maps, the held-out patients' calibration curve, and why one of them is missing."""
    path = run_dir / "stats" / "calibration.json"
    try:
        row = next(row for row in artifacts.load_json(path)["rows"]
                   if (row["feature_set"], row["classifier"]) == (feature_set, classifier))  # fmt: skip
        found = sorted(row["maps"], key=lambda fold: fold["fold"])
        maps = tuple(Recalibration(fold["intercept"], fold["slope"]) for fold in found)
        held_out = row["recalibrated"] or {}
        curve = held_out.get("curve")
        return maps, curve, None if curve else row["reason"] or held_out.get("reason") or "no calibration curve"
    except (KeyError, TypeError, StopIteration) as error:
        raise CorruptFileError("not the calibration of this run", path, "run `bonemet run` again") from error
