"""table2.json, km.json and the hazard ratios of planted.json: survival in the whole cohort."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import schema
from bonemet_jax.cohort.clinical import ClinicalEncoder
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.published import load_published
from bonemet_jax.stats.cohort_results import label_encoded
from bonemet_jax.stats.cox import fit_cox
from bonemet_jax.stats.cutoff import judge_cutoff, learn_cutoff, learn_cutoff_held_out
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.intervals import UNKNOWN
from bonemet_jax.stats.km import KaplanMeier, compute_logrank, fit_km_by_group
from bonemet_jax.stats.lasso import LAMBDA_RULE, LassoCox, fit_lasso_cox
from bonemet_jax.stats.plain import make_plain

ENDPOINT = "distant-metastasis-free survival (DMFS), months from surgery"
_SFI = "sfi_cm2_m2"
_REFIT = ("coef", "se", "hr", "ci95", "z", "p", "schoenfeld_p")


def _with_survival(cohort: pd.DataFrame) -> pd.DataFrame:
    return cohort[cohort[schema.TIME].notna() & cohort[schema.EVENT].notna()]


def _explain_nobody(cohort: pd.DataFrame) -> str:
    """Why no patient of a cohort has survival data."""
    has_time = cohort[schema.TIME].notna().any()
    return f"no patient with a follow-up time has a {schema.EVENT}" if has_time else "no patient has a follow-up time"


# --- Table 2 ------------------------------------------------------------------------------------------


def compute_table2(cohort: pd.DataFrame, planted_log_hr: Mapping[str, float], seed: int = 0) -> dict[str, Any]:
    """Lasso-Cox on the whole cohort and the unpenalised refit (row H2), beside the printed and the planted values."""
    known = _with_survival(cohort)
    encoder = ClinicalEncoder.fit(known, splits=None) if len(known) else None
    lasso, reason = None, _explain_nobody(cohort)
    if encoder is not None:
        x = np.asarray(encoder.transform(known))
        try:
            lasso = fit_lasso_cox(known[schema.TIME], known[schema.EVENT], x, schema.encoded_names(), seed=seed)
            reason = None
        except NotEstimableError as error:
            reason = error.what
    return make_plain({
        "n": len(known), "n_events": int(known[schema.EVENT].sum()), "endpoint": ENDPOINT,
        "lambda_chosen": lasso.chosen.penalty if lasso else None, "lambda_rule": LAMBDA_RULE, "reason": reason,
        "path": _describe_path(lasso), "terms": _describe_terms(lasso, planted_log_hr),
        "refit": _describe_refit(lasso), "n_imputed": encoder.n_imputed if encoder else {},
        "notes": [
            "All patients of the cohort: a description. Screening for the classifiers is learned inside each training "
            "part.",
            "The refit's p values and intervals take the selection for granted, so they are too optimistic.",
        ],
    })


def _describe_path(lasso: LassoCox | None) -> list[dict[str, Any]]:
    return [] if lasso is None else [
        {"lambda": p.penalty, "n_nonzero": len(p.nonzero), "cv_loglik": p.cv_loglik, "nonzero": p.nonzero}
        for p in lasso.path
    ]


def _describe_terms(lasso: LassoCox | None, planted_log_hr: Mapping[str, float]) -> list[dict[str, Any]]:
    refit = {t.name: t for t in lasso.refit.terms} if lasso and lasso.refit else {}
    terms = []
    for name, label in label_encoded().items():
        term = make_plain(refit[name]) if name in refit else dict.fromkeys(_REFIT)
        terms.append(term | {
            "name": name, "label": label, "lasso_coef": lasso.chosen.coef[name] if lasso else None,
            "planted_hr": float(np.exp(planted_log_hr[name])) if name in planted_log_hr else None,
            "paper": load_published().table2.get(name),
        })
    return terms


def _describe_refit(lasso: LassoCox | None) -> dict[str, Any] | None:
    if lasso is None:
        return None
    found: dict[str, Any] = dict.fromkeys(("ties", "loglik", "concordance", "schoenfeld_global_p", "schoenfeld_reason"))
    found["reason"] = lasso.refit_reason
    if lasso.refit:
        found |= {key: getattr(lasso.refit, key) for key in found if key != "reason"}
    return found


def compute_planted_hazards(
    cohort: pd.DataFrame, planted_log_hr: Mapping[str, float]
) -> tuple[list[dict[str, Any]], str | None]:
    """Unpenalised Cox on the planted clinical columns beside the planted hazard ratios; empty with a reason."""
    if not planted_log_hr:
        return [], "no hazard ratio is planted in this cohort"
    known = _with_survival(cohort)
    if known.empty:
        return [], _explain_nobody(cohort)
    names = [name for name in schema.encoded_names() if name in planted_log_hr]
    try:
        x = np.asarray(ClinicalEncoder.fit(known, splits=None).transform(known)[names])
        fit = fit_cox(known[schema.TIME], known[schema.EVENT], x, names)
    except NotEstimableError as error:
        return [], error.what
    labels = label_encoded()
    return make_plain([
        {"name": t.name, "label": labels[t.name], "planted_hr": float(np.exp(planted_log_hr[t.name])), "hr": t.hr,
         "ci95": t.ci95, "covered": t.ci95[0] <= float(np.exp(planted_log_hr[t.name])) <= t.ci95[1]}
        for t in fit.terms
    ]), None


# --- Kaplan-Meier ---------------------------------------------------------------------------------------


def compute_km_results(cohort: pd.DataFrame, folds: Folds) -> dict[str, Any]:
    """Survival by the paper's SFI cut-off and by the cohort's own (rows H4, I7)."""
    followed = _with_survival(cohort)
    known = followed[followed[_SFI].notna()]
    column = next(c for c in schema.CLINICAL if c.name == _SFI)
    nobody = None
    if known.empty:
        nobody = _explain_nobody(cohort) if followed.empty else "no patient with a follow-up time has an SFI"
    paper = _describe_cutoff(known, schema.PAPER_SFI_CUTOFF_CM2_M2, nobody) | {
        "source": "paper", "held_out": None, "printed": load_published().sfi_cutoff}
    return make_plain({
        "variable": _SFI, "label": column.label, "endpoint": ENDPOINT, "time_unit": "months",
        "cutoffs": [paper, _describe_learned(known, folds, nobody)],
        "notes": [
            f"{len(known)} of {len(cohort)} patients have a follow-up time and an SFI.",
            "A patient counts as positive where SFI is below the cut-off (the paper's direction); group labels say "
            "which side.",
            "The learned cut-off (Youden) is judged on the patients that chose it; its log-rank p is therefore too "
            "small. Held out: each fold's cut-off judged on patients it never saw.",
        ],
    })


def _describe_learned(known: pd.DataFrame, folds: Folds, nobody: str | None) -> dict[str, Any]:
    base: dict[str, Any] = {"source": "learned", "held_out": None, "printed": None}
    if nobody:
        return base | _leave_open(None, nobody)
    test_fold = [folds.test_fold(p) for p in known[schema.PATIENT_ID]]
    try:
        base["held_out"] = learn_cutoff_held_out(known[schema.LABEL], known[_SFI], test_fold)
        cutoff = learn_cutoff(known[schema.LABEL], known[_SFI])
    except NotEstimableError as error:
        return base | _leave_open(None, error.what)
    return base | _describe_cutoff(known, cutoff, None)


def _leave_open(cutoff: float | None, reason: str) -> dict[str, Any]:
    """A cut-off of which nothing can be computed."""
    return {"cutoff": cutoff, "sens": UNKNOWN, "spec": UNKNOWN, "logrank_chisq": None, "logrank_df": None,
            "logrank_p": None, "reason": reason, "groups": []}


def _describe_cutoff(known: pd.DataFrame, cutoff: float, nobody: str | None) -> dict[str, Any]:
    """Accuracy of a cut-off, the log-rank test and the curves of its sides, each on its own, with what is missing.

    Args:
        known: patients with a follow-up time and an SFI.
        nobody: why there are none.
    """
    if nobody:
        return _leave_open(cutoff, nobody)
    found, reasons = _leave_open(cutoff, ""), []
    low = np.asarray(known[_SFI] < cutoff)
    try:
        found["sens"], found["spec"] = judge_cutoff(known[schema.LABEL], known[_SFI], cutoff)
    except NotEstimableError as error:
        reasons.append(f"sensitivity and specificity: {error.what}")
    try:
        test = compute_logrank(known[schema.TIME], known[schema.EVENT], low)
        found |= {"logrank_chisq": test.chisq, "logrank_df": test.df, "logrank_p": test.p}
        reasons += [f"log-rank: {test.reason}"] if test.reason else []
    except NotEstimableError as error:
        reasons.append(f"log-rank: {error.what}")
    labels = [label for label, side in ((f"SFI >= {cutoff:.1f}", ~low), (f"SFI < {cutoff:.1f}", low)) if side.any()]
    curves = fit_km_by_group(known[schema.TIME], known[schema.EVENT], low)
    ticks = _choose_ticks(max(float(km.time.max()) for km in curves))
    groups = [_describe_group(label, km, ticks) for label, km in zip(labels, curves, strict=True)]
    return found | {"reason": "; ".join(reasons) or None, "groups": groups[::-1]}


def _choose_ticks(last: float) -> list[int]:
    """At-risk times: every 12 months up to the last follow-up, every 24 or more when that is many."""
    step = 12 * max(1, int(np.ceil(last / 12 / 10)))
    return list(range(0, int(last) + 1, step))


def _describe_group(label: str, km: KaplanMeier, ticks: list[int]) -> dict[str, Any]:
    return {
        "label": label, "n": km.time.size, "n_events": int(km.event.sum()), "median": km.median,
        "median_ci95": km.median_ci95, "times": ticks, **km.at(ticks), "curve": _describe_curve(km),
        "censored": {"times": km.censored_times, "survival": km.at(km.censored_times)["survival"]},
    }


def _describe_curve(km: KaplanMeier) -> dict[str, Any]:
    return {"times": km.times, "survival": km.survival, "lower": km.lower, "upper": km.upper}
