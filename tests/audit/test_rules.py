"""What the rules rest on, beside brute force and other people's formulas: no true number is ever a contradiction."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bonemet_jax.audit.finding import Finding
from bonemet_jax.audit.printed import find_count, parse_number, parse_p
from bonemet_jax.audit.rules.quantiles import QUANTILES, least_up_to, most_below
from bonemet_jax.audit.units import pair_indices, read_formula, read_unit, unit_of

Find = Callable[[Any], tuple[Finding, ...]]
#: numpy's names of the nine definitions of Hyndman and Fan.
METHODS = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen",
           "weibull", "linear", "median_unbiased", "normal_unbiased")


@pytest.mark.parametrize(("text", "low", "high"), [
    ("27.7", "27.65", "27.75"), ("27.0", "26.95", "27.05"), ("27", "26.5", "27.5"), ("−0.0740", "-0.07405", "-0.07395"),
    ("1.7e-13", "1.65e-13", "1.75e-13"), (".5", "0.45", "0.55"), ("0", "-0.5", "0.5"),
])
def test_a_number_is_an_interval(text: str, low: str, high: str) -> None:
    number = parse_number(text)
    assert (number.exact_low, number.exact_high) == (Fraction(low), Fraction(high))


@pytest.mark.parametrize(
    "text", ["", "1,5", "five", "nan", "inf", "0x1", "1e999", "1_000", "1e13", "--1", "1.2.3", "9" * 50])
def test_no_number(text: str) -> None:
    with pytest.raises(ValueError):
        parse_number(text)


@pytest.mark.parametrize(("text", "low", "high"), [
    ("<0.001", 0, "0.001"), ("p < .01", 0, "0.01"), ("≤0.05", 0, "0.05"), (">0.05", "0.05", 1),
    ("0.036", "0.0355", "0.0365"), ("p=0.000", 0, "0.0005"), ("1.00", "0.995", 1),
])
def test_a_p_value_is_an_interval(text: str, low: str | int, high: str | int) -> None:
    p = parse_p(text)
    assert (p.exact_low, p.exact_high) == (Fraction(low), Fraction(high))


@pytest.mark.parametrize("text", ["1.5", "<1.5", "-0.3", "NS", "<", "< <0.1"])
def test_no_p_value(text: str) -> None:
    with pytest.raises(ValueError):
        parse_p(text)


def test_counts_are_those_that_print_so() -> None:
    """Every count of every group to 60, both ways; ties are in both intervals."""
    for n in range(1, 61):
        for decimals in (1, 2, 3):
            printed = {f"{k / n:.{decimals}f}" for k in range(n + 1)}
            for value in range(10**decimals + 1):
                text = f"{value / 10**decimals:.{decimals}f}"
                found = find_count(parse_number(text), n)
                if text in printed:
                    assert found is not None and abs(found / n - float(text)) <= 0.5 * 10**-decimals + 1e-12
                elif found is not None:  # a tie, which the other neighbour prints
                    assert abs(abs(Fraction(found, n) - Fraction(text)) - Fraction(1, 2 * 10**decimals)) == 0


@pytest.mark.parametrize("method", METHODS)
def test_quantile_counts_hold_for_every_definition(method: str) -> None:
    rng = np.random.default_rng(0)
    for n in (*range(2, 40), 52, 379, 380):
        x = rng.normal(size=n).round(int(rng.integers(0, 4)))
        for statistic, p in QUANTILES.items():
            q = np.quantile(x, p, method=method)
            assert (x < q - 1e-12).sum() <= most_below(statistic, n), (n, statistic)
            assert (x <= q + 1e-12).sum() >= least_up_to(statistic, n), (n, statistic)


def _describe(x: np.ndarray, decimals: int, method: str) -> list[str]:
    quantiles = np.quantile(x, (0, 1, 0.5, 0.25, 0.75), method=method)
    return [f"{value:.{decimals}f}" for value in (x.mean(), x.std(ddof=1), *quantiles)]


@pytest.mark.parametrize("seed", range(6))
def test_true_tables_never_contradict(seed: int, find: Find) -> None:
    """Any data, any rounding, any definition of a quartile: statistics, t test, index and cut-off go together."""
    rng = np.random.default_rng(seed)
    sizes = {"no": int(rng.integers(5, 300)), "yes": int(rng.integers(5, 80))}
    rows: dict[str, Any] = {}
    for i in range(12):
        method, decimals = str(rng.choice(METHODS)), int(rng.integers(0, 4))
        area = {g: rng.lognormal(4 + 0.3 * (g == "yes"), rng.uniform(0.1, 1), n) for g, n in sizes.items()}
        height = {g: rng.normal(1.62, 0.06, n).clip(1.42, 1.85) for g, n in sizes.items()}
        index = {g: area[g] / height[g] ** 2 for g in sizes}
        for name, x in ((f"v{i}a_cm2", area), (f"v{i}i_cm2_m2", index)):
            p = stats.ttest_ind(x["no"], x["yes"], equal_var=bool(rng.integers(2))).pvalue
            rows[name] = {g: _describe(x[g], decimals, method) for g in sizes} | {"p": f"{p:.3f}"}
    cut = float(np.quantile(index["yes"], rng.random()))
    shares = {"sens": (index["yes"] < cut).mean(), "spec": (index["no"] >= cut).mean()}
    cutoff = {"variable": "v11i_cm2_m2", "value": f"{cut:.1f}", "positive": "low"}
    near = {g: abs(index[g] - cut).min() > 0.05 for g in sizes}  # else the rounded cut-off moves a patient
    tree = {"groups": {g: str(n) for g, n in sizes.items()}, "table1_continuous": rows}
    if all(near.values()):
        tree["v_cutoff"] = cutoff | {m: f"{share:.3f}" for m, share in shares.items()}
    assert find(tree) == ()


@pytest.mark.parametrize("seed", range(4))
def test_true_counts_and_hazards_never_contradict(seed: int, find: Find) -> None:
    rng = np.random.default_rng(seed)
    counted, hazards = {}, {}
    for i in range(15):
        table = rng.integers(1, 90, (2, 3 if i % 3 == 0 else 2))
        table[:, 0] += 300 - table.sum(axis=1)
        p = (stats.chi2_contingency(table, correction=bool(i % 2)).pvalue if i % 5 else
             stats.fisher_exact(table).pvalue if table.shape[1] == 2 else stats.chi2_contingency(table).pvalue)
        levels = {f"l{k}": {g: [str(n), f"{n / 3:.1f}"] for g, n in zip(("no", "yes"), column, strict=True)}
                  for k, column in enumerate(table.T)}
        counted[f"c{i}"] = {"levels": levels, "p": f"{p:.4f}"}
        coef, se = rng.normal(0, 1), rng.uniform(0.1, 0.6)
        hr, lo, hi = (math.exp(coef + z * se) for z in (0, -1.959964, 1.959964))
        hazards[f"h{i}"] = [f"{coef:.4f}", f"{hr:.4f}", f"{lo:.4f}", f"{hi:.4f}",
                            f"{2 * stats.norm.sf(abs(coef) / se):.3f}"]
    tree = {"groups": {"no": "300", "yes": "300"}, "table1_counts": counted, "table2": hazards}
    assert [f for f in find(tree) if f.rule != "hr-p-as-printed"] == []


def test_the_p_of_lvi_by_hand(find: Find) -> None:
    """z = log 2.544 / (log(4.723 / 1.370) / 3.92) = 2.957; p = .0031 (R: 2 * pnorm(-2.957))."""
    found = find({"table2": {"x": [None, "2.544", "1.370", "4.723", "<0.001"]}})
    assert [(f.rule, f.expected) for f in found] == [("hr-p", "0.0031")]


def test_the_published_auc_of_two_parts_by_hand(find: Find) -> None:
    """probit .700 = .5244, probit .783 = .7824, sqrt of their squares' sum .9418, Phi of it .827."""
    rows = {"a_imaging": ["0.700", "0.594", "0.793"], "a_clinical": ["0.783", "0.672", "0.878"],
            "a_both": ["0.922", "0.843", "0.964"]}
    found = find({"table4": {model: {"test": [auc, None, None, None]} for model, auc in rows.items()}})
    assert [(f.rule, f.severity, f.expected) for f in found] == [("auc-combined", "warning", "0.827")]


@pytest.mark.parametrize(("name", "unit"), [
    ("sfa_cm2", "cm2"), ("sfi_cm2_m2", "cm2_m2"), ("bmi_kg_m2", "kg_m2"), ("cea_ng_ml", "ng_ml"),
    ("age_years", "years"),
    ("her2", ""), ("n_stage", ""), ("tumour_size_cm", "cm"), ("v_u_cm2", "cm2"), ("cm2", ""),
])
def test_a_name_ends_with_its_unit(name: str, unit: str) -> None:
    assert unit_of(name) == unit


@pytest.mark.parametrize(("text", "powers"), [
    ("area (cm2) / height (m2) squared", {"cm": 2, "m": -4}), ("area (cm²) / height (m) squared", {"cm": 2, "m": -2}),
    ("weight (kg) / height (m)^2", {"kg": 1, "m": -2}), ("a (cm2/m2) * h (m) ** 2", {"cm": 2}),
    ("area / height", None), ("area (big) / height (m)", None), ("marker (ng/ml)", {"ng": 1, "ml": -1}),
])
def test_a_formula_has_a_unit(text: str, powers: dict[str, int] | None) -> None:
    assert read_formula(text) == powers


def test_units_cancel() -> None:
    assert read_unit("m/m") == {} and read_unit("furlong") is None


@pytest.mark.parametrize(("names", "pairs"), [
    (["esma_cm2", "sfa_cm2", "sfi_cm2_m2", "esmi_cm2_m2"], {"sfi_cm2_m2": "sfa_cm2", "esmi_cm2_m2": "esma_cm2"}),
    (["v8_cm2", "v9_cm2_m2", "v10_cm2", "v11_cm2_m2"], {"v9_cm2_m2": "v8_cm2", "v11_cm2_m2": "v10_cm2"}),
    (["v9_cm2", "v10_cm2_m2", "v11_cm2", "v12_cm2_m2"], {"v10_cm2_m2": "v9_cm2", "v12_cm2_m2": "v11_cm2"}),
    (["bmi_kg_m2", "weight_kg", "x_kg_m2"], {"x_kg_m2": "weight_kg"}), (["bmi_kg_m2", "age_years"], {}),
])
def test_an_index_finds_its_variable(names: list[str], pairs: dict[str, str]) -> None:
    assert pair_indices(names) == pairs
