"""The run's own audit on the page: comparisons counted by hand, contradictions named, what is missing said."""

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import chi2_contingency

from bonemet_jax import artifacts
from bonemet_jax.audit.audit import audit_path
from bonemet_jax.report.own_audit import audit_stats, describe_own_audit, make_findings_tables
from bonemet_jax.report.render import render_report

COUNTS = [[270, 109], [16, 36]]


def _make_stats() -> dict[str, Any]:
    """One variable that agrees with itself in Table 1 and has no coefficient in Table 2; no model, no cut-off."""
    lvi = {"name": "lvi", "label": "Lymphovascular invasion", "kind": "category", "levels": ["no", "yes"],
           "n": [379, 52], "n_missing": [0, 0], "counts": COUNTS,
           "percent": [[100 * k / sum(row) for k in row] for row in COUNTS],
           "chisq_p": float(chi2_contingency(COUNTS, correction=False).pvalue), "reason": None}
    groups = [{"value": 0, "label": "no", "n": 379}, {"value": 1, "label": "yes", "n": 52}]
    return {"table1": {"by": "bone_metastasis", "groups": groups, "variables": [lvi]},
            "table2": {"terms": [{"name": "lvi", "lasso_coef": 0.0}]},
            "roc": {"rows": []}, "km": {"variable": "sfi_cm2_m2", "cutoffs": []}}


def test_comparisons_are_counted() -> None:
    """By hand: two sums, four percentages, each also for truncation, two pairs for a swap, one p; a row of Table 2."""
    own, why_not = audit_stats(_make_stats())
    assert own is not None and why_not == "" and own["findings"] == []
    assert {rule: n for rule, n in own["n_checked"].items() if n} == {
        "count-sum": 2, "percent": 4, "percent-swapped": 2, "percent-truncated": 4, "chi-square": 1,
        "listed-twice": 1, "not-listed": 1}
    assert describe_own_audit(own).startswith("Own tables: 15 comparisons by 7 rules, no contradiction.")
    assert make_findings_tables(own) == ()


def test_a_contradiction_is_shown_with_its_place() -> None:
    stats = _make_stats()
    stats["table1"]["variables"][0]["percent"][1][1] = 75.0
    own, _ = audit_stats(stats)
    assert own is not None
    assert describe_own_audit(own).startswith("Own tables: 15 comparisons by 7 rules, 1 error, 0 warnings.")
    (table,) = make_findings_tables(own)
    heading, (place, what) = table.rows
    assert heading[0].text.startswith("Errors: ")
    assert (place.text, place.detail) == ("table1_counts.lvi.yes.yes", "percent")
    assert what.detail == "printed 36 (75.0), expected 69.23"


@pytest.mark.parametrize("gone", ["table1", "table2", "roc", "km"])
def test_a_missing_file_is_named(gone: str) -> None:
    stats = _make_stats()
    del stats[gone]
    own, why_not = audit_stats(stats)
    assert own is None and why_not.startswith(f"not available: {gone}.json missing")


def test_a_group_of_nobody_says_why() -> None:
    stats = _make_stats()
    stats["table1"]["groups"][1]["n"] = 0
    own, why_not = audit_stats(stats)
    assert own is None and why_not == "not available: a number of patients is wanted here, stats: groups.yes"


@pytest.mark.slow
def test_the_page_and_the_command_say_the_same(fake_run: tuple[Path, Path]) -> None:
    """Table 1 of the fake run is drawn at random, so it contradicts itself."""
    page = render_report(*fake_run).read_text()
    own = artifacts.load_json(fake_run[0] / "report.json")["stats"]["own_audit"]
    assert own == json.loads(json.dumps(audit_path(fake_run[0]).to_json())) and own["findings"]
    assert describe_own_audit(own).split(",")[0] in page and "Contradictions among the run" in page
    (fake_run[0] / "stats" / "km.json").unlink()
    page = render_report(*fake_run).read_text()
    assert "Audit of the own tables</strong>: not available: km.json missing" in page
    assert "own_audit" not in artifacts.load_json(fake_run[0] / "report.json")["stats"]
