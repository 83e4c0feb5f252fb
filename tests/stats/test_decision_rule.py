"""Threshold, class and risk of new patients against arithmetic by hand."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.stats.decision_rule import DecisionRule, load_decision_rule

CURVE = {"predicted": [0.1, 0.5], "observed": [0.2, 0.6], "lower": [0.05, 0.4], "upper": [0.3, 0.8]}
MAPS = [{"fold": 1, "intercept": 0.0, "slope": 2.0}, {"fold": 0, "intercept": -1.0, "slope": 1.0}]


def _save_run(directory: Path, recalibrated: object, maps: list[dict[str, float]] = MAPS) -> None:
    rows = [(patient, fold, 0, split, "imaging", "gbdt", label, 0.5, (0.25, 0.55)[fold])
            for patient, label, splits in (("a", 1, ("train", "test")), ("b", 0, ("val", "train")),
                                           ("c", 0, ("test", "train"))) for fold, split in enumerate(splits)]
    names = ["patient_id", "fold", "repeat", "split", "feature_set", "classifier", "label", "score", "threshold"]
    frame = pd.DataFrame(rows, columns=names)
    # Another repeat and another classifier, whose thresholds decide nothing.
    artifacts.save_table(directory / "scores.parquet", pd.concat(
        [frame, frame.assign(repeat=1, threshold=0.9), frame.assign(classifier="svm", threshold=0.8)]))  # fmt: skip
    row = {"feature_set": "imaging", "classifier": "gbdt", "maps": maps, "recalibrated": recalibrated, "reason": None}
    artifacts.write_json(directory / "stats" / "calibration.json", {"rows": [row]})


def _load(directory: Path) -> DecisionRule:
    return load_decision_rule(directory, "imaging", "paper", has_stats=True)


def rule_label(directory: Path, scores: list[float]) -> str:
    return str(_load(directory).decide(scores)["class_label"])


def test_class_and_risk_by_hand(tmp_path: Path) -> None:
    _save_run(tmp_path, {"curve": CURVE, "reason": None})
    found = _load(tmp_path).decide([0.2, 0.7])
    assert (found["score"], found["threshold"], found["class"], found["n_folds_positive"]) == (0.45, 0.4, 1, 1)
    assert found["class_label"] == "above threshold" and rule_label(tmp_path, [0.1, 0.1]) == "below threshold"
    assert found["training"] == {"n_patients": 3, "n_events": 1}
    odds = (math.exp(-1) * 0.2 / 0.8, (0.7 / 0.3) ** 2)  # fold 0: logit - 1; fold 1: 2 logit
    risk = sum(odd / (1 + odd) for odd in odds) / 2
    assert found["risk"]["value"] == pytest.approx(risk, abs=1e-6)
    part = (risk - 0.1) / 0.4
    assert found["risk"]["ci95"] == pytest.approx([0.05 + part * 0.35, 0.3 + part * 0.5], abs=1e-6)
    assert found["risk"]["observed"] == pytest.approx(0.2 + part * 0.4, abs=1e-6) and found["risk"]["reason"] is None
    json.dumps(found, allow_nan=False)


def test_score_equal_to_the_threshold_is_class_one(tmp_path: Path) -> None:
    _save_run(tmp_path, {"curve": CURVE, "reason": None})
    rule = _load(tmp_path)
    assert rule.decide([0.3, 0.5])["class"] == 1 and rule.decide([0.3, 0.4999])["class"] == 0
    assert rule.describe()["training"]["n_train_per_fold"] == [1, 2]


@pytest.mark.parametrize(("recalibrated", "maps", "scores", "reason"), [
    ({"curve": None, "reason": "it needs three knots"}, MAPS, [0.2, 0.7], "it needs three knots"),
    (None, [], [0.2, 0.7], "no calibration curve"),
    ({"curve": CURVE, "reason": None}, MAPS, [0.99, 0.99], "no held-out patient has a predicted risk like this"),
    ({"curve": CURVE | {"lower": [0.0, 0.0], "upper": [1.0, 1.0]}, "reason": None}, MAPS, [0.2, 0.7], "too few"),
])
def test_interval_that_cannot_be_given_has_a_reason(
    tmp_path: Path, recalibrated: object, maps: list[dict[str, float]], scores: list[float], reason: str
) -> None:
    _save_run(tmp_path, recalibrated, maps)
    risk = _load(tmp_path).decide(scores)["risk"]
    assert reason in risk["reason"] and (risk["value"] is None) == (not maps)
    assert risk["observed"] is risk["ci95"] is None


def test_statistics_of_other_models_give_no_risk(tmp_path: Path) -> None:
    _save_run(tmp_path, {"curve": CURVE, "reason": None})
    risk = load_decision_rule(tmp_path, "imaging", "paper", has_stats=False).decide([0.2, 0.7])["risk"]
    assert risk["value"] is risk["ci95"] is None and "bonemet run" in risk["reason"]


def test_missing_model_and_damaged_calibration_are_one_line(tmp_path: Path) -> None:
    _save_run(tmp_path, {"curve": CURVE, "reason": None})
    with pytest.raises(CorruptFileError, match="no scores of the gradient boosting on both"):
        load_decision_rule(tmp_path, "both", "paper", has_stats=True)
    artifacts.write_json(tmp_path / "stats" / "calibration.json", {"rows": [{"feature_set": "imaging"}]})
    with pytest.raises(CorruptFileError, match="not the calibration"):
        _load(tmp_path)
