"""Cox regression against R survival, and a reason wherever there is no fit."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sksurv.metrics import concordance_index_censored

from bonemet_jax.stats.cox import CoxFit, compute_concordance, compute_partial_loglik, fit_cox
from bonemet_jax.stats.estimable import NotEstimableError


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_r_survival(ties: Any, golden: Callable[[str], Any], golden_table: Callable[[str], pd.DataFrame]) -> None:
    table, wanted = golden_table("gbsg2"), golden("cox_gbsg2")
    terms = wanted[ties]["terms"]
    names = [term["name"] for term in terms]
    found = fit_cox(table["time"], table["event"], table[names], names, ties)
    assert found.loglik == pytest.approx(wanted[ties]["loglik"], rel=1e-6)
    assert found.concordance == pytest.approx(wanted[ties]["concordance"], abs=1e-9)
    assert (found.n, found.n_events) == (wanted["n"], wanted["events"])
    for term, r in zip(found.terms, terms, strict=True):
        for field in ("coef", "se", "hr", "ci95", "z"):
            assert getattr(term, field) == pytest.approx(r[field], rel=1e-6), (term.name, field)
        assert term.p == pytest.approx(r["p"], abs=1e-6)
    if ties == "efron":
        assert found.schoenfeld_global_p == pytest.approx(wanted["schoenfeld_global_p"], abs=1e-6)


def _data(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 20, n).astype(float), (rng.random(n) < 0.5).astype(int), rng.normal(size=(n, 2))


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_schoenfeld_is_grambsch_and_therneaus(
    ties: Any, golden: Callable[[str], Any], golden_table: Callable[[str], pd.DataFrame]
) -> None:
    """One death after the other, straight from the formula, which at Efron's ties is R's global p."""
    table, wanted = golden_table("gbsg2"), golden("cox_gbsg2")
    names = [term["name"] for term in wanted[ties]["terms"]]
    found = fit_cox(table["time"], table["event"], table[names], names, ties)
    together, each = _test_by_hand(table["time"].to_numpy(), table["event"].to_numpy(), table[names].to_numpy(float),
                                   found)
    if ties == "efron":
        assert together == pytest.approx(wanted["schoenfeld_global_p"], abs=1e-6)
    assert found.schoenfeld_global_p == pytest.approx(together, rel=1e-6) and found.schoenfeld_reason is None
    assert [term.schoenfeld_p for term in found.terms] == pytest.approx(each, rel=1e-6)
    assert min(each) < 0.01 and max(each) > 0.3, "one that changes with time, one that does not"


def _test_by_hand(time: np.ndarray, event: np.ndarray, x: np.ndarray, fit: CoxFit) -> tuple[float, list[float]]:
    """Score test of x times g(t) added to the fitted x: p of all together, p of each added alone (as cox.zph does)."""
    p = x.shape[1]
    hazard = np.exp((x - x.mean(axis=0)) @ [term.coef for term in fit.terms])
    score, information, survival = np.zeros(2 * p), np.zeros((2 * p, 2 * p)), 1.0
    for t in np.unique(time[event == 1]):
        at_risk, dead = time >= t, (time == t) & (event == 1)
        for k, i in enumerate(np.flatnonzero(dead)):
            weight = np.where(at_risk, hazard, 0.0)
            weight[dead] *= 1 - k / dead.sum() if fit.ties == "efron" else 1
            mean = weight @ x / weight.sum()
            variance = (weight[:, None] * (x - mean)).T @ (x - mean) / weight.sum()
            g = np.array([1, 1 - survival])
            score += np.kron(g, x[i] - mean)
            information += np.kron(np.outer(g, g), variance)
        survival *= 1 - dead.sum() / at_risk.sum()
    assert np.abs(score[:p] / np.sqrt(np.diag(information)[:p])).max() < 1e-6, "the fit is at the maximum"
    score[:p] = 0

    def compute_p(added: list[int]) -> float:
        kept = [*range(p), *(p + j for j in added)]
        u = score[kept]
        return float(stats.chi2.sf(u @ np.linalg.solve(information[np.ix_(kept, kept)], u), df=len(added)))

    return compute_p(list(range(p))), [compute_p([j]) for j in range(p)]


def test_schoenfeld_has_a_reason_where_it_is_none() -> None:
    """All deaths at one time; one covariate that varies at the first time of death only."""
    time, event, x = _data(40)
    once = np.where(time < 10, 5.0, 10.0)
    found = fit_cox(once, (once == 5) & (x[:, 1] > 0), x[:, :1], ["a"])
    assert found.schoenfeld_global_p is None and "too few event times" in str(found.schoenfeld_reason)
    assert [term.schoenfeld_p for term in found.terms] == [None]
    early = np.arange(40) < 8
    found = fit_cox(np.where(early | (time == 1), 1, time), event, np.stack([x[:, 0], early], axis=1), ["a", "b"])
    a, b = (term.schoenfeld_p for term in found.terms)
    assert a is not None and b is None and found.schoenfeld_global_p is None and found.schoenfeld_reason


def test_units_of_a_covariate_change_only_its_own_scale() -> None:
    time, event, x = _data()
    mm, cm = (fit_cox(time, event, x * [1, factor], ["a", "b"]) for factor in (10, 1))
    assert mm.loglik == pytest.approx(cm.loglik)
    assert mm.terms[1].coef * 10 == pytest.approx(cm.terms[1].coef)
    assert [t.p for t in mm.terms] == pytest.approx([t.p for t in cm.terms])


def test_partial_loglik_by_hand() -> None:
    """Three patients, no ties: log(e^a / (e^a + e^b + e^c)) + log(e^b / (e^b + e^c))."""
    x = np.array([[1.0], [0.5], [-1.0]])
    e = np.exp(0.7 * x[:, 0])
    wanted = np.log(e[0] / e.sum()) + np.log(e[1] / e[1:].sum())
    assert compute_partial_loglik([1, 2, 3], [1, 1, 0], x, [0.7]) == pytest.approx(wanted, abs=1e-12)


def test_concordance_by_hand() -> None:
    # Comparable: (1, 2), (1, 3), (1, 4) and, at equal times, event 2 before censored 3; (2, 4).
    assert compute_concordance([1, 2, 2, 3], [1, 1, 0, 0], [4, 3, 2, 2]) == 1.0
    assert compute_concordance([1, 2, 2, 3], [1, 1, 0, 0], [2, 2, 2, 2]) == 0.5
    with pytest.raises(NotEstimableError, match="compared"):
        compute_concordance([1, 2], [0, 1], [1, 2])
    with pytest.raises(NotEstimableError, match="a risk score holds a missing"):
        compute_concordance([1, 2], [1, 1], [1, np.nan])


@pytest.mark.parametrize(("n", "n_times", "n_scores"), [
    (17, 3, 5), (64, 64, 64), (65, 5, 999), (500, 400, 3), (500, 7, 40), (1000, 10**6, 10**6)])
def test_concordance_is_scikit_survivals(n: int, n_times: int, n_scores: int) -> None:
    """Few distinct times or scores: ties of times, of scores, of both; events and censored at one time."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        time, score = rng.integers(0, n_times, n) / 4, rng.integers(-n_scores, n_scores, n) / 8
        event = rng.random(n) < rng.uniform(0.1, 1)
        event[time.argmin()] = True
        wanted = concordance_index_censored(event, time, score)[0]
        assert compute_concordance(time, event, score) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.slow
def test_concordance_of_50000_patients_needs_no_matrix_of_pairs() -> None:
    """A matrix of pairs took 0.8 GB at 10,000; scikit-survival goes through the pairs one row at a time."""
    n, rng = 50_000, np.random.default_rng(0)
    time, event, score = np.ceil(rng.exponential(200, n)), rng.random(n) < 0.5, np.round(rng.normal(size=n), 2)
    tracemalloc.start()
    found = compute_concordance(time, event, score)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    assert found == pytest.approx(concordance_index_censored(event, time, score)[0], abs=1e-12)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t, e, x: (t, e * 0, x), "no events"),
        (lambda t, e, x: (-t, e, x), "negative"),
        (lambda t, e, x: (t, e * 2, x), "other than 0 and 1"),
        (lambda t, e, x: (t, e, x * [1, 0]), "constant column b"),
        (lambda t, e, x: (t, e, x[:, [0, 0]] * [1, -2]), "^column b is a linear combination of a; leave one out"),
        (lambda t, e, x: (t, e, x * [1, np.nan]), "missing"),
        (lambda t, e, x: (np.where(e, 1.0, 5.0), e, np.stack([x[:, 0], 1.0 * e], axis=1)), "b separates"),
        (lambda t, e, x: (t[:-1], e, x), "shape"),
        (lambda t, e, x: (t, e, x[:, :1]), "shape"),
        (lambda t, e, x: (t, t == t.max() + 1, x), "no events"),
    ],
)
def test_no_fit_gives_a_reason(spoil: Callable[..., Any], reason: str) -> None:
    with pytest.raises(NotEstimableError, match=reason) as caught:
        time, event, x = spoil(*_data())
        fit_cox(time, event, x, ["a", "b"])
    assert caught.value.exit_code == 8


def test_a_collinear_column_is_named_with_what_it_is_made_of() -> None:
    time, event, x = _data()
    made, code = 1e3 * x[:, 0] - 2 * x[:, 1] + 5, np.eye(3)[np.arange(60) % 3]
    time[:4], event[:4] = 0.5, 0  # gone before the first event
    gone = time == 0.5
    cases = [
        ({"a": x[:, 0], "z": time % 5, "b": x[:, 1], "made": made, "c": made}, "made is a linear combination of a, b"),
        ({"a": x[:, 0], "grade1": code[:, 0], "grade2": code[:, 1], "b": x[:, 1], "grade3": code[:, 2]},
         "grade3 is a linear combination of grade1, grade2"),
        ({"a": x[:, 0], "b": x[:, 1], "c": x[:, 0] + 9 * gone}, "c is a linear combination of a"),
        ({"early": gone, "a": x[:, 0]}, "early is constant among those at risk"),
    ]
    for columns, wanted in cases:
        remedy = "it" if "constant" in wanted else "one"
        with pytest.raises(NotEstimableError, match=f"column {wanted}; leave {remedy} out"):
            fit_cox(time, event, np.stack(list(columns.values()), axis=1), list(columns))
    many = np.random.default_rng(1).normal(size=(12, 20))
    with pytest.raises(NotEstimableError, match=r"x11 is a linear combination of x0, x1, .*, x7 and 3 more; leave"):
        fit_cox(np.arange(12), np.ones(12), many, [f"x{i}" for i in range(20)])


def test_one_event_when_nobody_else_is_at_risk() -> None:
    with pytest.raises(NotEstimableError):
        fit_cox([1.0, 2.0, 3.0], [0, 0, 1], [[1.0], [0.0], [2.0]], ["a"])


def test_all_events_at_one_time() -> None:
    """R: coxph(Surv(rep(7, 10), rep(1, 10)) ~ x + y): no pair can be compared, and its concordance is NaN."""
    x = np.array([[0.3, -1, 2, 0.5, -0.7, 1.1, 0, -2, 0.9, 1.5], [1, 2, -1, 0, 0.5, -0.5, 2, 1, 0, -2]]).T
    found = fit_cox(np.full(10, 7.0), np.ones(10, int), x, ["x", "y"])
    assert [t.coef for t in found.terms] == pytest.approx([0, 0], abs=1e-12)
    assert [t.se for t in found.terms] == pytest.approx([0.4067512661075715, 0.3900259086452990], abs=1e-12)
    assert found.loglik == pytest.approx((-15.10441257307552,) * 2) and found.concordance is None
    time, _, x = _data(30)
    assert np.isfinite(fit_cox(np.minimum(time, 7), (time <= 7).astype(int), x, ["a", "b"]).loglik).all()


# --- As R's survival decides --------------------------------------------------------------------------------


def test_times_equal_but_for_rounding_are_ties() -> None:
    """R: coxph(Surv(t, e) ~ x + y), whose option timefix makes ties; without it x has 0.8758."""
    time = [0.1, 0.2, 0.1 + 0.2, 0.3, 3 * 0.2, 0.1 * 7, 0.7, 0.3 * 3, 1, 1.2]
    exact = [0.1, 0.2, 0.3, 0.3, 0.6, 0.7, 0.7, 0.9, 1, 1.2]
    event = [1, 0, 1, 0, 1, 1, 1, 0, 1, 0]
    x = np.array([[0.3, -1, 2, 0.5, -0.7, 1.1, 0, -2, 0.9, 1.5], [1, 2, -1, 0, 0.5, -0.5, 2, 1, 0, -2]]).T
    found = fit_cox(time, event, x, ["x", "y"])
    assert [t.coef for t in found.terms] == pytest.approx([0.845665890122645, 0.722689086592285], abs=1e-12)
    assert [t.schoenfeld_p for t in found.terms] == pytest.approx([0.5544949986356841, 0.5165670466054262], abs=1e-12)
    assert (found.concordance, found.schoenfeld_global_p) == pytest.approx((0.75, 0.8029950292318185), abs=1e-12)
    for ties in ("efron", "breslow"):
        assert fit_cox(time, event, x, ["x", "y"], ties) == fit_cox(exact, event, x, ["x", "y"], ties)  # type: ignore[arg-type]
    score = np.arange(10) % 4
    assert compute_concordance(time, event, score) == compute_concordance(exact, event, score)
    assert compute_partial_loglik(time, event, x, [1, 2]) == compute_partial_loglik(exact, event, x, [1, 2])


def test_an_event_at_a_censored_patients_time_but_for_rounding() -> None:
    """The patient censored at 0.3 is at risk at 0.1 + 0.2, and the pair can be compared."""
    assert compute_concordance([0.1 + 0.2, 0.3], [1, 0], [2, 1]) == 1
    with pytest.raises(NotEstimableError, match="compared"):
        compute_concordance([0.31, 0.3], [1, 0], [2, 1])


def _separating(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, events and two columns of 60 patients; the columns separate as the kind has it."""
    time, event, x = _data()
    a, b = x[:, 0], x[:, 1]
    group = np.arange(60) % 3
    if kind.startswith("marker"):
        a, event = (np.arange(60) < 6) * 1.0, np.where(np.arange(60) < 6, 0, event)
        a = 1 - a if kind == "marker reversed" else 5 * a - 2 if kind == "marker coded" else a
    elif kind == "order":
        time = np.argsort(np.argsort(a)) + 1.0
    elif kind == "levels":
        a, b, event = (group == 1) * 1.0, (group == 2) * 1.0, np.where(group == 0, 0, event)
    else:
        time = np.argsort(np.argsort(a + b)) + 1.0
    return time, event, np.stack([a, b], axis=1)


@pytest.mark.parametrize(("kind", "reason"), [
    ("marker", "a separates events from the rest: 0 of 6 patients with a = 1 have an event"),
    ("marker reversed", "a separates events from the rest: 0 of 6 patients with a = 0 have an event"),
    ("marker coded", "a separates events from the rest: 0 of 6 patients with a = 3 have an event"),
    ("order", "a separates events from the rest: at every event, a is lowest among those at risk"),
    ("levels", "a, b together separate events from the rest: at every event, a weighted sum of them is highest"),
    ("sum", "a, b together separate events from the rest: at every event, a weighted sum of them is highest"),
])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_what_separates_is_named(kind: str, reason: str, ties: Any) -> None:
    with pytest.raises(NotEstimableError, match=reason):
        fit_cox(*_separating(kind), ["a", "b"], ties)


@pytest.mark.parametrize("column", [
    np.where(np.arange(60) % 2, 0.3, 0.1 + 0.2), 1e9 + 1e-6 * np.arange(60) / 60, np.full(60, 1 / 3) * (1 + 1e-16),
    -1e-9 * (1 + 1e-15 * np.arange(60)), np.zeros(60),
])
def test_constant_but_for_rounding_is_constant(column: np.ndarray) -> None:
    time, event, x = _data()
    with pytest.raises(NotEstimableError, match="constant column c"):
        fit_cox(time, event, np.column_stack([column, x]), ["c", "a", "b"])


def test_a_column_that_varies_by_little_is_not_constant() -> None:
    """A date in seconds that spans one minute, a concentration of 1e-9."""
    time, event, x = _data()
    for changed in (1.7e9 + 60 * x[:, 0], 1e-9 * x[:, 0]):
        found = fit_cox(time, event, np.column_stack([changed, x[:, 1]]), ["a", "b"])
        assert found.terms[0].z == pytest.approx(fit_cox(time, event, x, ["a", "b"]).terms[0].z, rel=1e-6)


def test_who_left_before_the_first_event_changes_nothing() -> None:
    """However far out its covariates are; R's coefficients become NA."""
    time, event, x = _data()
    early = fit_cox([0.1, *time], [0, *event], np.vstack([[-4e11, 3e9], x]), ["a", "b"])
    assert [t.coef for t in early.terms] == pytest.approx([t.coef for t in fit_cox(time, event, x, ["a", "b"]).terms])


def test_a_hazard_ratio_beyond_floating_point_is_infinite() -> None:
    """As R's, and without a warning: units that are far too large."""
    time, event, x = _data()
    term = fit_cox(time, event, x * [1e-6, 1], ["a", "b"]).terms[0]
    assert np.isfinite([term.coef, term.se]).all() and term.ci95[1] == np.inf and term.ci95[0] in (0, np.inf)
    with pytest.raises(NotEstimableError, match=r"column a has a largest value of .*e\+160; use another unit"):
        fit_cox(time, event, x * [1e160, 1], ["a", "b"])
