"""Planted hazards, calibration and Bayes-optimal AUCs, each checked by another road."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from bonemet_jax.config import PhantomConfig
from data_pipelines.phantom import marginals, risk, tabular


@pytest.fixture(scope="module")
def cohort():
    table, factor, _ = tabular.draw_cohort(PhantomConfig(n=40_000, seed=11))
    return table, factor


def test_soft_auc_is_the_auc_of_drawn_labels():
    rng = np.random.default_rng(0)
    score = rng.standard_normal(200_000)
    probability = 1 / (1 + np.exp(2 - score))
    label = rng.random(score.size) < probability
    assert risk.compute_soft_auc(score, probability) == pytest.approx(roc_auc_score(label, score), abs=0.004)
    hard = label.astype(float)
    assert risk.compute_soft_auc(score, hard) == pytest.approx(roc_auc_score(label, score), abs=1e-9)


def test_expected_share_of_events(cohort):
    table, _ = cohort
    assert table["dmfs_event"].mean() == pytest.approx(52 / 431, abs=0.006)


def test_bayes_aucs_are_about_those_asked_for():
    auc = risk.bayes_auc("repaired", False)
    assert auc["both"] == pytest.approx(0.92, abs=0.001)
    assert auc["clinical"] == pytest.approx(0.80, abs=0.015)
    assert auc["imaging"] == pytest.approx(0.86, abs=0.025)


def test_bayes_aucs_agree_with_a_drawn_cohort(cohort):
    table, factor = cohort
    auc = risk.bayes_auc("repaired", False)
    clinical = risk.log_hazard(table)
    both = clinical + risk.calibrate().texture_log_hr * factor
    assert roc_auc_score(table["bone_metastasis"], clinical) == pytest.approx(auc["clinical"], abs=0.012)
    assert roc_auc_score(table["bone_metastasis"], both) == pytest.approx(auc["both"], abs=0.008)


def test_no_classifier_beats_the_imaging_figure_and_a_good_one_comes_near(cohort):
    table, factor = cohort
    shown = np.column_stack([factor, table[["sfa_cm2", "vfa_cm2", "esma_cm2"]]])
    label = table["bone_metastasis"].to_numpy()
    half = len(label) // 2
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression())
    score = model.fit(shown[:half], label[:half]).predict_proba(shown[half:])[:, 1]
    assert roc_auc_score(label[half:], score) == pytest.approx(risk.bayes_auc("repaired", False)["imaging"], abs=0.015)


def test_without_texture_the_image_shows_areas_alone(cohort):
    """The areas' own figure: a classifier of areas comes near and does not beat it; both is clinical then."""
    table, _ = cohort
    auc = risk.bayes_auc("repaired", False, texture_shown=False)
    assert auc["both"] == auc["clinical"] == risk.bayes_auc("repaired", False)["clinical"]
    areas, label = table[["sfa_cm2", "vfa_cm2", "esma_cm2"]].to_numpy(), table["bone_metastasis"].to_numpy()
    half = len(label) // 2
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression())
    score = model.fit(areas[:half], label[:half]).predict_proba(areas[half:])[:, 1]
    assert roc_auc_score(label[half:], score) == pytest.approx(auc["imaging"], abs=0.015)


def test_cox_finds_the_planted_hazard_ratios():
    """On exact event times: visits group them, which pulls strong effects towards zero."""
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    table, factor, months, _ = tabular._repaired(np.random.default_rng(1), 40_000, False, 0.0064)
    names = list(risk.LOG_HAZARD_RATIOS)
    values = table.assign(histology_ductal=(table["histology"] == "ductal").astype(float))[names].to_numpy(float)
    outcome = Surv.from_arrays(months <= 60, np.minimum(months, 60))
    fit = CoxPHSurvivalAnalysis().fit(np.column_stack([values, factor]), outcome)
    planted = np.array([*risk.LOG_HAZARD_RATIOS.values(), risk.calibrate().texture_log_hr])
    # About 4 standard errors at 4,800 events.
    tolerance = [0.14, 0.15, 0.13, 0.008, 0.04, 0.005, 0.012, 0.08]
    assert (np.abs(fit.coef_ - planted) < tolerance).all(), dict(zip([*names, "texture"], fit.coef_, strict=True))


def test_null_is_independent_of_everything():
    for generator in ("repaired", "as_printed"):
        config = PhantomConfig(n=40_000, seed=2, generator=generator, null=True)
        table, factor, _ = tabular.draw_cohort(config)
        label = table["bone_metastasis"]
        assert label.mean() == pytest.approx(marginals.EVENT_SHARE, abs=0.006)
        for values in (factor, risk.log_hazard(table), table["sfi_cm2_m2"], table["cea_ng_ml"], table["sfa_cm2"]):
            assert roc_auc_score(label, values) == pytest.approx(0.5, abs=0.02)
        assert risk.bayes_auc(generator, True) == {"imaging": 0.5, "clinical": 0.5, "both": 0.5}


def test_as_printed_ties_texture_and_row_to_the_outcome():
    table, factor, _ = tabular.draw_cohort(PhantomConfig(n=40_000, seed=5, generator="as_printed"))
    label = table["bone_metastasis"]
    assert roc_auc_score(label, factor) == pytest.approx(risk.calibrate().texture_auc, abs=0.012)
    assert factor.mean() == pytest.approx(0, abs=0.03)
    assert factor.std() == pytest.approx(1, abs=0.03)
    # paper.md section 2: normal curves with the printed SFI means and SDs give .947; the printed quartiles more.
    assert 0.94 < roc_auc_score(label, -table["sfi_cm2_m2"]) < 0.99
    auc = risk.bayes_auc("as_printed", False)
    assert auc["clinical"] > 0.99
    assert auc["both"] >= auc["clinical"]
    assert 0.86 < auc["imaging"] < 0.95
