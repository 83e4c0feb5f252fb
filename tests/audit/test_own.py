"""A run's own tables: of a repaired cohort nothing contradicts, of one drawn as Table 1 is printed the index does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bonemet_jax import artifacts
from bonemet_jax.audit.audit import audit_path, audit_tables
from bonemet_jax.audit.finding import Finding
from bonemet_jax.audit.own import make_tables
from bonemet_jax.audit.read import parse_tables
from bonemet_jax.audit.rules import RULES

MakeStats = Callable[..., tuple[dict[str, Any], ...]]
Find = Callable[[Any], tuple[Finding, ...]]
#: Rules with nothing to compare in a run's own tables: they claim no exp(coefficient), state their patients, print no
#: p of an AUC and no formula.
_IDLE = {"hr-exp-coef", "hr-sign", "share-count-pooled", "accuracy-mean-pooled", "auc-p", "formula-unit"}


@pytest.mark.parametrize("seed", range(4))
def test_a_repaired_cohort_contradicts_nothing(seed: int, make_stats: MakeStats) -> None:
    result = audit_tables(parse_tables(make_tables(*make_stats(seed))))
    assert result.findings == ()
    assert {rule for rule in RULES if not result.n_checked[rule]} == _IDLE


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 40))
def test_many_repaired_cohorts_contradict_nothing(seed: int, make_stats: MakeStats, find: Find) -> None:
    assert find(make_tables(*make_stats(seed))) == ()


@pytest.mark.parametrize("seed", range(2))
def test_missing_values_contradict_nothing(seed: int, make_stats: MakeStats) -> None:
    """Index and area are then of other patients, and are not compared."""
    result = audit_tables(parse_tables(make_tables(*make_stats(seed, share_missing=0.08))))
    assert result.findings == () and result.n_checked["index-height"] == 0


def test_the_printed_cohort_contradicts_itself_where_the_paper_does(make_stats: MakeStats, find: Find) -> None:
    found = find(make_tables(*make_stats(1, "as_printed")))
    assert {f.rule for f in found} == {"index-height", "auc-variable"}
    places = {f.where for f in found if f.rule == "index-height"}
    assert "table1_continuous.sfi_cm2_m2.yes.mean" in places
    assert all(place.startswith("table1_continuous.sfi_cm2_m2.yes.") for place in places)


def test_numbers_are_printed_with_their_decimals(make_stats: MakeStats) -> None:
    table1, table2, roc, km = make_stats(0)
    tree = make_tables(table1, table2, roc, km)
    age = next(v for v in table1["variables"] if v["name"] == "age_years")
    assert tree["table1_continuous"]["age_years"]["no"][0] == f"{age['mean'][0]:.1f}"
    assert tree["table2"]["hr_is"] == "refit" and set(tree["denominators"]) == {"train", "val", "test"}
    assert tree["paper_cutoff"]["value"] == "27.7"


def test_a_small_log_hr_gets_the_decimals_its_p_needs(make_stats: MakeStats, find: Find) -> None:
    """At three decimals 1.0049 [0.9990, 1.0109] could have any p from .05 to .17."""
    table1, table2, roc, km = make_stats(0)
    small = {"lasso_coef": 0.0002, "hr": 1.0049118, "ci95": [0.9989642, 1.0108948], "p": 0.1057}
    rest = next(t for t in table2["terms"] if not t["lasso_coef"])
    terms = [t for t in table2["terms"] if t is not rest]
    tree = make_tables(table1, table2 | {"terms": [*terms, rest | small]}, roc, km)
    assert tree["table2"][rest["name"]] == ["0.0002", "1.00491", "0.99896", "1.01089", "0.106"]
    assert find(tree) == ()


def test_a_run_directory_is_audited(tmp_path: Path, make_stats: MakeStats) -> None:
    for part, value in zip(("table1", "table2", "roc", "km"), make_stats(0), strict=True):
        artifacts.write_json(tmp_path / "stats" / f"{part}.json", value)
    assert audit_path(tmp_path).findings == ()
    assert audit_path(tmp_path).n_checked["index-height"] == 36
