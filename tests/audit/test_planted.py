"""Into tables without a contradiction one of each kind is planted: it is named, and nothing else is."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from bonemet_jax.audit.finding import Finding
from bonemet_jax.audit.rules import RULES

Find = Callable[[Any], tuple[Finding, ...]]
Tree = dict[str, Any]
MEAN, SD, MIN, MAX, MEDIAN, Q1, Q3 = range(7)


def _shift(text: str, by: float) -> str:
    decimals = len(text.partition(".")[2])
    return f"{float(text) + by:.{decimals}f}"


def _hazard(tree: Tree) -> list[str]:
    """A row of Table 2 with a lower bound above 1 or an upper one below."""
    rows = [row for name, row in tree["table2"].items() if name not in ("hr_is", "listed")]
    return next(row for row in rows if float(row[2]) > 1 or float(row[3]) < 1)


def plant_order(tree: Tree) -> None:
    row = tree["table1_continuous"]["age_years"]["no"]
    row[Q1] = _shift(row[MEDIAN], 0.3)


def plant_mean(tree: Tree) -> None:
    row = tree["table1_continuous"]["cea_ng_ml"]["no"]
    row[SD], row[MEAN] = None, _shift(row[Q1], -0.2)


def plant_sd(tree: Tree) -> None:
    row = tree["table1_continuous"]["age_years"]
    row["no"][SD], row["p"] = "31.0", None


def plant_t_test(tree: Tree) -> None:
    tree["table1_continuous"]["sfa_cm2"]["p"] = "0.400"


def plant_index(tree: Tree) -> None:
    row = tree["table1_continuous"]["esmi_cm2_m2"]["no"]
    row[Q1] = f"{float(row[Q1]) / 1.6:.1f}"


def plant_heights(tree: Tree) -> None:
    """Within what bodies allow, not within what another index implies of the same patients."""
    row = tree["table1_continuous"]["esmi_cm2_m2"]
    row["no"][MEAN], row["p"] = f"{float(row['no'][MEAN]) * 0.85:.1f}", None


def plant_sum(tree: Tree) -> None:
    row = tree["table1_counts"]["er"]
    row["levels"]["no"]["no"] = [str(int(row["levels"]["no"]["no"][0]) + 9), None]
    row["p"] = None
    for group in ("no", "yes"):
        row["levels"]["yes"][group][1] = None


def plant_percent(tree: Tree) -> None:
    cell = tree["table1_counts"]["er"]["levels"]["no"]["no"]
    cell[1] = _shift(cell[1], 0.3)


def plant_swapped(tree: Tree) -> None:
    levels = tree["table1_counts"]["lvi"]["levels"]
    levels["no"]["no"][1], levels["yes"]["no"][1] = levels["yes"]["no"][1], levels["no"]["no"][1]


def plant_truncated(tree: Tree) -> None:
    n = int(tree["groups"]["no"])
    cells = [cells["no"] for row in tree["table1_counts"].values() for cells in row["levels"].values()]
    cell = next(c for c in cells if 1000 * int(c[0]) / n % 1 > 0.6)
    cell[1] = f"{math.floor(1000 * int(cell[0]) / n) / 10:.1f}"


def plant_chi_square(tree: Tree) -> None:
    tree["table1_counts"]["lvi"]["p"] = "0.740"


def plant_exp_coef(tree: Tree) -> None:
    row = _hazard(tree)
    row[0] = f"{float(row[0]) * 1.5:.4f}"


def plant_sign(tree: Tree) -> None:
    """In tables whose HRs claim to be a refit's: of the others this is no exp(coefficient) either."""
    tree["table2"]["hr_is"] = "refit"
    row = _hazard(tree)
    row[0] = _shift(row[0], -2 * float(row[0]))


def plant_hr_interval(tree: Tree) -> None:
    row = _hazard(tree)
    row[2] = _shift(row[1], 0.05)


def plant_symmetry(tree: Tree) -> None:
    row = _hazard(tree)
    row[3], row[4] = f"{float(row[3]) * 1.1:.4f}", None  # type: ignore[call-overload]


def plant_p(tree: Tree) -> None:
    _hazard(tree)[4] = "0.400"


def plant_p_as_printed(tree: Tree) -> None:
    """The published row of SFA."""
    tree["table2"]["x_cm2"] = ["0.0050", "1.005", "0.999", "1.011", "0.083"]


def plant_listed_twice(tree: Tree) -> None:
    tree["table2"]["listed"].append("lvi")


def plant_not_listed(tree: Tree) -> None:
    tree["table2"]["listed"].remove("tumour_size_cm")


def plant_range(tree: Tree) -> None:
    tree["table5"] = {"other": ["1.2", None, None, None]}


def plant_share_interval(tree: Tree) -> None:
    auc = tree["table4"]["gbdt_imaging"]["train"][0]
    auc[1] = _shift(auc[0], 0.01)


def plant_count(tree: Tree) -> None:
    """Half-way between two numbers of patients; nothing else hangs on an interval that is not there."""
    n = int(tree["paper_cutoff"]["n"]["yes"])
    k = round(float(tree["paper_cutoff"]["sens"][0]) * n)
    tree["paper_cutoff"]["sens"] = [f"{(k + 0.5) / n:.3f}", None, None]


def plant_count_pooled(tree: Tree) -> None:
    n = int(tree["groups"]["yes"])
    tree["denominators"].pop("test")
    tree["table5"] = {"other": {"test": [None, None, f"{(n // 2 + 0.5) / n:.3f}", None]}}


def plant_width(tree: Tree) -> None:
    sens = tree["paper_cutoff"]["sens"]
    sens[1:] = [_shift(sens[0], -0.01), _shift(sens[0], 0.01)]


def plant_accuracy(tree: Tree) -> None:
    tree["table5"] = {"other": ["0.9", "0.88", "0.80", "0.85"]}


def plant_accuracy_mean(tree: Tree) -> None:
    """Between sensitivity and specificity, a number of patients, but of other shares of the classes."""
    n = sum(map(int, tree["groups"].values()))
    sens, spec = (f"{k / int(tree['groups'][g]):.3f}" for k, g in ((40, "yes"), (200, "no")))
    tree["table5"] = {"other": {"test": [None, f"{round(0.7 * n) / n:.3f}", sens, spec]}}


def plant_accuracy_pooled(tree: Tree) -> None:
    tree["denominators"].pop("test")
    plant_accuracy_mean(tree)


def plant_auc_p(tree: Tree) -> None:
    tree["table5"] = {"other": {"test": [["0.560", "0.480", "0.640"], None, None, None], "test_p": "<0.01"}}


def plant_combined(tree: Tree) -> None:
    aucs = {"imaging": ["0.620", "0.550", "0.690"], "clinical": ["0.600", "0.530", "0.670"],
            "both": ["0.920", "0.890", "0.950"]}
    tree["table1_continuous"] = {}  # what a variable of it separates alone is another matter
    tree["table5"] = {f"x_{name}": {"test": [auc, None, None, None]} for name, auc in aucs.items()}


def plant_variable(tree: Tree) -> None:
    tree["table1_continuous"]["marker_ng_ml"] = {
        "no": ["1.0", "1.0", None, None, None, None, None], "yes": ["6.0", "1.0", None, None, None, None, None]}
    tree["table2"]["listed"].append("marker_ng_ml")


def plant_cutoff(tree: Tree) -> None:
    """More patients below the cut-off than its quartiles allow, a whole number of them."""
    n = int(tree["paper_cutoff"]["n"]["no"])
    tree["paper_cutoff"]["spec"] = [f"{round(0.5 * n) / n:.3f}", None, None]


def plant_formula(tree: Tree) -> None:
    tree["formulas"] = [{"of": ["sfi_cm2_m2"], "text": "SFA (cm2) / height (m)"}]


PLANTS: dict[str, Callable[[Tree], None]] = {
    "quantile-order": plant_order, "mean-in-range": plant_mean, "sd-in-range": plant_sd, "t-test": plant_t_test,
    "index-height": plant_index, "index-heights-differ": plant_heights, "count-sum": plant_sum,
    "percent": plant_percent, "percent-swapped": plant_swapped, "percent-truncated": plant_truncated,
    "chi-square": plant_chi_square, "hr-exp-coef": plant_exp_coef, "hr-sign-refit": plant_sign,
    "hr-interval": plant_hr_interval, "hr-symmetry": plant_symmetry, "hr-p": plant_p,
    "hr-p-as-printed": plant_p_as_printed, "listed-twice": plant_listed_twice, "not-listed": plant_not_listed,
    "share-range": plant_range, "share-interval": plant_share_interval, "share-count": plant_count,
    "share-count-pooled": plant_count_pooled, "share-width": plant_width, "accuracy-between": plant_accuracy,
    "accuracy-mean": plant_accuracy_mean, "accuracy-mean-pooled": plant_accuracy_pooled, "auc-p": plant_auc_p,
    "auc-combined": plant_combined, "auc-variable": plant_variable, "cutoff-quantiles": plant_cutoff,
    "formula-unit": plant_formula,
}


def test_the_tables_are_clean(clean: Tree, refit: Tree, find: Find) -> None:
    assert find(clean) == find(refit) == ()


def test_every_rule_is_planted() -> None:
    """hr-sign never comes alone where the HR claims to be exp(coefficient): test_a_sign does it."""
    assert set(PLANTS) == set(RULES) - {"hr-sign"}


@pytest.mark.parametrize("rule", PLANTS)
def test_a_planted_contradiction_is_named(rule: str, clean: Tree, find: Find) -> None:
    PLANTS[rule](clean)
    found = find(clean)
    assert {finding.rule for finding in found} == {rule}
    assert {finding.severity for finding in found} == {RULES[rule].severity}


def test_a_sign(clean: Tree, find: Find) -> None:
    row = _hazard(clean)
    row[0] = _shift(row[0], -2 * float(row[0]))
    assert [finding.rule for finding in find(clean)] == ["hr-sign", "hr-exp-coef"]
