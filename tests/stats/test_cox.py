"""Cox regression against R survival, and a reason wherever there is no fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bonemet_jax.stats.cox import compute_concordance, compute_partial_loglik, fit_cox
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


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t, e, x: (t, e * 0, x), "no events"),
        (lambda t, e, x: (-t, e, x), "negative"),
        (lambda t, e, x: (t, e * 2, x), "other than 0 and 1"),
        (lambda t, e, x: (t, e, x * [1, 0]), "constant column b"),
        (lambda t, e, x: (t, e, x[:, [0, 0]] * [1, -2]), "collinear"),
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


def test_one_event_when_nobody_else_is_at_risk() -> None:
    with pytest.raises(NotEstimableError):
        fit_cox([1.0, 2.0, 3.0], [0, 0, 1], [[1.0], [0.0], [2.0]], ["a"])


def test_all_events_at_one_time() -> None:
    time, _, x = _data(30)
    with pytest.raises(NotEstimableError):
        fit_cox(np.full(30, 7.0), np.ones(30, int), x, ["a", "b"], "efron")
    assert np.isfinite(fit_cox(np.minimum(time, 7), (time <= 7).astype(int), x, ["a", "b"]).loglik).all()
