"""A fake run: every file the report reads, with plausible numbers in the shapes of docs/contracts.md."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bonemet_jax import artifacts, schema
from bonemet_jax.config import Config, fingerprint, to_dict
from bonemet_jax.stats.clinical_use_results import compute_calibration_results, compute_decision_results

N, N_POSITIVE = 431, 52


def _proportion(value: float, n: int, half: float) -> dict[str, Any]:
    return {"value": value, "ci95": [max(value - half, 0.0), min(value + half, 1.0)], "k": round(value * n), "n": n}


def _roc_row(feature_set: str, classifier: str, split: str, auc: float) -> dict[str, Any]:
    fpr = np.linspace(0, 1, 60)
    # The area under fpr ** ((1 - a) / a) is a.
    tpr = fpr ** ((1 - auc) / auc)
    folds = [auc - 0.03, auc + 0.01, auc + 0.02]
    return {
        "feature_set": feature_set, "classifier": classifier, "split": split, "n_rows": N, "n_patients": N,
        "n_positive": N_POSITIVE, "auc": auc,
        "auc_ci95_delong": [auc - 0.06, min(auc + 0.05, 1.0)] if split == "test" else None,
        "auc_ci95_bootstrap": [auc - 0.058, min(auc + 0.048, 1.0)],
        "auc_folds": folds, "auc_fold_mean": auc, "auc_fold_sd": 0.0265, "thresholds": [0.41, 0.39, 0.44],
        **{name: _proportion(auc - 0.08, N, 0.04) for name in ("acc", "sens", "spec", "ppv", "npv")},
        "ci_method": "wilson" if split == "test" else "bootstrap",
        "curve": {"fpr": fpr.tolist(), "tpr": tpr.tolist()}, "reason": None,
    }


def make_roc() -> dict[str, Any]:
    base = {"imaging": 0.71, "clinical": 0.78, "both": 0.89}
    bonus = {"train": 0.1, "val": 0.03, "test": 0.0}
    rows = [_roc_row("imaging", "network", split, 0.69 + bonus[split]) for split in schema.SPLITS]
    rows += [
        _roc_row(f, c, split, base[f] + bonus[split] - 0.02 * i)
        for f in schema.FEATURE_SETS for i, c in enumerate(schema.CLASSIFIERS) for split in schema.SPLITS
    ]
    paired = [
        {"classifier": c, "split": "test", "a": "both", "b": b, "auc_a": 0.89, "auc_b": base[b],
         "difference": 0.89 - base[b], "ci95": [0.02, 0.2], "z": 2.61, "p": 0.0091, "permutation_p": 0.0123,
         "reason": None}
        for c in schema.CLASSIFIERS for b in ("clinical", "imaging")
    ]
    return {"n_patients": N, "n_positive": N_POSITIVE, "n_bootstrap": 2000, "rows": rows, "paired": paired,
            "notes": ["Bootstrap intervals are percentiles of 2000 patient-level resamples."]}


def make_table1() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    variables: list[dict[str, Any]] = []
    for column in schema.CLINICAL:
        common = {"name": column.name, "label": column.label, "n": [379, 52], "n_missing": [0, 0], "reason": None}
        if column.kind == "continuous":
            mean = rng.uniform(5, 150, 2).tolist()
            variables.append(common | {
                "kind": "continuous", "mean": mean, "sd": [m / 3 for m in mean],
                "quartiles": [[m * f for f in (0.2, 0.8, 1, 1.2, 2)] for m in mean],
                "student_p": float(rng.uniform()), "welch_p": 0.2, "wilcoxon_p": 0.3,
            })
            continue
        levels = list(column.levels) or ["no", "yes"]
        counts = [[n // len(levels)] * len(levels) for n in (379, 52)]
        variables.append(common | {
            "kind": "category", "levels": levels, "counts": counts,
            "percent": [[100 * c / n for c in row] for row, n in zip(counts, (379, 52), strict=True)],
            "chisq_p": 0.00002, "chisq_yates_p": 0.01, "fisher_p": 0.02,
        })
    groups = [{"value": 0, "label": "no", "n": 379}, {"value": 1, "label": "yes", "n": 52}]
    return {"by": "bone_metastasis", "groups": groups, "variables": variables}


def make_table2() -> dict[str, Any]:
    chosen = {"lvi": 0.4, "histology_ductal": -1.03, "cea_ng_ml": 0.06, "sfi_cm2_m2": -0.07}
    terms = [
        {"name": name, "label": name, "lasso_coef": chosen.get(name, 0.0),
         **({"coef": 0.9, "se": 0.3, "hr": 2.46, "ci95": [1.37, 4.43], "z": 3.0, "p": 0.0027, "schoenfeld_p": 0.424}
            if name in chosen else dict.fromkeys(("coef", "se", "hr", "ci95", "z", "p", "schoenfeld_p"))),
         "planted_hr": 2.544 if name == "lvi" else None,
         "paper": {"lasso_coef": 0.4006, "hr": 2.544, "ci95": [1.37, 4.723], "p": "<0.001"} if name == "lvi" else None}
        for name in schema.encoded_names()
    ]
    return {"n": N, "n_events": N_POSITIVE, "endpoint": "DMFS", "lambda_chosen": 0.0321, "lambda_rule": "largest cv",
            "reason": None, "path": [{"lambda": 0.1, "n_nonzero": 0, "cv_loglik": -300.0, "nonzero": {}}],
            "terms": terms, "n_imputed": {}, "notes": ["Standardised columns."],
            "refit": {"ties": "efron", "loglik": [-300.0, -250.0], "concordance": 0.79, "schoenfeld_global_p": 0.31,
                      "schoenfeld_reason": None, "reason": None}}


def _km_group(label: str, rate: float, n: int) -> dict[str, Any]:
    times = list(range(0, 61, 12))
    steps = np.arange(0, 61, 3)
    survival = np.exp(-rate * steps)
    at = np.exp(-rate * np.array(times))
    return {"label": label, "n": n, "n_events": 20, "median": None, "median_ci95": [None, None], "times": times,
            "survival": at.tolist(), "lower": (at - 0.04).tolist(), "upper": np.minimum(at + 0.03, 1).tolist(),
            "n_risk": [max(n - 5 * i * i, 0) for i in range(len(times))],
            "curve": {"times": steps.tolist(), "survival": survival.tolist(), "lower": (survival - 0.04).tolist(),
                      "upper": np.minimum(survival + 0.03, 1).tolist()},
            "censored": {"times": [20, 41, 60], "survival": np.exp(-rate * np.array([18, 39, 60])).tolist()}}


def make_km() -> dict[str, Any]:
    def cutoff(source: str, value: float) -> dict[str, Any]:
        shares = {"sens": _proportion(0.71, 52, 0.12), "spec": _proportion(0.74, 379, 0.05)}
        return {"source": source, "cutoff": value, **shares,
                "held_out": {"cutoffs": [44.0, 47.5, 46.2], **shares} if source == "learned" else None,
                "printed": {"sens": 0.727, "sens_ci95": [0.694, 0.751], "spec": 0.743, "spec_ci95": [0.701, 0.785]}
                if source == "paper" else None,
                "logrank_chisq": 11.2, "logrank_p": 0.0008, "reason": None,
                "groups": [_km_group(f"SFI < {value}", 0.006, 92), _km_group(f"SFI >= {value}", 0.001, 339)]}

    return {"variable": "sfi_cm2_m2", "label": "SFI (cm2/m2)", "endpoint": "DMFS", "time_unit": "months",
            "notes": ["Times are visit dates."], "cutoffs": [cutoff("paper", 27.7), cutoff("learned", 46.1)]}


def make_planted() -> dict[str, Any]:
    rows = [
        {"feature_set": f, "classifier": c, "auc": auc, "ci95_delong": [auc - 0.06, auc + 0.05], "bayes_auc": best,
         "gap": auc - best, "reason": None}
        for f, c, auc, best in (("imaging", "network", 0.69, 0.88), ("imaging", "gbdt", 0.71, 0.88),
                                ("clinical", "gbdt", 0.78, 0.80), ("both", "gbdt", 0.89, 0.92))
    ]
    hazards = [{"name": "lvi", "label": "Lymphovascular invasion", "planted_hr": 2.544, "hr": 2.31,
                "ci95": [1.3, 4.1], "covered": True}]
    return {"synthetic": True, "reason": None, "generator": "repaired", "null_cohort": False, "rows": rows,
            "hazard_ratios": hazards, "hazard_ratios_reason": None}


def make_correlation() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    clinical = list(schema.encoded_names())
    r: list[list[float | None]] = [[float(v) for v in row] for row in rng.normal(0, 0.2, (16, len(clinical)))]
    r[2][4] = None
    return {"features": list(schema.embedding_names(16)), "clinical": clinical, "labels": clinical, "n": N, "r": r,
            "r_folds": [r, r, r], "notes": ["X1..X16 of each patient's held-out fold."]}


def make_repeats() -> dict[str, Any]:
    return {"n_repeats": 1, "rows": [{"feature_set": "both", "classifier": "gbdt", "auc": [0.89], "mean": 0.89,
                                      "sd": None, "min": 0.89, "max": 0.89}]}


def make_leakage() -> dict[str, Any]:
    def judged(optimism: float) -> dict[str, Any]:
        return {"train_auc": 0.85 + optimism, "val_auc": 0.86, "seen_auc": 0.83 + optimism, "test_auc": 0.83,
                "optimism": optimism, "ci95": [optimism - 0.05, optimism + 0.05], "seen_sens": 0.83, "seen_spec": 0.82,
                "test_sens": 0.71, "test_spec": 0.78}

    rows = [
        {"feature_set": f, "classifier": c, "paper": judged(0.14), "honest": judged(0.004),
         "gap": {"value": 0.136, "ci95": [0.1, 0.17]}, "reason": None,
         "test_difference": {"auc_a": 0.83, "auc_b": 0.82, "difference": 0.01, "ci95": [-0.02, 0.04], "z": 0.7,
                             "p": 0.48, "reason": None}}
        for f in schema.FEATURE_SETS for c in schema.CLASSIFIERS
    ]
    return {"modes": ["paper", "honest"], "reason": None, "n_bootstrap": 2000, "rows": rows, "notes": ["One note."]}



@cache
def _make_scores() -> pd.DataFrame:
    """Scores of ten models, class-weighted as the classifiers' own, in three folds with a validation part."""
    rng = np.random.default_rng(2)
    label = (np.arange(N) < N_POSITIVE).astype(int)
    models = [("imaging", "network"), *((f, c) for f in schema.FEATURE_SETS for c in schema.CLASSIFIERS)]
    tables = []
    for i, (feature_set, classifier) in enumerate(models):
        for fold in range(3):
            score = 1 / (1 + np.exp(-rng.normal(1.4 * label - 0.6 + 0.05 * i, 1)))
            split = np.where(np.arange(N) % 3 == fold, "test", np.where(np.arange(N) % 5 == 0, "val", "train"))
            tables.append(pd.DataFrame({
                schema.PATIENT_ID: [f"P{p:06d}" for p in range(N)], "fold": fold, "split": split, "label": label,
                "feature_set": feature_set, "classifier": classifier, "score": score}))
    return pd.concat(tables, ignore_index=True)


def make_calibration() -> dict[str, Any]:
    return compute_calibration_results(_make_scores())


def make_decision_curve() -> dict[str, Any]:
    return compute_decision_results(_make_scores(), n_draws=200)


def make_cams() -> dict[str, Any]:
    """Arrays of gradcam.npz: six patients, of whom two are drawn; one map is zero everywhere."""
    rng = np.random.default_rng(2)
    cam = rng.random((2, 2, 2, 40, 50)).astype(np.float16)
    cam[0, 1, 0] = 0
    region = np.full((2, 40, 50), 5, np.uint8)
    region[:, 5:35, 5:45], region[:, 5:10, 5:45] = 4, 0
    return {"evidence": np.array(["for", "against"]), "stage": np.array(["stage1", "stage2"]),
            "patient_id": np.array([f"P{i:06}" for i in range(6)]), "fold": np.arange(6) % 2, "label": np.arange(6) % 2,
            "score": np.linspace(0, 1, 6), "shown_patient_id": np.array(["P000004", "P000001"]), "shown_cam": cam,
            "shown_region": region, "shown_ct": rng.integers(0, 256, (2, 40, 50), np.uint8),
            "region": np.array(["sat", "vat", "muscle", "fat_unsegmented", "body", "outside"])}


def make_gradcam() -> dict[str, Any]:
    shares = {"sat": (0.31, 0.12), "body": (0.4, 0.5), "outside": (0.29, 0.38)}
    rows = [
        {"evidence": evidence, "stage": stage, "region": region, "n": N, "n_missing": 0, "share": share,
         "share_ci95": [share - 0.01, share + 0.02], "area_share": area, "area_share_ci95": [area, area],
         "difference": share - area, "difference_ci95": [0.1, 0.2], "enrichment": share / area,
         "enrichment_ci95": [0.6, 2.7], "reason": None}
        for evidence in ("for", "against") for stage in ("stage1", "stage2")
        for region, (share, area) in shares.items()
    ]
    regions = [{"name": name, "label": name} for name in shares]
    return {"n_patients": N, "n_bootstrap": 2000, "stages": ["stage1", "stage2"], "regions": regions, "rows": rows,
            "for_share": {"stage1": 0.38, "stage2": 0.41}, "notes": ["Enrichment: share over share."]}


def make_shap() -> dict[str, Any]:
    rows = [{"name": name, "label": name, "mean_abs": mean, "mean_abs_folds": [0.9 * mean, None, 1.1 * mean]}
            for name, mean in (("imaging", 0.9), ("cea_ng_ml", 0.4), ("lvi", 0.3))]
    features = [{"name": name, "label": name, "mean_abs": 0.2} for name in ("X3", "lvi")]
    folds = [{"n": 144, "features": features} for _ in range(3)]
    return {"n_patients": N, "unit": "log odds", "rows": rows, "folds": folds, "notes": ["One note."]}


STATS = {"roc": make_roc, "repeats": make_repeats, "leakage": make_leakage, "table1": make_table1,
         "table2": make_table2, "calibration": cache(make_calibration),
         "decision_curve": cache(make_decision_curve), "km": make_km, "planted": make_planted,
         "correlation": make_correlation}


def write_fake_run(root: Path, name: str = "smoke", slice_id: str = "P000001") -> tuple[Path, Path]:
    """Write a run and its cohort under `root`; returns (run_dir, cohort_dir)."""
    run, cohort = root / "run", root / "run" / "cohort"
    config = Config(name="smoke")
    artifacts.write_json(run / "config.json", {
        "config": to_dict(config) | {"name": name}, "fingerprint": fingerprint(config)})
    artifacts.write_json(run / "near_duplicates.json", {
        "n": N, "pairs": [{"first": "P000007", "second": "P000009", "is_exact": exact} for exact in (True, False)]})
    (cohort / "overlays").mkdir(parents=True)
    for i, stem in enumerate((slice_id, "P000002", "P000003")):
        grey = np.full((100, 125), 60 * (i + 1), np.uint8)
        Image.fromarray(grey).save(cohort / "overlays" / f"{stem}.png")
    hu = np.random.default_rng(0).integers(-200, 200, (80, 100)).astype(np.int16)
    tissue = (hu < -50).astype(np.uint8)
    artifacts.save_npz(cohort / "slices" / f"{slice_id}.npz", {"hu": hu, "tissue": tissue})
    artifacts.write_manifest(cohort, {"kind": "synthetic", "n": N})
    for fold in range(3):
        directory = run / f"fold_{fold}"
        directory.mkdir()
        for epoch in range(1, 26):
            loss = 0.3 + 0.4 * np.exp(-epoch / 8)
            artifacts.append_line(directory / "metrics.jsonl", (
                f'{{"epoch": {epoch}, "train_loss": {loss}, "val_loss": {loss + 0.05 + 0.01 * fold}, "val_auc": 0.7, '
                '"images_per_s": 96.0, "step_time_s": 0.16, "seconds": 2.6}'))
        artifacts.write_json(directory / "timing.json", {
            "device": {"count": 1, "kind": "cpu", "platform": "cpu"}, "seconds": 65.0})
        artifacts.write_json(run / "models" / f"fold_{fold}.json", {
            "fold": fold, "screening_reason": "Lasso-Cox selected 2 of 26 columns",
            "screened_columns": ["lvi", "sfi_cm2_m2"], "thresholds": {"both/gbdt": 0.42}})
    for stage, seconds in (("cohort", 41.0), ("build", 22.5), ("cv", 195.0), ("fuse", 17.2)):
        artifacts.write_json(run / "stages" / f"{stage}.json", {"key": "x", "seconds": seconds, "outputs": {}})
    artifacts.write_json(run / "gradcam.json", make_gradcam())
    artifacts.write_json(run / "shap.json", {"both": make_shap()})
    artifacts.save_npz(run / "gradcam.npz", make_cams())
    for part, make in STATS.items():
        artifacts.write_json(run / "stats" / f"{part}.json", make())
    return run, cohort


@pytest.fixture
def fake_run(tmp_path: Path) -> tuple[Path, Path]:
    return write_fake_run(tmp_path)
