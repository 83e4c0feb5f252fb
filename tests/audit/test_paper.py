"""The published tables: every contradiction that docs/paper.md names is found, and by the right rule at its place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bonemet_jax.audit.audit import EXAMPLE, audit
from bonemet_jax.audit.finding import Finding

Find = Callable[[Any], tuple[Finding, ...]]
_CHI = ("menopause", "n_stage", "lvi", "subtype", "multifocal", "er", "pr", "endocrine", "radiotherapy", "chemotherapy",
        "histology")
_HR = {"lvi": "1.493", "ki67": "1.106", "histology_ductal": "0.3586", "cea_ng_ml": "1.064", "bmi_kg_m2": "1.001",
       "sfa_cm2": "1", "sfi_cm2_m2": "0.9287"}
#: What is said of it -> rule, place, what would agree.
ERRORS: dict[str, tuple[str, str, str]] = {
    "SFI 20.9 beside SFA 140.4": ("index-height", "table1_continuous.sfi_cm2_m2.yes.mean", "about 55"),
    "its median": ("index-height", "table1_continuous.sfi_cm2_m2.yes.median", "about 52"),
    "its q3": ("index-height", "table1_continuous.sfi_cm2_m2.yes.q3", "about 58.8"),
    "its maximum": ("index-height", "table1_continuous.sfi_cm2_m2.yes.max", "about 207"),
    **{f"SFI alone beside {m}": ("auc-variable", f"table4.{m}_clinical.test.auc", "about 0.947 or more")
       for m in ("gbdt", "svm", "rf")},
    "cut-off's sensitivity, quartiles": ("cutoff-quantiles", "sfi_cutoff.sens", "0.750 to 0.981"),
    "cut-off's specificity, quartiles": ("cutoff-quantiles", "sfi_cutoff.spec", "0.749 to 0.997"),
    "cut-off's sensitivity is no k/52": ("share-count", "sfi_cutoff.sens", "0.7115 or 0.7308"),
    "cut-off's specificity is no k/379": ("share-count", "sfi_cutoff.spec", "0.7414 or 0.7441"),
    **{f"HR of {name} is not exp(coef)": ("hr-exp-coef", f"table2.{name}.hr", hr) for name, hr in _HR.items()},
    "BMI flips sign": ("hr-sign", "table2.bmi_kg_m2.coef", "a negative one"),
    "accuracy 1": ("accuracy-between", "table3.resnet34.val.acc", "63.8 to 64.5"),
    "accuracy 2": ("accuracy-between", "table3.resnet50.val.acc", "55.1 to 56.3"),
    "accuracy 3": ("accuracy-between", "table3.resnet101.val.acc", "73.3 to 74.7"),
    "accuracy 4": ("accuracy-between", "table4.gbdt_imaging.val.acc", "70.8 to 72.5"),
    "accuracy 5": ("accuracy-between", "table4.gbdt_clinical.train.acc", "90.9 to 93.4"),
    "accuracy 6": ("accuracy-between", "table4.rf_clinical.val.acc", "75.2 to 79.8"),
    "p < .01 of ResNet34": ("auc-p", "table3.resnet34.test.auc", "p > 0.05"),
    "p < .01 of ResNet50": ("auc-p", "table3.resnet50.test.auc", "p > 0.05"),
    "LVI's p": ("hr-p", "table2.lvi.p", "0.0031"),
    "Ki-67's p": ("hr-p", "table2.ki67.p", "0.029"),
    "multifocal listed twice": ("listed-twice", "table2.multifocal", "once"),
    "tumour size not at all": ("not-listed", "table2.tumour_size_cm", "listed"),
    "chemotherapy 32 + 356": ("count-sum", "table1_counts.chemotherapy.no", "379"),
    "chemotherapy's 32": ("percent", "table1_counts.chemotherapy.no.no", "8.44"),
    "subtypes sum to 303": ("count-sum", "table1_counts.subtype.no", "379"),
    "subtypes sum to 43": ("count-sum", "table1_counts.subtype.yes", "52"),
    "PR's percentages": ("percent-swapped", "table1_counts.pr.no", "57.78, 42.22"),
    "menopause's percentages": ("percent-swapped", "table1_counts.menopause.no", "50.13, 49.87"),
    **{f"p of {name}": ("chi-square", f"table1_counts.{name}.p", "") for name in _CHI},
}
WARNINGS: dict[str, tuple[str, str, str]] = {
    "both .922 beside .700 and .783": ("auc-combined", "table4.gbdt_both.test.auc", "0.827"),
    "SFA's p": ("hr-p-as-printed", "table2.sfa_cm2.p", "0.102"),
}
_FORMULA = ("formula-unit", "formulas[0]")


def _key(finding: Finding) -> tuple[str, str]:
    return finding.rule, finding.where


@pytest.fixture(scope="module")
def found() -> Mapping[tuple[str, str], Finding]:
    return {_key(finding): finding for finding in audit(EXAMPLE)}


@pytest.mark.parametrize("name", [*ERRORS, *WARNINGS])
def test_each_contradiction_is_found(name: str, found: Mapping[tuple[str, str], Finding]) -> None:
    rule, where, expected = (ERRORS | WARNINGS)[name]
    finding = found[rule, where]
    assert finding.severity == ("error" if name in ERRORS else "warning")
    assert finding.expected.startswith(expected)


def test_no_other_error_is(found: Mapping[tuple[str, str], Finding]) -> None:
    errors = {key for key, finding in found.items() if finding.severity == "error"}
    assert errors == {(rule, where) for rule, where, _ in ERRORS.values()} | {_FORMULA}


def test_the_p_of_multifocal(found: Mapping[tuple[str, str], Finding]) -> None:
    finding = found["chi-square", "table1_counts.multifocal.p"]
    assert (finding.printed, finding.expected) == ("0.213", "1.7e-13")


def test_the_height_squared_of_the_metastasis_group(found: Mapping[tuple[str, str], Finding]) -> None:
    assert "a height squared of 6.72 m2" in found["index-height", "table1_continuous.sfi_cm2_m2.yes.mean"].what


def test_warnings_are_of_the_rules_that_assume_something(found: Mapping[tuple[str, str], Finding]) -> None:
    rules = {rule for (rule, _), finding in found.items() if finding.severity == "warning"}
    assert rules == {"auc-combined", "hr-p-as-printed", "percent-truncated", "share-count-pooled", "share-width",
                     "accuracy-mean-pooled"}


def test_the_shared_file_gives_the_same(shared: Path, found: Mapping[tuple[str, str], Finding]) -> None:
    """It states no formula; all else is equal to the word."""
    ours = [finding for key, finding in found.items() if key != _FORMULA]
    assert audit(shared / "golden" / "paper_tables.yaml") == ours


def test_errors_come_first_and_the_order_is_stable(paper: dict[str, Any], find: Find) -> None:
    findings = find(paper)
    assert findings == tuple(sorted(findings, key=lambda f: (f.severity, f.where, f.rule)))
    turned = {name: dict(reversed(part.items())) if isinstance(part, dict) and name.startswith("table") else part
              for name, part in reversed(paper.items())}
    assert set(find(turned)) == set(findings)


# --- Names ----------------------------------------------------------------------------------------------


def _rename(tree: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Every variable under another name with the same unit, wherever it stands."""
    def new(name: str) -> str:
        known = [old for old in names if name == old or name.startswith(f"{old}_")]
        return names[max(known, key=len)] + name[len(max(known, key=len)):] if known else name

    def new_list(node: Any) -> Any:
        return [new(item) for item in node] if isinstance(node, list) else node

    renamed = dict(tree)
    for part in ("table1_continuous", "table1_counts"):
        renamed[part] = {new(name): row for name, row in tree[part].items()}
    renamed["table2"] = {new(name): new_list(row) if name in ("listed_twice", "not_listed") else row
                         for name, row in tree["table2"].items()}
    renamed["formulas"] = [formula | {"of": new_list(formula["of"])} for formula in tree["formulas"]]
    stem = names["sfi_cm2_m2"].removesuffix("_cm2_m2")
    renamed[f"{stem}_cutoff"] = renamed.pop("sfi_cutoff")
    return renamed


def test_rules_know_no_names(paper: dict[str, Any], find: Find) -> None:
    units = ("_years", "_kg_m2", "_ng_ml", "_cm2_m2", "_cm2", "_cm")
    old = [*paper["table1_continuous"], *paper["table1_counts"]]
    names = {name: f"v{i + 7}{next((u for u in units if name.endswith(u)), '')}" for i, name in enumerate(old)}
    renamed = find(_rename(paper, names))
    assert not any(name in str(renamed) for name in old if len(name) > 3)
    assert len(renamed) == len(find(paper))
    back = {new: name for name, new in names.items()} | {"v14_cutoff": "sfi_cutoff"}

    def restore(place: str) -> str:
        place = place.replace(f"{names['histology']}_", "histology_")
        return ".".join(back.get(part, part) for part in place.split("."))

    assert names["sfi_cm2_m2"] == "v14_cm2_m2"
    kept = {(f.rule, f.severity, restore(f.where), f.printed, f.expected) for f in renamed}
    assert kept == {(f.rule, f.severity, f.where, f.printed, f.expected) for f in find(paper)}


def test_pairs_may_be_stated(paper: dict[str, Any], find: Find) -> None:
    """Shuffled rows under names that tell nothing: the key says what belongs together."""
    rows = paper["table1_continuous"]
    order = ["sfi_cm2_m2", "vfa_cm2", "esma_cm2", "vfi_cm2_m2", "sfa_cm2", "esmi_cm2_m2"]
    names = {name: f"{letter}1{name[name.index('_'):]}" for name, letter in zip(order, "pqrstu", strict=True)}
    shuffled = paper | {
        "table1_continuous": {names[name]: rows[name] for name in order},
        "pairs": {names["sfi_cm2_m2"]: names["sfa_cm2"], names["vfi_cm2_m2"]: names["vfa_cm2"],
                  names["esmi_cm2_m2"]: names["esma_cm2"]},
    }
    found = [f.where for f in find(shuffled) if f.rule.startswith("index-height")]
    assert found == [f"table1_continuous.p1_cm2_m2.yes.{s}" for s in ("max", "mean", "median", "q3")]


# --- Mending and doubting ---------------------------------------------------------------------------------

#: Where, the number that would agree, and the findings that go.
MENDED: dict[str, tuple[tuple[Any, ...], str, set[tuple[str, str]]]] = {
    "p of LVI": (("table2", "lvi", 4), "0.003", {("hr-p", "table2.lvi.p")}),
    "p of SFA": (("table2", "sfa_cm2", 4), "0.102", {("hr-p-as-printed", "table2.sfa_cm2.p")}),
    "coefficient of BMI": (("table2", "bmi_kg_m2", 0), "-0.0523",
                           {("hr-sign", "table2.bmi_kg_m2.coef"), ("hr-exp-coef", "table2.bmi_kg_m2.hr")}),
    "p of multifocal": (("table1_counts", "multifocal", "p"), "<0.001", {("chi-square", "table1_counts.multifocal.p")}),
    "p of N stage": (("table1_counts", "n_stage", "p"), "0.062", {("chi-square", "table1_counts.n_stage.p")}),
    "percentage of 32": (("table1_counts", "chemotherapy", "levels", "no", "no", 1), "8.4",
                         {("percent", "table1_counts.chemotherapy.no.no")}),
    "a cut percentage": (("table1_counts", "lvi", "levels", "yes", "no", 1), "28.8",
                         {("percent-truncated", "table1_counts.lvi.yes.no")}),
    "accuracy": (("table4", "rf_clinical", "val", 1, 0), "79.5",
                 {("accuracy-between", "table4.rf_clinical.val.acc")}),
    "bound of an AUC": (("table3", "resnet34", "test", 0, 1), "0.512", {("auc-p", "table3.resnet34.test.auc")}),
    "bound of both": (("table4", "gbdt_both", "test", 0, 1), "0.780", {("auc-combined", "table4.gbdt_both.test.auc")}),
    "bound of clinical": (("table4", "svm_clinical", "test", 0, 2), "0.950",
                          {("auc-variable", "table4.svm_clinical.test.auc")}),
    "specificity of the cut-off": (("sfi_cutoff", "spec", 0), "0.749",
                                   {("cutoff-quantiles", "sfi_cutoff.spec"), ("share-count", "sfi_cutoff.spec")}),
    "formula": (("formulas", 0, "text"), "area (cm2) / height (m) squared", {_FORMULA}),
}


def _edit(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value


@pytest.mark.parametrize("name", MENDED)
def test_mending_a_number_ends_its_findings_alone(name: str, paper: dict[str, Any], find: Find) -> None:
    path, value, gone = MENDED[name]
    before = find(paper)
    _edit(paper, path, value)
    after = find(paper)
    assert {_key(f) for f in before} - {_key(f) for f in after} == gone
    assert set(after) <= set(before)


#: Where a row gets its list of doubtful places, the place, and what is then not found.
DOUBTED: dict[str, tuple[tuple[str, ...], str, set[tuple[str, str]]]] = {
    "a statistic": (("table1_continuous", "sfi_cm2_m2"), "yes.max",
                    {("index-height", "table1_continuous.sfi_cm2_m2.yes.max")}),
    "a p": (("table1_counts", "er"), "p", {("chi-square", "table1_counts.er.p")}),
    "a cell": (("table1_counts", "chemotherapy"), "no.no", {
        ("count-sum", "table1_counts.chemotherapy.no"), ("percent", "table1_counts.chemotherapy.no.no"),
        ("chi-square", "table1_counts.chemotherapy.p")}),
    "percentages of a level": (("table1_counts", "chemotherapy"), "no percentages",
                               {("percent", "table1_counts.chemotherapy.no.no")}),
    "a hazard ratio": (("table2",), "lvi.hr", {("hr-exp-coef", "table2.lvi.hr"), ("hr-p", "table2.lvi.p")}),
    "a row of Table 2": (("table2",), "ki67", {("hr-exp-coef", "table2.ki67.hr"), ("hr-p", "table2.ki67.p")}),
    "a measure": (("table3", "resnet34"), "val.acc", {("accuracy-between", "table3.resnet34.val.acc")}),
}


@pytest.mark.parametrize("name", DOUBTED)
def test_what_is_doubtful_is_skipped(name: str, paper: dict[str, Any], find: Find) -> None:
    path, place, gone = DOUBTED[name]
    before = {_key(f) for f in find(paper)}
    row = paper
    for step in path:
        row = row[step]
    row["doubtful"] = [*row.get("doubtful", []), place]
    assert before - {_key(f) for f in find(paper)} == gone


def test_a_whole_row_may_be_doubtful(paper: dict[str, Any], find: Find) -> None:
    paper["table1_counts"]["chemotherapy"]["doubtful"] = "true"
    assert not [f for f in find(paper) if "chemotherapy" in f.where]


def test_doubts_of_the_file_hide_what_they_name(paper: dict[str, Any], find: Find) -> None:
    """Without them three more values are compared, among them Ki-67's p, which does not follow from its counts."""
    del paper["table1_counts"]["ki67"]["doubtful"]
    assert ("chi-square", "table1_counts.ki67.p") in {_key(f) for f in find(paper)}
