"""The statistics of a report on any CSV: one function a verb of `bonemet stats`, results as plain JSON values.

Shapes: docs/contracts.md, "Statistics on any CSV".
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from bonemet_jax.errors import InputDataError
from bonemet_jax.stats.bca import BootstrapInterval, compute_auc_interval
from bonemet_jax.stats.bootstrap import Draws, draw_patients
from bonemet_jax.stats.cox import CoxFit, Ties, fit_cox
from bonemet_jax.stats.csv_table import CsvTable
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.km import compute_logrank, fit_km_by_group
from bonemet_jax.stats.lasso import LAMBDA_RULE, compute_selection_frequency, fit_lasso_cox
from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.roc import compute_auc, compute_auc_delong
from bonemet_jax.stats.roc_results import describe_paired
from bonemet_jax.stats.table1 import compare_counts, compare_means, count_levels, summarise
from bonemet_jax.stats.tied_times import tie_times

#: A numeric column of more distinct values than this is taken for a continuous one.
_MAX_LEVELS = 5
#: Patients times draws that the bootstrap holds: at most 2 GB.
_MAX_WEIGHTS = 1_000_000_000
#: Keys of the results of roc that are no score.
_ROC_KEYS = frozenset({"paired", "n", "n_patients", "n_positive", "n_bootstrap"})


# --- ROC --------------------------------------------------------------------------------------------------


def compute_roc(
    table: CsvTable, label: str, scores: Sequence[str], patient: str | None, n_draws: int, seed: int
) -> dict[str, Any]:
    """AUC of every score with its intervals, and DeLong's paired test of every two.

    Args:
        label: column of 0 and 1.
        scores: columns, higher is nearer to 1.
        patient: column of patient ids where patients have several rows; then DeLong, which needs independent rows, is
            left out, and whole patients are drawn.
        n_draws: bootstrap draws of patients, each outcome class on its own (stratified by outcome).
    Raises: InputDataError for columns that cannot be used.
    """
    taken = next((name for name in scores if name in _ROC_KEYS), None)
    if taken is not None:
        raise InputDataError(f"a score is named '{taken}' as a part of the results is", table.path, "rename it")
    truth = table.binary(label)
    values = {name: table.varying(name) for name in scores}
    who, labels = _find_patients(table, patient, label, truth)
    draws = draw_patients(labels, n_draws, seed) if labels.size * n_draws <= _MAX_WEIGHTS else None
    repeated = len(labels) < len(truth)
    reason = "patients have several rows: DeLong's variance needs independent ones" if repeated else None
    found: dict[str, Any] = {}
    for name, score in values.items():
        interval = _compute_interval(draws, who, score)
        delong = None if repeated else compute_auc_delong(truth, score)
        found[name] = {
            "auc": compute_auc(truth, score),
            "ci95_delong": delong and delong.ci95, "var_delong": delong and delong.var,
            "ci95_bootstrap": interval.ci95, "bootstrap_method": interval.method,
            "bootstrap_reason": interval.reason, "bootstrap_strata": "outcome", "reason": reason,
        }
    pairs = [] if repeated else [_compare(truth, values, a, b) for a, b in combinations(scores, 2)]
    return make_plain(found | {
        "paired": pairs, "n": len(truth), "n_patients": len(labels), "n_positive": int(labels.sum()),
        "n_bootstrap": n_draws if draws is not None else 0,
    })


def _compute_interval(draws: Draws | None, who: np.ndarray, score: np.ndarray) -> BootstrapInterval:
    if draws is None:
        return BootstrapInterval(None, None, f"more than {_MAX_WEIGHTS:.0e} patients times draws: lower the draws")
    return compute_auc_interval(draws, who, score)


def _find_patients(
    table: CsvTable, patient: str | None, label: str, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's patient as an index, and each patient's label."""
    if patient is None:
        return np.arange(len(truth)), truth
    ids, who = np.unique(table.text(patient).to_numpy(str), return_inverse=True)
    labels = np.zeros(len(ids), dtype=int)
    labels[who] = truth
    if (labels[who] != truth).any():
        raise InputDataError(f"a patient has both labels in '{label}'", table.path, "one label a patient")
    return who, labels


def _compare(truth: np.ndarray, values: dict[str, np.ndarray], a: str, b: str) -> dict[str, Any]:
    found = describe_paired(truth, values[a], values[b])
    return {"a": a, "b": b} | {name: found[name] for name in ("difference", "ci95", "z", "p", "reason")}


# --- Survival ---------------------------------------------------------------------------------------------


def compute_cox(table: CsvTable, time: str, event: str, covariates: Sequence[str], ties: Ties) -> dict[str, Any]:
    """Unpenalised Cox regression. Raises: InputDataError naming what keeps it from being estimated."""
    times, events = table.times(time), table.events(event)
    x = np.column_stack([table.varying(name) for name in covariates])
    return make_plain(_describe_cox(fit_cox(times, events, x, list(covariates), ties)))


def _describe_cox(fit: CoxFit) -> dict[str, Any]:
    return {"n": fit.n, "n_events": fit.n_events, "ties": fit.ties, "loglik": fit.loglik,
            "concordance": fit.concordance, "terms": fit.terms, "schoenfeld_global_p": fit.schoenfeld_global_p,
            "schoenfeld_reason": fit.schoenfeld_reason}


def compute_lasso_cox(
    table: CsvTable, time: str, event: str, covariates: Sequence[str], lambdas: Sequence[float], n_draws: int,
    seed: int,
) -> dict[str, Any]:
    """Lasso-Cox path, the penalty chosen by cross-validation, the refit, and how often draws select each covariate.

    Args:
        lambdas: penalties as glmnet states them; none: a path of its own.
        n_draws: patient bootstraps for the selection frequency; 0: none.
    """
    times, events = table.times(time), table.events(event)
    x = np.column_stack([table.varying(name) for name in covariates])
    lasso = fit_lasso_cox(times, events, x, list(covariates), lambdas or None, seed)
    frequency = compute_selection_frequency(times, events, x, list(covariates), lasso.chosen.penalty, n_draws, seed)
    return make_plain({
        "n": len(times), "n_events": int(events.sum()), "lambda_rule": LAMBDA_RULE,
        "points": [{"lambda": p.penalty, "nonzero": p.nonzero, "cv_loglik": p.cv_loglik} for p in lasso.path],
        "chosen": {"lambda": lasso.chosen.penalty, "nonzero": lasso.chosen.nonzero},
        "refit": _describe_cox(lasso.refit) if lasso.refit else None, "refit_reason": lasso.refit_reason,
        "selection_frequency": frequency, "n_bootstrap": n_draws,
    })


def compute_km(
    table: CsvTable, time: str, event: str, by: str | None, cutoff: float | None, at: Sequence[float]
) -> dict[str, Any]:
    """Kaplan-Meier curves of the groups at the times asked for, their medians and the log-rank test.

    Args:
        by: column that groups: its values, or with `cutoff` below it and from it on; none: one group.
        at: times to tell; none: quartiles of the follow-up.
    Raises: InputDataError for columns that cannot be used.
    """
    times, events = table.times(time), table.events(event)
    wanted = list(at) or np.quantile(tie_times(times), (0.25, 0.5, 0.75)).tolist()
    group, labels = _make_groups(table, by, cutoff)
    groups = [
        {"label": name, "n": km.time.size, "n_events": int(km.event.sum()), "median": km.median,
         "median_ci95": km.median_ci95, "times": wanted, **km.at(wanted)}
        for name, km in zip(labels, fit_km_by_group(times, events, group), strict=True)
    ]
    return make_plain(_test_groups(times, events, group, len(labels)) | {"groups": groups})


def _test_groups(times: np.ndarray, events: np.ndarray, group: np.ndarray, n_groups: int) -> dict[str, Any]:
    """The log-rank test, or why there is none."""
    found: dict[str, Any] = dict.fromkeys(("logrank_chisq", "logrank_df", "logrank_p", "logrank_reason"))
    if n_groups == 1:
        return found | {"logrank_reason": "one group: the test compares two or more"}
    try:
        test = compute_logrank(times, events, group)
    except NotEstimableError as error:
        return found | {"logrank_reason": error.what}
    return {"logrank_chisq": test.chisq, "logrank_df": test.df, "logrank_p": test.p, "logrank_reason": test.reason}


def _make_groups(table: CsvTable, by: str | None, cutoff: float | None) -> tuple[np.ndarray, list[str]]:
    n = len(table.cells)
    if by is None:
        return np.zeros(n, dtype=int), ["all"]
    if cutoff is not None:
        group, labels = (table.varying(by) >= cutoff).astype(int), [f"{by} < {cutoff:g}", f"{by} >= {cutoff:g}"]
    else:
        levels, group = np.unique(table.text(by).to_numpy(str), return_inverse=True)
        labels = [f"{by} {level}" for level in levels]
    sizes = np.bincount(group, minlength=len(labels))
    if len(labels) < 2 or (sizes == 0).any():
        raise InputDataError(f"everyone is in one group of '{by}'", table.path, "choose another column or cut-off")
    if len(labels) > 12:
        raise InputDataError(f"'{by}' has {len(labels)} groups", table.path, "add --cutoff, or use a column of a few")
    return group, labels


# --- Table 1 ----------------------------------------------------------------------------------------------


def compute_table1(
    table: CsvTable, by: str, columns: Sequence[str], categorical: Sequence[str], continuous: Sequence[str]
) -> dict[str, Any]:
    """Two groups compared column by column.

    Args:
        by: column of two values.
        columns: columns to describe; none: all but `by`.
        categorical, continuous: columns whose kind is given. Else numbers of more than five values are continuous.
    """
    values = table.text(by).to_numpy(str)
    levels = sorted(set(values), key=_sort_key)
    if len(levels) != 2:
        raise InputDataError(f"'{by}' has {len(levels)} groups, Table 1 compares two", table.path,
                             "use a column of two values")
    named = list(columns) or [name for name in table.cells.columns if name != by]
    return make_plain({
        name: _describe(table, name, values, levels, _is_continuous(table, name, categorical, continuous))
        for name in named
    })


def _sort_key(level: str) -> tuple[bool, float, str]:
    """Numbers by size, before words."""
    try:
        return False, float(level), level
    except ValueError:
        return True, 0.0, level


def _is_continuous(table: CsvTable, name: str, categorical: Sequence[str], continuous: Sequence[str]) -> bool:
    if name in categorical or name in continuous:
        return name in continuous
    try:
        return np.unique(table.numbers(name)).size > _MAX_LEVELS
    except InputDataError:
        return False


def _describe(table: CsvTable, name: str, group: np.ndarray, levels: list[str], is_continuous: bool) -> dict[str, Any]:
    if is_continuous:
        values = table.varying(name)
        parts = [values[group == level] for level in levels]
        summaries = [summarise(part) for part in parts]
        quartiles = {level: s.quartiles for level, s in zip(levels, summaries, strict=True)}
        return {"mean": [s.mean for s in summaries], "sd": [s.sd for s in summaries], "n": [s.n for s in summaries],
                "quartiles": quartiles} | make_plain(compare_means(*parts))
    text = table.text(name).to_numpy(str)
    found = sorted(set(text), key=_sort_key)
    if len(found) < 2:
        raise InputDataError(f"column '{name}' is constant, {found[0]} in every row", table.path, "leave it out")
    if len(found) > max(20, len(text) // 4):
        raise InputDataError(f"column '{name}' has {len(found)} levels in {len(text)} rows", table.path,
                             f"leave it out (an id?) with --columns, or say --continuous {name}")
    counts = [count_levels(text[group == level].tolist(), found) for level in levels]
    told = {level: dict(zip(found, row, strict=True)) for level, row in zip(levels, counts, strict=True)}
    return {"counts": told} | make_plain(compare_counts(counts))
