"""Every public function of statistics that takes arrays ends in a NotEstimableError, never in one of numpy's."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bonemet_jax.stats
from bonemet_jax.errors import BonemetError
from bonemet_jax.stats import (
    bca,
    bootstrap,
    calibration,
    cox,
    cutoff,
    decision_curve,
    estimable,
    km,
    lasso,
    lasso_path,
    logistic,
    permutation,
    roc,
    roc_results,
    table1,
    threshold,
)

_N = 24
_RNG = np.random.default_rng(0)
_LABEL, _SCORE = (np.arange(_N) % 2).astype(int), _RNG.normal(size=_N)
_TIME, _X = _RNG.integers(1, 9, _N).astype(float), _RNG.normal(size=(_N, 2))
_NAMES = ("a", "b")
_DRAWS = bootstrap.draw_patients(_LABEL, 50, 0)
_ROWS, _P = np.arange(_N), 1 / (1 + np.exp(-_SCORE))
_BOTH = np.stack([_LABEL == 1, _LABEL == 0])

#: Function -> it, and arguments that are good; the arrays that are spoiled in turn come first, by name.
_GOOD: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "bca.compute_auc_interval": (bca.compute_auc_interval, {"patient": _ROWS, "score": _SCORE}, {"draws": _DRAWS}),
    "bca.compute_fraction_intervals": (bca.compute_fraction_intervals, {
        "patient": _ROWS, "numerators": _BOTH, "denominators": np.ones_like(_BOTH)}, {"draws": _DRAWS}),
    "bca.compute_acceleration": (bca.compute_acceleration, {"positive": _LABEL, "left_out": _SCORE}, {}),
    "bca.compute_bca_interval": (bca.compute_bca_interval, {"positive": _LABEL, "left_out": _SCORE}, {
        "values": _SCORE, "estimate": 0.0}),
    "bootstrap.draw_patients": (bootstrap.draw_patients, {"label": _LABEL}, {"n_draws": 5, "seed": 0}),
    "bootstrap.bootstrap_auc": (bootstrap.bootstrap_auc, {"patient": _ROWS, "score": _SCORE}, {"draws": _DRAWS}),
    "bootstrap.bootstrap_fractions": (bootstrap.bootstrap_fractions, {
        "patient": _ROWS, "numerators": _BOTH, "denominators": np.ones_like(_BOTH)}, {"draws": _DRAWS}),
    "bootstrap.sum_weighted": (bootstrap.sum_weighted, {"values": _X}, {"weight": _DRAWS.weight}),
    "calibration.compute_calibration": (calibration.compute_calibration, {"label": _LABEL, "probability": _P}, {}),
    "calibration.fit_recalibration": (calibration.fit_recalibration, {"label": _LABEL, "score": _P}, {
        "splits": ["train"] * _N}),
    "calibration.group_risks": (calibration.group_risks, {"positive": _LABEL, "probability": _P}, {}),
    "calibration.fit_curve": (calibration.fit_curve, {"outcome": _LABEL, "logit": _SCORE}, {}),
    "cox.fit_cox": (cox.fit_cox, {"time": _TIME, "event": _LABEL, "x": _X}, {"names": _NAMES}),
    "cox.fit_tied_cox": (cox.fit_tied_cox, {"time": _TIME, "event": _LABEL, "x": _X}, {"names": _NAMES}),
    "cox.compute_partial_loglik": (cox.compute_partial_loglik, {
        "time": _TIME, "event": _LABEL, "x": _X, "coef": np.ones(2)}, {}),
    "cox.compute_null_score": (cox.compute_null_score, {"time": _TIME, "event": _LABEL, "x": _X}, {}),
    "cox.compute_concordance": (cox.compute_concordance, {
        "time": _TIME, "event": _LABEL, "risk_score": _SCORE}, {}),
    "cutoff.learn_cutoff": (cutoff.learn_cutoff, {"label": _LABEL, "value": -_LABEL - _P}, {}),
    "cutoff.judge_cutoff": (cutoff.judge_cutoff, {"label": _LABEL, "value": _SCORE}, {"cutoff": 0.0}),
    "cutoff.learn_cutoff_held_out": (cutoff.learn_cutoff_held_out, {
        "label": _LABEL, "value": _SCORE, "test_fold": np.arange(_N) // 8}, {}),
    "decision_curve.compute_net_benefit": (decision_curve.compute_net_benefit, {
        "label": _LABEL, "probability": _P}, {}),
    "decision_curve.compute_treat_all": (decision_curve.compute_treat_all, {"label": _LABEL}, {}),
    "decision_curve.compute_decision_curve": (decision_curve.compute_decision_curve, {"probability": _P}, {
        "draws": _DRAWS}),
    "km.fit_km": (km.fit_km, {"time": _TIME, "event": _LABEL}, {}),
    "km.fit_km_by_group": (km.fit_km_by_group, {"time": _TIME, "event": _LABEL}, {"group": _LABEL}),
    "km.compute_logrank": (km.compute_logrank, {"time": _TIME, "event": _LABEL}, {"group": np.arange(_N) // 8}),
    "lasso.fit_lasso_cox": (lasso.fit_lasso_cox, {"time": _TIME, "event": _LABEL, "x": _X}, {"names": _NAMES}),
    "lasso.compute_selection_frequency": (lasso.compute_selection_frequency, {
        "time": _TIME, "event": _LABEL, "x": _X}, {"names": _NAMES, "penalty": 0.1, "n_draws": 2, "seed": 0}),
    "lasso.standardise": (lasso.standardise, {"values": _X}, {}),
    "lasso_path.fit_lasso_path": (lasso_path.fit_lasso_path, {
        "time": _TIME, "event": _LABEL, "x": _X}, {"penalties": np.array([0.1])}),
    "lasso_path.compute_path_loglik": (lasso_path.compute_path_loglik, {
        "time": _TIME, "event": _LABEL, "x": _X, "path": np.ones((3, 2))}, {}),
    "lasso_path.compute_violation": (lasso_path.compute_violation, {"gradient": _SCORE, "beta": _SCORE}, {
        "penalty": 0.1}),
    "logistic.fit_logistic": (logistic.fit_logistic, {"x": _X, "target": _LABEL}, {}),
    "permutation.permute_labels": (permutation.permute_labels, {"label": _LABEL}, {"n_draws": 5, "seed": 0}),
    "permutation.compute_auc_permutation_p": (permutation.compute_auc_permutation_p, {
        "patient": _ROWS, "score": _SCORE}, {"permuted": permutation.permute_labels(_LABEL, 5, 0)}),
    "permutation.compute_paired_permutation_p": (permutation.compute_paired_permutation_p, {
        "label": _LABEL, "score_a": _SCORE, "score_b": _P}, {"n_draws": 5, "seed": 0}),
    "permutation.compute_swap_influence": (permutation.compute_swap_influence, {
        "positive": _LABEL, "score_a": _SCORE, "score_b": _P}, {}),
    "roc.compute_auc": (roc.compute_auc, {"label": _LABEL, "score": _SCORE}, {}),
    "roc.compute_auc_delong": (roc.compute_auc_delong, {"label": _LABEL, "score": _SCORE}, {}),
    "roc.compute_paired_delong": (roc.compute_paired_delong, {
        "label": _LABEL, "score_a": _SCORE, "score_b": _P}, {}),
    "roc.compute_roc_curve": (roc.compute_roc_curve, {"label": _LABEL, "score": _SCORE}, {}),
    "table1.compare_counts": (table1.compare_counts, {"counts": [[3, 4], [5, 6]]}, {}),
    "threshold.compute_operating_points": (threshold.compute_operating_points, {
        "label": _LABEL, "score": _SCORE}, {}),
    "threshold.choose_balanced_threshold": (threshold.choose_balanced_threshold, {
        "label": _LABEL, "score": _SCORE}, {}),
    "threshold.compute_confusion": (threshold.compute_confusion, {"label": _LABEL, "decision": _LABEL}, {}),
}
#: Functions that turn the error into None or a reason, and those of table1.py, whose columns may be of any length.
_OTHERS = {"roc.compute_auc_or_none", "roc_results.describe_paired", "table1.summarise", "table1.compare_means",
           "calibration.compute_logit"}
_BINARY = {"label", "event", "positive", "decision"}
#: Arguments in which NaN is a value.
_MAY_BE_NAN = {"left_out"}
#: Arguments of which none is a value.
_MAY_BE_EMPTY = {("compute_bca_interval", "left_out"), ("compute_path_loglik", "path")}
#: Arguments that no other one has the length of.
_ALONE = {("compare_counts", "counts"), ("draw_patients", "label"), ("permute_labels", "label"),
          ("compute_treat_all", "label"), ("standardise", "values")}


def _spoil(function: str, name: str, good: Any) -> Iterator[tuple[str, Any]]:
    values = np.asarray(good)
    yield "text", np.full(values.shape, "high")
    yield "None", None
    yield "one number", 1.0
    yield "one axis more", np.stack([values, values])
    yield "rows of unequal length", [[1], [1, 2]]
    yield "complex", values + 1j
    if (function, name) not in _ALONE:
        yield "one less", values[..., :-1] if name in ("numerators", "denominators", "path") else values[:-1]
        if (function, name) not in _MAY_BE_EMPTY:
            yield "empty", values[:0]
    if name not in _MAY_BE_NAN:
        yield "missing", np.where(np.arange(values.size).reshape(values.shape) == 1, np.nan, values)
        yield "infinite", np.where(np.arange(values.size).reshape(values.shape) == 1, np.inf, values)
    if name in _BINARY:
        yield "two", np.where(np.arange(_N) == 3, 2, values)
        yield "a half", np.where(np.arange(_N) == 3, 0.5, values)


@pytest.mark.parametrize("function", _GOOD)
def test_an_array_that_cannot_be_used_is_named(function: str) -> None:
    call, arrays, rest = _GOOD[function]
    call(**arrays, **rest)
    for name, good in arrays.items():
        for what, bad in _spoil(call.__name__, name, good):
            with pytest.raises(BonemetError) as caught:
                call(**{**arrays, name: bad}, **rest)
                pytest.fail(f"{name}: {what} is taken")
            assert caught.value.what, (name, what)


def test_every_function_that_takes_anything_is_in_the_table() -> None:
    found = set()
    for info in pkgutil.iter_modules(bonemet_jax.stats.__path__):
        module = importlib.import_module(f"bonemet_jax.stats.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_") and module is not estimable:
                kinds = [str(p.annotation) for p in inspect.signature(function).parameters.values()]
                found |= {f"{info.name}.{name}" for kind in kinds if "_SupportsArray" in kind or "ArrayLike" in kind}
    assert found == {name for name in _GOOD if name in found} | (_OTHERS & found), sorted(found - set(_GOOD) - _OTHERS)
    assert len(found) > 20


@pytest.mark.parametrize("bad", ["high", None, np.ones((2, 3)), [1.0, np.nan]])
def test_the_others_give_none_or_a_reason(bad: Any) -> None:
    assert roc.compute_auc_or_none(_LABEL, bad) is None and roc_results.describe_paired(_LABEL, bad, _SCORE)["reason"]
    with pytest.raises(BonemetError):
        calibration.compute_logit(bad)
