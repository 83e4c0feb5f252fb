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
from bonemet_jax.stats.levels import Levels, show
from bonemet_jax.stats.plain import make_plain
from bonemet_jax.stats.roc import compute_auc, compute_auc_delong
from bonemet_jax.stats.roc_results import describe_paired
from bonemet_jax.stats.table1 import compare_counts, compare_means, summarise
from bonemet_jax.stats.tied_times import tie_times
from bonemet_jax.table_cells import parse_number

#: A numeric column of more distinct values than this is taken for a continuous one.
_MAX_LEVELS = 5
#: Groups of one Kaplan-Meier plot.
_MAX_GROUPS = 12
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
    values = {name: table.varying(name, exactly=True) for name in scores}
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
    other = np.flatnonzero(labels[who] != truth)
    if other.size:
        raise InputDataError(f"patient {show(ids[who[other[0]]])} has both labels in '{label}'", table.path,
                             "give each patient one label")
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
    """Each row's group, and the groups' names. Raises: InputDataError for one group, or for many."""
    if by is None:
        return np.zeros(len(table.cells), dtype=int), ["all"]
    if cutoff is not None:
        return _cut(table, by, cutoff)
    levels = table.levels(by)
    if len(levels.names) < 2:
        raise InputDataError(f"everyone is in one group of '{by}': the column is constant, {show(levels.names[0])} in "
                             "every row", table.where, "choose another column")
    if len(levels.names) > _MAX_GROUPS:
        raise InputDataError(f"'{by}' has {len(levels.names)} groups, more than {_MAX_GROUPS}", table.where,
                             "add --cutoff, or use a column of a few")
    return levels.index, [f"{by} {name}" for name in levels.names]


def _cut(table: CsvTable, by: str, cutoff: float) -> tuple[np.ndarray, list[str]]:
    values = table.varying(by, exactly=True)
    group = (values >= cutoff).astype(int)
    if np.ptp(group) == 0:
        side = "below" if group[0] else "at or above"
        raise InputDataError(f"everyone is in one group of '{by}': no value is {side} {cutoff:.15g}, they range from "
                             f"{values.min():.15g} to {values.max():.15g}", table.where, "choose another cut-off")
    return group, [f"{by} < {cutoff:.15g}", f"{by} >= {cutoff:.15g}"]


# --- Table 1 ----------------------------------------------------------------------------------------------


def compute_table1(
    table: CsvTable, by: str, columns: Sequence[str], categorical: Sequence[str], continuous: Sequence[str]
) -> dict[str, Any]:
    """Two groups compared column by column, each column over the rows in which it is known; n and n_missing by group.

    Args:
        table: a group in every row.
        by: column of two values.
        columns: columns to describe; none: all but `by`.
        categorical, continuous: columns whose kind is given. Else numbers of more than five values are continuous.
    """
    groups = table.levels(by)
    if len(groups.names) != 2:
        named = ", ".join(map(show, groups.names[:_MAX_GROUPS]))
        raise InputDataError(f"'{by}' has {len(groups.names)} groups ({named}), Table 1 compares two", table.where,
                             "use a column of two values, or declare what is missing with --missing-codes")
    named = list(columns) or [name for name in table.cells.columns if name != by]
    for name in (*categorical, *continuous):
        if name not in named:
            raise InputDataError(f"column '{name}' is given as categorical or continuous, but is not described",
                                 table.path, "add it to --columns")
        if name in categorical and name in continuous:
            raise InputDataError(f"column '{name}' is given as categorical and as continuous", table.path, "choose one")
    return make_plain({name: _describe(table, name, groups, _is_continuous(table, name, categorical, continuous))
                       for name in named})


def _is_continuous(table: CsvTable, name: str, categorical: Sequence[str], continuous: Sequence[str]) -> bool:
    if name in categorical or name in continuous:
        return name in continuous
    words = table.text(name).dropna().unique()
    if sum(parse_number(word) is not None for word in words) <= _MAX_LEVELS:
        return False
    return np.unique(table.numbers(name)).size > _MAX_LEVELS


def _describe(table: CsvTable, name: str, groups: Levels, is_continuous: bool) -> dict[str, Any]:
    known = table.text(name).notna().to_numpy()
    members = [groups.index == i for i in range(len(groups.names))]
    found = {"n": [int((known & rows).sum()) for rows in members],
             "n_missing": [int((~known & rows).sum()) for rows in members]}
    if is_continuous:
        values = table.varying(name)
        parts = [values[known & rows] for rows in members]
        summaries = [summarise(part) for part in parts]
        quartiles = {group: s.quartiles for group, s in zip(groups.names, summaries, strict=True)}
        return found | {"mean": [s.mean for s in summaries], "sd": [s.sd for s in summaries],
                        "quartiles": quartiles} | make_plain(compare_means(*parts))
    levels = table.levels(name)
    _check_levels(table, name, levels, int(known.sum()))
    counts = [np.bincount(levels.index[known & rows], minlength=len(levels.names)).tolist() for rows in members]
    by_level = [dict(zip(levels.names, row, strict=True)) for row in counts]
    return found | {"counts": dict(zip(groups.names, by_level, strict=True))} | make_plain(compare_counts(counts))


def _check_levels(table: CsvTable, name: str, levels: Levels, n_known: int) -> None:
    if not levels.names:
        raise InputDataError(f"column '{name}' has no known value", table.where, "leave it out with --columns")
    if len(levels.names) < 2:
        where = "in every row" if n_known == len(table.cells) else "in every row with a value"
        raise InputDataError(f"column '{name}' is constant, {show(levels.names[0])} {where}", table.where,
                             "leave it out with --columns")
    if len(levels.names) > max(20, n_known // 4):
        raise InputDataError(f"column '{name}' has {len(levels.names)} levels in {n_known} rows", table.where,
                             f"leave it out (an id?) with --columns, or say --continuous {name}")
