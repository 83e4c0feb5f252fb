"""The shell on fake runs: shapes of docs/contracts.md, pooling rules, joins, refusals, tiny cohorts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import load_folds
from bonemet_jax.cohort.table import load_cohort
from bonemet_jax.errors import BonemetError, CorruptFileError, LeakageError
from bonemet_jax.stats.clinical_use_results import recalibrate_test_rows
from bonemet_jax.stats.roc_results import compute_roc_results
from bonemet_jax.stats.run import compute_run_stats
from bonemet_jax.stats.survival_results import compute_km_results, compute_planted_hazards, compute_table2

MakeRun = Callable[..., Path]
TRUTH = {
    "generator": "repaired", "null": False, "bayes_auc": {"clinical": 0.8, "imaging": 0.88, "both": 0.92},
    "log_hazard_ratios": {"lvi": float(np.log(2.5)), "sfi_cm2_m2": float(np.log(0.97))},
}
NAMES = ("calibration", "correlation", "decision_curve", "km", "leakage", "planted", "repeats", "roc", "table1",
         "table2")


def _stats(run: Path) -> dict[str, Any]:
    compute_run_stats(run, run / "cohort")
    assert sorted(f.stem for f in (run / "stats").iterdir()) == list(NAMES)
    return {name: json.loads((run / "stats" / f"{name}.json").read_text()) for name in NAMES}


@pytest.fixture(scope="module")
def rows(make_run: MakeRun) -> tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]:
    run = make_run(120, truth=TRUTH)
    stats = _stats(run)
    return run, {(r["classifier"], r["feature_set"], r["split"]): r for r in stats["roc"]["rows"]}, stats


def test_roc_rows(rows: tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]) -> None:
    run, found, stats = rows
    wanted = {(c, f, s) for c in schema.CLASSIFIERS for f in schema.FEATURE_SETS for s in schema.SPLITS}
    assert set(found) == wanted | {("network", "imaging", s) for s in schema.SPLITS}
    scores = pd.read_parquet(run / "scores.parquet")
    part = scores.query("classifier == 'svm' and feature_set == 'both' and split == 'test'")
    row = found["svm", "both", "test"]
    assert row["auc"] == pytest.approx(roc_auc_score(part["label"], part["score"]))
    assert row["n_rows"] == row["n_patients"] == 120 and row["n_positive"] == 15
    assert row["auc_ci95_delong"][0] < row["auc"] < row["auc_ci95_delong"][1]
    by_fold = [roc_auc_score(f["label"], f["score"]) for _, f in part.groupby("fold")]
    assert row["auc_folds"] == pytest.approx(by_fold)
    assert (row["auc_fold_mean"], row["auc_fold_sd"]) == pytest.approx((np.mean(by_fold), np.std(by_fold, ddof=1)))
    said, truth = part["score"] >= part["threshold"], part["label"] == 1
    assert (row["sens"]["k"], row["sens"]["n"]) == ((said & truth).sum(), truth.sum())
    assert (row["spec"]["k"], row["spec"]["n"]) == ((~said & ~truth).sum(), (~truth).sum())
    assert row["ci_method"] == "wilson" and row["reason"] is None
    assert np.trapezoid(row["curve"]["tpr"], row["curve"]["fpr"]) == pytest.approx(row["auc"])
    assert stats["roc"]["n_bootstrap"] == stats["roc"]["n_permutations"] == 10_000


def test_pooled_train_rows_repeat_patients_and_get_no_delong(
    rows: tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]
) -> None:
    _, found, _ = rows
    for split in ("train", "val"):
        row = found["gbdt", "clinical", split]
        assert row["n_rows"] > row["n_patients"]
        assert row["auc_ci95_delong"] is None and row["ci_method"] == "bootstrap"
        assert row["auc_ci95_bootstrap"][0] < row["auc"] < row["auc_ci95_bootstrap"][1]
        assert row["sens"]["ci95"][0] <= row["sens"]["value"] <= row["sens"]["ci95"][1]
    assert found["gbdt", "clinical", "train"]["n_rows"] == 2 * 120 - found["gbdt", "clinical", "val"]["n_rows"]


def test_resampling_says_how(rows: tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]) -> None:
    _, found, stats = rows
    for (_, _, split), row in found.items():
        assert row["auc_ci95_bootstrap_method"] == "bca" or row["bootstrap_reasons"]["auc"]
        assert (row["auc_permutation_p"] is not None) == (split == "test")
        assert set(row["bootstrap_reasons"]) <= {"auc", "acc", "sens", "spec", "ppv", "npv"}
    # Scores lie 0.2 higher for events, of a range of 0.8; the network's know nothing.
    assert found["gbdt", "both", "test"]["auc_permutation_p"] < 0.05 < found["network", "imaging", "test"][
        "auc_permutation_p"]
    assert all(1 / 10_001 <= p["permutation_p"] <= 1 for p in stats["roc"]["paired"])
    assert all(abs(p["permutation_p"] - p["p"]) < 0.1 for p in stats["roc"]["paired"])


def test_calibration_maps_never_see_the_patients_they_mend(
    rows: tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]
) -> None:
    run, _, stats = rows
    assert len(stats["calibration"]["rows"]) == len(stats["decision_curve"]["rows"]) == 10
    for row in stats["calibration"]["rows"]:
        assert row["n_patients"] == 120 and row["n_positive"] == 15 and [m["fold"] for m in row["maps"]] == [0, 1, 2]
        raw, mended = row["raw"], row["recalibrated"]
        assert raw["intercept"]["ci95"][1] < 0, "scores far above the risk"
        assert abs(mended["intercept"]["value"]) < 0.5 and mended["brier"] < raw["brier"]
        assert sum(g["observed"]["n"] for g in raw["groups"]) == 120
    scores = pd.read_parquet(run / "scores.parquet").query("classifier == 'svm' and feature_set == 'both'")
    row = next(r for r in stats["calibration"]["rows"] if (r["classifier"], r["feature_set"]) == ("svm", "both"))
    altered = scores["score"].where(scores["split"] != "test", 0.5 * scores["score"])  # test rows alone
    maps = recalibrate_test_rows(scores.assign(score=altered))[1]
    assert maps == row["maps"]
    test, _ = recalibrate_test_rows(scores)
    treated = test["probability"] >= 0.1
    worth = (treated & (test["label"] == 1)).mean() - (treated & (test["label"] == 0)).mean() / 9
    curve = next(r for r in stats["decision_curve"]["rows"] if (r["classifier"], r["feature_set"]) == ("svm", "both"))
    assert curve["net_benefit"][9] == pytest.approx(worth)
    assert curve["net_benefit_standardised"][9] == pytest.approx(worth / (15 / 120))
    assert curve["lower"][9] <= worth <= curve["upper"][9]
    assert stats["decision_curve"]["treat_all"][9] == pytest.approx(15 / 120 - 105 / 120 / 9)


def test_network_is_joined_by_patient(rows: tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]) -> None:
    run, found, _ = rows
    arrays = artifacts.load_npz(run / "embeddings.npz")
    cohort = pd.read_parquet(run / "cohort" / "cohort.parquet").set_index(schema.PATIENT_ID)
    folds = json.loads((run / "folds.json").read_text())["patients"]
    held_out = [arrays["score"][folds[p]["test_fold"], i] for i, p in enumerate(arrays["patient_id"])]
    auc = roc_auc_score(cohort.loc[arrays["patient_id"], schema.LABEL], held_out)
    assert found["network", "imaging", "test"]["auc"] == pytest.approx(auc)


def test_paired_and_planted(rows: tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]) -> None:
    _, found, stats = rows
    paired = stats["roc"]["paired"]
    assert [(p["classifier"], p["b"]) for p in paired] == [
        (c, b) for c in schema.CLASSIFIERS for b in ("clinical", "imaging")]
    for p in paired:
        assert p["auc_a"] == pytest.approx(found[p["classifier"], "both", "test"]["auc"])
        assert p["difference"] == pytest.approx(p["auc_a"] - p["auc_b"])
    planted = stats["planted"]
    assert planted["synthetic"] and planted["generator"] == "repaired"
    assert [(r["feature_set"], r["classifier"]) for r in planted["rows"]] == [
        ("imaging", "network"), ("imaging", "gbdt"), ("clinical", "gbdt"), ("both", "gbdt")]
    assert all(r["gap"] == pytest.approx(r["auc"] - TRUTH["bayes_auc"][r["feature_set"]]) for r in planted["rows"])
    assert [h["name"] for h in planted["hazard_ratios"]] == ["lvi", "sfi_cm2_m2"]
    assert planted["hazard_ratios"][0]["planted_hr"] == pytest.approx(2.5)


def test_tables(rows: tuple[Path, dict[tuple[str, str, str], Any], dict[str, Any]]) -> None:
    run, _, stats = rows
    table1, cohort = stats["table1"], pd.read_parquet(run / "cohort" / "cohort.parquet")
    assert [v["name"] for v in table1["variables"]] == list(schema.clinical_names())
    age = table1["variables"][0]
    assert age["mean"] == pytest.approx(cohort.groupby(schema.LABEL)["age_years"].mean().tolist())
    stage = next(v for v in table1["variables"] if v["name"] == "n_stage")
    assert stage["counts"] == pd.crosstab(cohort[schema.LABEL], cohort["n_stage"])[["N0", "N1+"]].to_numpy().tolist()
    table2 = stats["table2"]
    assert [t["name"] for t in table2["terms"]] == list(schema.encoded_names())
    assert table2["terms"][3]["paper"]["hr"] == 2.544 and table2["terms"][3]["planted_hr"] == pytest.approx(2.5)
    selected = {t["name"] for t in table2["terms"] if t["lasso_coef"]}
    assert selected == {t["name"] for t in table2["terms"] if t["hr"] is not None}
    assert selected == {t["name"] for t in table2["terms"] if t["schoenfeld_p"] is not None}
    assert table2["refit"]["schoenfeld_reason"] is None
    chosen = next(p for p in table2["path"] if p["lambda"] == table2["lambda_chosen"])
    assert set(chosen["nonzero"]) == selected
    paper, learned = stats["km"]["cutoffs"]
    assert paper["cutoff"] == 27.7 and paper["printed"]["sens"] == 0.727 and learned["held_out"] is not None
    for cutoff in (paper, learned):
        assert sum(g["n"] for g in cutoff["groups"]) == 120
        assert [g["n_risk"][0] for g in cutoff["groups"]] == [g["n"] for g in cutoff["groups"]]
    correlation = stats["correlation"]
    assert np.shape(correlation["r"]) == (16, len(schema.encoded_names()))
    assert np.shape(correlation["r_folds"]) == (3, 16, len(schema.encoded_names()))


def test_patients_left_out_are_counted(make_run: MakeRun) -> None:
    def make_gaps(cohort: pd.DataFrame) -> pd.DataFrame:
        late = cohort.index >= 50
        return cohort.assign(
            cea_ng_ml=cohort["cea_ng_ml"].mask(cohort.index < 7),
            dmfs_months=cohort[schema.TIME].mask(late), dmfs_event=cohort[schema.EVENT].mask(late))

    run = make_run(60, truth=TRUTH, change=make_gaps)
    extra = pd.read_parquet(run / "cohort" / "cohort.parquet").head(3)
    extra[schema.PATIENT_ID] = ["X1", "X2", "X3"]
    artifacts.save_table(run / "cohort" / "cohort.parquet",
                         pd.concat([pd.read_parquet(run / "cohort" / "cohort.parquet"), extra], ignore_index=True))
    stats = _stats(run)
    table1, correlation = stats["table1"], stats["correlation"]
    cea = next(variable for variable in table1["variables"] if variable["name"] == "cea_ng_ml")
    assert (sum(cea["n"]), sum(cea["n_missing"]), table1["n_left_out"]) == (53, 7, 3)
    assert (stats["table2"]["n"], stats["table2"]["n_cohort"]) == (50, 60)
    assert stats["planted"]["notes"][0] == "Hazard ratios: 50 of 60 patients, those with a follow-up time."
    assert correlation["n_known"][correlation["clinical"].index("cea_ng_ml")] == 53
    assert max(correlation["n_known"]) == 60
    assert correlation["notes"][-1].endswith("over n patients: CEA (ng/ml) 53.")


@pytest.mark.every_change
def test_same_input_same_bytes(make_run: MakeRun) -> None:
    run = make_run(60, truth=TRUTH)
    _stats(run)
    first = {f.name: f.read_bytes() for f in (run / "stats").iterdir()}
    _stats(run)
    assert {f.name: f.read_bytes() for f in (run / "stats").iterdir()} == first


def _spoil(table: pd.DataFrame) -> pd.DataFrame:
    """Everything that can go missing or constant at once."""
    table = table.copy()
    table.loc[::3, "cea_ng_ml"] = np.nan
    table["ca153_u_ml"] = np.nan
    table["er"] = 1.0
    table["histology"] = "ductal"
    table.loc[[1, 2], ["sfi_cm2_m2"]] = np.nan
    table.loc[[3, 4], [schema.TIME, schema.EVENT]] = np.nan
    return table


@pytest.mark.parametrize(("n", "n_positive"), [(12, 2), (24, 3), (24, 22), (30, 15)])
@pytest.mark.every_change
def test_tiny_cohorts_give_null_with_a_reason(make_run: MakeRun, n: int, n_positive: int) -> None:
    for change in (_spoil, lambda table: table.assign(dmfs_event=0.0, sfi_cm2_m2=50.0)):
        stats = _stats(make_run(n, n_positive=n_positive, truth=TRUTH, change=change))
        assert all(r["auc"] is not None or r["reason"] for r in stats["roc"]["rows"])
        assert all((r["raw"] and r["recalibrated"]) or r["reason"] for r in stats["calibration"]["rows"])
        assert all(r["net_benefit"] or r["reason"] for r in stats["decision_curve"]["rows"])
        assert stats["table2"]["lambda_chosen"] is not None or stats["table2"]["reason"]
        fitted, refit = [t for t in stats["table2"]["terms"] if t["hr"] is not None], stats["table2"]["refit"]
        assert all(t["schoenfeld_p"] is not None for t in fitted) or refit["schoenfeld_reason"]
        assert stats["planted"]["hazard_ratios"] or stats["planted"]["hazard_ratios_reason"]
        assert all(c["logrank_p"] is not None or c["reason"] for c in stats["km"]["cutoffs"])
        for v in stats["table1"]["variables"]:
            p = v["student_p"] if v["kind"] == "continuous" else v["chisq_p"]
            assert p is not None or v["reason"]


_NOBODY, _NO_STATUS = "no patient has a follow-up time", "no patient with a follow-up time has a dmfs_event"


@pytest.mark.parametrize(("change", "km", "table2"), [
    (lambda t: t.assign(dmfs_months=np.nan, dmfs_event=np.nan), _NOBODY, _NOBODY),
    (lambda t: t.assign(dmfs_event=np.nan), _NO_STATUS, _NO_STATUS),
    (lambda t: t.assign(sfi_cm2_m2=np.nan), "no patient with a follow-up time has an SFI", None),
    (lambda t: t.assign(dmfs_months=t["dmfs_months"].where(t["bone_metastasis"] == 0),
                        dmfs_event=t["dmfs_event"].where(t["bone_metastasis"] == 0)), "only one class", "no events"),
    (lambda t: t.assign(dmfs_event=0.0), "log-rank: no events", "no events"),
    (lambda t: t.assign(sfi_cm2_m2=99.0), "log-rank: everyone is in one group", None),
])
def test_survival_that_cannot_be_computed_has_the_true_reason(
    make_run: MakeRun, change: Callable[[pd.DataFrame], pd.DataFrame], km: str, table2: str | None
) -> None:
    """Nobody followed, nobody with both, one class, no events: an inner call knows less than the cohort does."""
    run = make_run(30, change=change)
    cohort, folds = load_cohort(run / "cohort" / "cohort.parquet"), load_folds(run / "folds.json")
    found = compute_km_results(cohort, folds)
    paper, learned = found["cutoffs"]
    assert km in paper["reason"] and (paper["logrank_p"] is None) == (learned["logrank_p"] is None)
    if km.startswith("no patient"):
        assert paper["reason"] == learned["reason"] == km and paper["groups"] == learned["groups"] == []
    elif km == "only one class":
        assert paper["reason"] == "sensitivity and specificity: label has only one class; log-rank: no events"
    else:
        assert paper["groups"] and (paper["sens"]["value"] is None) == ("sensitivity" in paper["reason"])
    lasso = compute_table2(cohort, {})
    assert lasso["reason"] == table2 and (lasso["lambda_chosen"] is None) == (table2 is not None)
    planted, reason = compute_planted_hazards(cohort, {"lvi": 0.5})
    assert reason == table2 if table2 else planted or reason


def test_real_cohort_has_no_planted_truth(make_run: MakeRun) -> None:
    planted = _stats(make_run(40))["planted"]
    assert not planted["synthetic"] and planted["reason"] and planted["rows"] == []


def test_scores_that_disobey_the_folds_are_refused(make_run: MakeRun) -> None:
    run = make_run(40)
    scores = pd.read_parquet(run / "scores.parquet")
    whole = (run / "scores.parquet").read_bytes()
    swapped = scores.assign(split=scores["split"].replace({"train": "test", "test": "train"}))
    for bad, error in (
        (swapped, LeakageError), (scores.assign(label=1 - scores["label"]), LeakageError),
        (scores.drop(columns="threshold"), CorruptFileError), (scores.assign(score=np.nan), CorruptFileError),
    ):
        artifacts.save_table(run / "scores.parquet", bad)
        with pytest.raises(error):
            compute_run_stats(run, run / "cohort")
        assert not (run / "stats").exists()
    (run / "scores.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError):
        compute_run_stats(run, run / "cohort")


def test_a_patient_tested_twice_is_refused(make_run: MakeRun) -> None:
    scores = pd.read_parquet(make_run(40) / "scores.parquet")
    extra = scores[scores["split"] == "test"].head(1)
    with pytest.raises(LeakageError, match="twice"):
        compute_roc_results(pd.concat([scores, extra], ignore_index=True), n_draws=10)


def test_embeddings_of_other_patients_are_refused(make_run: MakeRun) -> None:
    run = make_run(40)
    arrays = artifacts.load_npz(run / "embeddings.npz")
    for change in ({"patient_id": np.roll(np.char.add(arrays["patient_id"], "x"), 1)}, {"score": arrays["score"][:2]},
                   {"score": arrays["score"] * np.nan}):
        artifacts.save_npz(run / "embeddings.npz", arrays | change)
        with pytest.raises(BonemetError):
            compute_run_stats(run, run / "cohort")
