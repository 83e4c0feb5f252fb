"""The datacard: figures equal pandas' own, small groups of real patients are masked, no id is in it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from data_pipelines.checks import verify
from data_pipelines.checks.datacard import CardSource, format_card, make_card, mask_small
from data_pipelines.findings import find


def card_of(table: pd.DataFrame, kind: str = "real") -> dict:
    return make_card(CardSource(kind, table, [], [], {}))


@pytest.fixture
def table(sound_cohort: Path) -> pd.DataFrame:
    return artifacts.load_table(sound_cohort / "cohort.parquet")


def test_quartiles_and_counts_are_those_of_pandas(table: pd.DataFrame) -> None:
    table.loc[3, "cea_ng_ml"] = np.nan
    card = card_of(table, "synthetic")
    for column in card["continuous"]:
        values = table[column["name"]].astype(float)
        wanted = values.describe()[["min", "25%", "50%", "75%", "max"]]
        np.testing.assert_allclose(column["quartiles"], wanted, rtol=1e-12)
        assert column["n_missing"] == values.isna().sum()
    for column in card["categories"]:
        counts = table[column["name"]].value_counts()
        assert {k: v for k, v in column["counts"].items() if v} == {
            k if isinstance(k, str) else f"{k:g}": v for k, v in counts.items()}
    n_ill = int(table.bone_metastasis.sum())
    assert card["outcome"] == {"0": len(table) - n_ill, "1": n_ill, "unknown": 0}


@pytest.mark.parametrize(("counts", "shown"), [
    ({"a": 5, "b": 60}, {"a": 5, "b": 60}),
    ({"a": 0, "b": 60}, {"a": 0, "b": 60}),
    ({"a": 3, "b": 60}, {"a": "<5", "b": "not shown"}),
    ({"a": 3, "b": 60, "c": 9}, {"a": "<5", "b": 60, "c": "not shown"}),
    ({"a": 3, "b": 1, "c": 9}, {"a": "<5", "b": "<5", "c": 9}),
    ({"a": 4, "b": 0}, {"a": "<5", "b": 0}),
])
def test_small_groups_are_masked_and_not_given_away_by_subtraction(counts: dict, shown: dict) -> None:
    assert mask_small(counts) == shown


def test_no_single_real_patient_shows(table: pd.DataFrame) -> None:
    """An age nobody else has, and a rare level, are in a synthetic card and not in a real one."""
    large = pd.concat([table] * 5, ignore_index=True)
    large.loc[0, "age_years"] = 99.625
    large["histology"] = ["other"] + ["ductal"] * (len(large) - 1)
    shown = {kind: json.dumps(card_of(large, kind)) for kind in ("real", "synthetic")}
    assert "99.625" in shown["synthetic"] and "99.625" not in shown["real"]
    histology = {c["name"]: c["counts"] for c in card_of(large)["categories"]}["histology"]
    assert histology == {"other": "<5", "ductal": "not shown"}


def test_few_known_values_have_no_percentiles(table: pd.DataFrame) -> None:
    assert all(column["quartiles"] is None for column in card_of(table)["continuous"])


def test_page_is_made_of_whole_tables_and_names_no_patient(sound_cohort: Path) -> None:
    result = verify([sound_cohort])
    assert result.card is not None
    page = format_card(result.card)
    table = artifacts.load_table(sound_cohort / "cohort.parquet")
    for name in (*table[schema.PATIENT_ID], *table[schema.SLICE_ID]):
        assert name not in page and name not in json.dumps(result.card)
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block
    assert artifacts.sha256_file(sound_cohort / "manifest.json") in page
    assert "not for clinical use" in page and "Synthetic" in page


def test_flags_are_counted_by_code(table: pd.DataFrame) -> None:
    """Patients, not findings; what concerns a file has no number; the clinical table's are masked."""
    findings = [*(replace(find("field-cut"), patient=patient) for patient in ("a", "a", "b")),
                find("cohort-file-changed"),
                replace(find("csv-age"), patient="a"), find("csv-alias")]
    told = {kind: make_card(CardSource(kind, table, [], findings, {}))["findings"] for kind in ("real", "synthetic")}
    assert [(f["code"], f["n_patients"]) for f in told["synthetic"]] == [
        ("cohort-file-changed", None), ("csv-age", 1), ("csv-alias", None), ("field-cut", 2)]
    assert [f["n_patients"] for f in told["real"]] == [None, "<5", None, 2]


def test_inputs_that_were_not_read_are_counted(table: pd.DataFrame) -> None:
    slices = [{"trunk_cm2": 500.0}] * len(table)
    card = make_card(CardSource("real", table, slices, [], {}, n_inputs=15, n_with_row=9))
    assert "15 inputs, 12 readable, 9 of them with a usable row in the table; one axial" in format_card(card)
    card = make_card(CardSource("real", table, slices, [], {}, n_inputs=15))
    assert "15 inputs, 12 readable; one axial" in format_card(card)


def test_the_card_says_whence_areas_come(table: pd.DataFrame) -> None:
    own = [{"sfa_source": "mask"}, {"sfa_source": "hu"}, {"sfa_source": "mask"}, {"sfa_source": None}]
    card = make_card(CardSource("real", table, [{"trunk_cm2": 500.0, **facts} for facts in own], [], {}))
    assert card["images"]["counts"]["SFA from"] == {"mask": 2, "hu": 1, "not measured": 1}
    assert "VFA from" not in card["images"]["counts"]
    assert "| SFA from: mask | 2 |" in format_card(card)


def test_readers_agreement_is_shown_and_nobody_named(table: pd.DataFrame) -> None:
    """In the form of agreement.json; the figures are made up."""
    limits = {"bias": -1.5, "lower": -4.25, "upper": 1.25, "n": 3}
    told = {"n_patients": 3, "columns": {"sfa_cm2": {
        "readers": ["anna", "bert"], "n": 3, "icc_2_1": {"value": 0.29, "ci95": [0.02, 0.76], "n": 3},
        "bland_altman": limits}}, "dice": {name: {"sfa_cm2": value} for name, value in (("aa11", 0.9), ("bb22", 0.8),
                                                                                        ("cc33", 0.97))}}
    card = make_card(CardSource("real", table, [], [], {}, told))
    page = format_card(card)
    assert "| SFA (cm2) | 3 | 0.29 | 0.02 to 0.76 | -1.5 | -4.25 to 1.25 | 0.9 | 0.8 |" in page
    assert not any(name in page + json.dumps(card) for name in ("anna", "bert", "aa11"))
    unknown = {"n_patients": 1, "columns": {"sfa_cm2": {"readers": ["a"], "n": 1, "icc_2_1": None,
                                                        "bland_altman": None}}, "dice": {}}
    assert "| SFA (cm2) | 1 | - | - | - | - | - | - |" in format_card(
        make_card(CardSource("real", table, [], [], {}, unknown)))
