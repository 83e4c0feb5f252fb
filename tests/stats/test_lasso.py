"""Lasso-Cox against glmnet, the choice of the penalty, and reasons."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bonemet_jax.stats.cox import fit_cox
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.lasso import fit_lasso_cox


@pytest.mark.parametrize(
    # Tied times (gbsg2) are treated differently by the solvers; its tolerance is absolute.
    ("name", "rel", "abs_"), [("gse7390", 1e-4, 0.0), ("gbsg2", 0.0, 3e-3)],
)
def test_glmnet(
    name: str, rel: float, abs_: float, golden: Callable[[str], Any], golden_table: Callable[[str], pd.DataFrame]
) -> None:
    table, wanted = golden_table(name), golden(f"lasso_{name}")
    x = table.drop(columns=["patient_id", "time", "event"])
    found = fit_lasso_cox(table["time"], table["event"], x, list(x.columns), [p["lambda"] for p in wanted["points"]])
    assert len(found.path) == len(wanted["points"])
    for point, r in zip(found.path, wanted["points"], strict=True):
        assert point.penalty == r["lambda"]
        assert set(point.nonzero) == set(r["nonzero"])
        assert point.nonzero == pytest.approx(r["nonzero"], rel=rel, abs=abs_)


def _data(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)) * [1, 10, 1, 0.1, 1]
    time = rng.exponential(np.exp(-1.2 * x[:, 0] - 0.1 * x[:, 1]))
    limit = np.quantile(time, 0.7)
    return np.minimum(time, limit), (time <= limit).astype(int), x


def test_strong_covariates_are_chosen_and_refitted() -> None:
    time, event, x = _data()
    names = list("abcde")
    found = fit_lasso_cox(time, event, x, names)
    assert {"a", "b"} <= set(found.selected)
    assert found.path[0].nonzero == {} and len(found.path[-1].nonzero) >= 4
    penalties = [p.penalty for p in found.path]
    assert penalties == sorted(penalties, reverse=True)
    assert found.chosen.cv_loglik == max(p.cv_loglik for p in found.path)
    kept = [names.index(name) for name in found.selected]
    assert found.refit == fit_cox(time, event, x[:, kept], found.selected)
    assert fit_lasso_cox(time, event, x, names) == found  # the seed decides


def test_a_constant_column_stays_out() -> None:
    time, event, x = _data()
    x[:, 2] = 3.7
    assert all(p.coef["c"] == 0 for p in fit_lasso_cox(time, event, x, list("abcde")).path)


def test_noise_alone_may_select_nothing() -> None:
    time, event, _ = _data()
    selected = [len(fit_lasso_cox(time, event, np.random.default_rng(s).normal(size=(120, 3)), list("abc")).selected)
                for s in range(6)]
    assert min(selected) == 0
    empty = fit_lasso_cox(time, event, np.random.default_rng(selected.index(0)).normal(size=(120, 3)), list("abc"))
    assert empty.refit is None and empty.refit_reason == "Lasso-Cox selects no covariate"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t, e, x: (t, e * 0, x), "no events"),
        (lambda t, e, x: (t, np.arange(t.size) == int(t.argmin()), x), "fewer than two events"),
        (lambda t, e, x: (t, e, x * 0 + 1), "every column is constant"),
        (lambda t, e, x: (t, e, np.where(x > 2, np.nan, x)), "missing"),
        (lambda t, e, x: (t, e, x[:, :2]), "shape"),
    ],
)
def test_no_path_gives_a_reason(spoil: Callable[..., Any], reason: str) -> None:
    with pytest.raises(NotEstimableError, match=reason):
        fit_lasso_cox(*spoil(*_data()), list("abcde"))


@pytest.mark.parametrize("n_events", [2, 3, 5])
def test_few_events_and_many_columns_do_not_crash(n_events: int) -> None:
    rng = np.random.default_rng(n_events)
    event = np.arange(24) < n_events
    found = fit_lasso_cox(rng.integers(1, 21, 24) * 3.0, event, rng.normal(size=(24, 26)),
                          [f"v{i}" for i in range(26)])
    assert found.chosen in found.path
    assert found.refit is not None or found.refit_reason
