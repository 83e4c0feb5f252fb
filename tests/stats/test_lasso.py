"""Lasso-Cox against glmnet, the choice of the penalty, and reasons."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.util import Surv

from bonemet_jax.stats.cox import compute_null_score, compute_partial_loglik, fit_cox
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.lasso import compute_selection_frequency, fit_lasso_cox, standardise
from bonemet_jax.stats.lasso_path import compute_path_loglik, compute_violation, fit_lasso_path

#: glmnet 4.1-6 sorts censored patients behind the events of their time by adding 100 * 2.2e-16 to their times. At times
#: of 256 and more that is lost in rounding, its unstable sort decides, and these are out of the risk set too early.
GLMNET_LOSES = (86, 129, 149, 171, 230, 243, 277, 286, 414, 444, 452, 508, 511, 564, 593, 601, 669)


@pytest.fixture
def tables(golden: Callable[[str], Any], golden_table: Callable[[str], pd.DataFrame]) -> Callable[[str], Any]:
    """time, event, covariates and glmnet's coefficients (penalty, covariate) of a golden file."""

    def load(name: str) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, np.ndarray, np.ndarray]:
        table, wanted = golden_table(name), golden(f"lasso_{name}")["points"]
        x = table.drop(columns=["patient_id", "time", "event"])
        r = np.array([[point["nonzero"].get(column, 0.0) for column in x] for point in wanted])
        return (table["time"].to_numpy(float), table["event"].to_numpy() == 1, x, r,
                np.array([point["lambda"] for point in wanted]))

    return load


def _as_glmnet_sorts(time: np.ndarray) -> np.ndarray:
    moved = time.copy()
    moved[list(GLMNET_LOSES)] -= 0.5
    return moved


def _worst(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Largest relative and absolute difference; the same coefficients must be zero."""
    assert ((found != 0) == (wanted != 0)).all()
    off = np.abs(found - wanted)
    return float((off[wanted != 0] / np.abs(wanted[wanted != 0])).max()), float(off.max())


def _coefs(time: np.ndarray, event: np.ndarray, x: pd.DataFrame, lambdas: np.ndarray) -> np.ndarray:
    found = fit_lasso_cox(time, event, x, list(x), lambdas.tolist()).path
    assert [point.penalty for point in found] == lambdas.tolist()
    return np.array([list(point.coef.values()) for point in found])


def test_glmnet_without_ties(tables: Callable[[str], Any]) -> None:
    time, event, x, r, lambdas = tables("gse7390")
    relative, _ = _worst(_coefs(time, event, x, lambdas), r)
    print(f"lasso_gse7390: worst relative difference {relative:.1e}")
    assert relative < 1e-4


def test_glmnet_with_ties(tables: Callable[[str], Any]) -> None:
    """In glmnet's risk sets every coefficient agrees; in those of Breslow and R survival none is off by 3e-3."""
    time, event, x, r, lambdas = tables("gbsg2")
    tied = ~event & np.isin(time, time[event])
    assert tied[list(GLMNET_LOSES)].all() and (time[list(GLMNET_LOSES)] >= 256).all()
    same, _ = _worst(_coefs(_as_glmnet_sorts(time), event, x, lambdas), r)
    relative, absolute = _worst(_coefs(time, event, x, lambdas), r)
    print(f"lasso_gbsg2: worst relative difference {same:.1e} in glmnet's risk sets; in the right ones {relative:.1e}, "
          f"absolute {absolute:.1e}")
    assert same < 1e-4 and absolute < 3e-3


def test_who_is_at_the_optimum(tables: Callable[[str], Any]) -> None:
    """glmnet's coefficients solve the problem of its own risk sets, and miss that of the right ones 3000 times more."""
    time, event, x, r, lambdas = tables("gbsg2")
    ours = _coefs(time, event, x, lambdas)
    miss = {
        (who, where): max(_violation(at, event, x, coef, penalty) for coef, penalty in zip(coefs, lambdas, strict=True))
        for who, coefs in (("ours", ours), ("glmnet", r))
        for where, at in (("right", time), ("glmnet's", _as_glmnet_sorts(time)))
    }
    print(*(f"{who} in the {where} risk sets misses the optimum's conditions by {m:.1e}"
            for (who, where), m in miss.items()), sep="\n")
    assert miss["ours", "right"] < 1e-9
    assert miss["glmnet", "glmnet's"] < 1e-7 and miss["glmnet", "right"] > 1e-4


def _violation(time: np.ndarray, event: np.ndarray, x: pd.DataFrame, coef: np.ndarray, penalty: float) -> float:
    """Breslow's gradient event by event, from its definition."""
    z, beta = (x - x.mean()) / x.std(ddof=0), coef * x.std(ddof=0).to_numpy()
    hazard, rows = np.exp(z.to_numpy() @ beta), z.to_numpy()
    gradient = sum(rows[i] - hazard[time >= time[i]] @ rows[time >= time[i]] / hazard[time >= time[i]].sum()
                   for i in np.flatnonzero(event)) / time.size
    return compute_violation(np.asarray(gradient), beta, penalty)


@pytest.mark.parametrize("name", ["gbsg2", "gse7390"])
def test_default_path_is_exact_and_scikit_survivals(name: str, tables: Callable[[str], Any]) -> None:
    time, event, x, _, _ = tables(name)
    z, scale, _ = standardise(x.to_numpy(float))
    penalties = np.abs(compute_null_score(time, event, z)).max() / time.size * np.geomspace(1, 0.02, 50)
    ours = fit_lasso_path(time, event, z, penalties)
    worst = max(_violation(time, event, x, coef / scale, penalty)
                for coef, penalty in zip(ours, penalties, strict=True))
    some = slice(1, None, 4)
    model = CoxnetSurvivalAnalysis(alphas=penalties[some], l1_ratio=1.0, tol=1e-14)
    off = np.abs(model.fit(z, Surv.from_arrays(event, time)).coef_.T - ours[some]).max()
    print(f"{name}: {len(ours)} points, conditions of the optimum missed by {worst:.1e} at most, "
          f"scikit-survival's coefficients of standardised covariates differ by {off:.1e}")
    assert worst < 1e-9 and off < 1e-4


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


@pytest.mark.parametrize("lambdas", [[0.0], [0.1, -0.1], [float("nan")], [float("inf")], []])
def test_a_penalty_is_above_zero(lambdas: list[float]) -> None:
    with pytest.raises(NotEstimableError, match="penalty is not above 0"):
        fit_lasso_cox(*_data(), list("abcde"), lambdas)


def _standardised(n: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z, _, _ = standardise(rng.normal(size=(n, p)) @ rng.normal(size=(p, p)))
    return rng.integers(1, 15, n).astype(float), rng.random(n) < 0.6, z


@pytest.mark.parametrize(("n", "p"), [(40, 3), (60, 20), (25, 60)])
def test_nothing_nearby_is_better(n: int, p: int) -> None:
    """At every penalty, down to 1e-5 of the largest, no move in any direction raises the penalised likelihood."""
    time, event, z = _standardised(n, p, n)
    rng = np.random.default_rng(1)
    largest = np.abs(compute_null_score(time, event, z)).max() / n
    penalties = np.geomspace(largest, 1e-5 * largest, 12)
    for beta, penalty in zip(fit_lasso_path(time, event, z, penalties), penalties, strict=True):
        moves = rng.normal(size=(60, p)) * rng.choice([1e-5, 1e-3, 1e-1], (60, 1))
        tried = np.concatenate([beta[None], beta + moves, beta + moves * (beta != 0), 0.99 * beta[None]])
        worth = compute_path_loglik(time, event, z, tried) / n - penalty * np.abs(tried).sum(axis=1)
        assert worth.argmax() == 0 or worth.max() - worth[0] < 1e-12
    assert compute_path_loglik(time, event, z, tried)[:5] == pytest.approx(
        [compute_partial_loglik(time, event, z, b) for b in tried[:5]], abs=1e-9)


def test_equal_and_separating_columns() -> None:
    """Two equal columns share what one alone gets; a column that tells the events apart stays finite."""
    time, event, z = _standardised(80, 4, 3)
    lambdas = np.array([0.05, 0.01, 0.001])
    alone = fit_lasso_path(time, event, z, lambdas)
    twice = fit_lasso_path(time, event, z[:, [0, 1, 2, 3, 0]], lambdas)
    assert twice[:, 0] + twice[:, 4] == pytest.approx(alone[:, 0], abs=1e-8)
    assert twice[:, 1:4] == pytest.approx(alone[:, 1:], abs=1e-8)
    separated = np.column_stack([z, (event - event.mean()) / event.std()])
    path = fit_lasso_path(np.where(event, 1.0, 5.0), event, separated, np.array([0.1, 1e-3, 1e-6]))
    assert np.isfinite(path).all() and np.abs(path[-1]).max() > 5


def test_times_equal_but_for_rounding_are_ties() -> None:
    """Path, cross-validation, choice, refit and selection frequency, with months as they are and as sums of tenths."""
    _, event, x = _data()
    exact = (np.arange(event.size) % 9 + 1) / 10
    rounded = np.array([sum([0.1] * int(i % 9 + 1)) for i in range(event.size)])
    rounded[::2] = exact[::2]
    assert np.unique(rounded).size > np.unique(exact).size, "rounding parts them"
    plain, found = (fit_lasso_cox(time, event, x, list("abcde"), [0.1, 0.03]) for time in (exact, rounded))
    assert found == plain and plain.refit is not None
    penalty = plain.chosen.penalty
    assert (compute_selection_frequency(exact, event, x, list("abcde"), penalty, 20, 0)
            == compute_selection_frequency(rounded, event, x, list("abcde"), penalty, 20, 0))


@pytest.mark.parametrize("column", [np.where(np.arange(120) % 2, 0.3, 0.1 + 0.2), 1e9 + 1e-6 * np.arange(120) / 120])
def test_a_column_constant_but_for_rounding_stays_out(column: np.ndarray) -> None:
    time, event, x = _data()
    x[:, 2] = column
    assert all(p.coef["c"] == 0 for p in fit_lasso_cox(time, event, x, list("abcde")).path)


def test_one_time_for_all_patients_changes_no_likelihood() -> None:
    _, event, x = _data()
    with pytest.raises(NotEstimableError, match="no column changes the likelihood"):
        fit_lasso_cox(np.full(event.size, 0.7), np.ones(event.size), x, list("abcde"))
