"""Columns against each other: contradictions are errors, what is merely rare is a warning."""

import math

import pytest

from bonemet_jax import schema
from data_pipelines.check_codes import VERDICTS
from data_pipelines.clinical.consistency import RULES, check_row

#: Row -> code, column and severity of the one rule it breaks.
BROKEN: dict[str, tuple[dict[str, float | str | None], str, str, str]] = {
    "index": ({"sfi_cm2_m2": 20.9, "sfa_cm2": 140.4, "height_m": 1.6}, "csv-index", "sfi_cm2_m2", "error"),
    # The paper's Table 1: a mean height^2 of 6.7 m2.
    "paper's index": ({"sfi_cm2_m2": 20.9, "sfa_cm2": 140.4}, "csv-index-height", "sfi_cm2_m2", "error"),
    "index of nothing": ({"vfi_cm2_m2": 10.0, "vfa_cm2": 0.0}, "csv-index-height", "vfi_cm2_m2", "error"),
    "BMI": ({"bmi_kg_m2": 30.0, "weight_kg": 64.0, "height_m": 1.6}, "csv-bmi", "bmi_kg_m2", "warning"),
    "no time": ({"dmfs_event": 1.0, "dmfs_months": math.nan}, "csv-event-time", "dmfs_months", "error"),
    "no event": ({"dmfs_months": 12.0}, "csv-time-no-event", "dmfs_event", "warning"),
    "at surgery": ({"dmfs_event": 1.0, "dmfs_months": 0.0}, "csv-event-at-zero", "dmfs_months", "error"),
    "no distant event": ({"bone_metastasis": 1.0, "dmfs_event": 0.0, "dmfs_months": 12.0}, "csv-label-event",
                         "dmfs_event", "error"),
    "days": ({"dmfs_event": 0.0, "dmfs_months": 700.0}, "csv-time-long", "dmfs_months", "warning"),
    "triple negative, ER": ({"subtype": "triple_negative", "er": 1.0}, "csv-triple-negative", "subtype", "error"),
    "triple negative, HER2": ({"subtype": "triple_negative", "her2": 1.0}, "csv-triple-negative", "subtype", "error"),
    "luminal without receptors": ({"subtype": "luminal_B", "er": 0.0, "pr": 0.0}, "csv-subtype", "subtype", "warning"),
    "HER2-enriched, ER": ({"subtype": "HER2-enriched", "er": 1.0, "pr": 0.0}, "csv-subtype", "subtype", "warning"),
    "HER2-enriched, HER2 0": ({"subtype": "HER2-enriched", "her2": 0.0}, "csv-subtype", "subtype", "warning"),
    "luminal A, HER2": ({"subtype": "luminal_A", "her2": 1.0}, "csv-subtype", "subtype", "warning"),
    "luminal A, Ki-67": ({"subtype": "luminal_A", "her2": 0.0, "ki67_high": 1.0}, "csv-subtype", "subtype", "warning"),
    "luminal B, Ki-67": ({"subtype": "luminal_B", "her2": 0.0, "ki67_high": 0.0}, "csv-subtype", "subtype", "warning"),
    "endocrine": ({"endocrine": 1.0, "er": 0.0, "pr": 0.0}, "csv-endocrine", "endocrine", "warning"),
    "late": ({"menopause": "pre", "age_years": 70.0}, "csv-menopause", "menopause", "warning"),
    "early": ({"menopause": "post", "age_years": 30.0}, "csv-menopause", "menopause", "warning"),
    "old": ({"age_years": 95.0}, "csv-age", "age_years", "warning"),
    "no tumour": ({"tumour_size_cm": 0.0}, "csv-zero", "tumour_size_cm", "warning"),
    "no fat": ({"sfa_cm2": 0.0}, "csv-zero", "sfa_cm2", "warning"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_told(name: str) -> None:
    row, code, column, severity = BROKEN[name]
    told = [finding for finding in check_row(row) if finding[0] != "csv-zero" or code == "csv-zero"]
    assert [(c, col) for c, col, _ in told] == [(code, column)]
    assert told[0][2]
    assert VERDICTS[code].severity == severity


def test_every_rule_is_shown_broken() -> None:
    assert {rule.code for rule in RULES} <= {code for _, code, _, _ in BROKEN.values()}


def test_a_sound_row() -> None:
    row = {
        "age_years": 50.0, "menopause": "post", "subtype": "luminal_B", "er": 1.0, "pr": 1.0, "her2": 1.0,
        "ki67_high": 0.0, "endocrine": 1.0, "tumour_size_cm": 2.0, "dmfs_months": 60.0, "dmfs_event": 1.0,
        "bone_metastasis": 1.0, "height_m": 1.6, "weight_kg": 64.0, "bmi_kg_m2": 25.0, "sfa_cm2": 140.4,
        "sfi_cm2_m2": 140.4 / 1.6**2,
    }  # fmt: skip
    assert check_row(row) == []


@pytest.mark.parametrize("height_m", [1.45, 1.6, 1.85])
@pytest.mark.parametrize("area", [5.0, 140.4, 400.0])
def test_an_index_from_a_rounded_height_is_sound(height_m: float, area: float) -> None:
    """Height in whole centimetres, index with one decimal: as clinics print them."""
    index = round(area / (height_m + 0.0049) ** 2, 1)
    assert check_row({"vfi_cm2_m2": index, "vfa_cm2": area, schema.HEIGHT: height_m}) == []
    assert check_row({"vfi_cm2_m2": index * 1.1 + 0.1, "vfa_cm2": area, schema.HEIGHT: height_m}) != []


def test_unknown_values_ask_no_rule() -> None:
    assert check_row({"subtype": None, "er": math.nan, "menopause": None, "age_years": 70.0}) == []
    assert check_row({}) == []
