"""The encoder learns from training rows alone, guesses nothing silently, and survives JSON."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import schema
from bonemet_jax.cohort.clinical import ClinicalEncoder
from bonemet_jax.errors import CorruptFileError, InputDataError, LeakageError

MakeTable = Callable[..., pd.DataFrame]


def test_columns_and_levels(make_table: MakeTable) -> None:
    table = make_table()
    encoded = ClinicalEncoder.fit(table, ["train"] * len(table)).transform(table)
    assert tuple(encoded.columns) == schema.encoded_names()
    assert encoded.index.tolist() == table[schema.PATIENT_ID].tolist()
    assert encoded["age_years"].tolist() == table["age_years"].tolist()
    assert encoded["subtype_luminal_B"].tolist() == (table["subtype"] == "luminal_B").astype(float).tolist()
    assert "subtype_luminal_A" not in encoded.columns


def test_missing_values_are_filled_and_counted(make_table: MakeTable) -> None:
    table = make_table()
    table.loc[[1, 2], "cea_ng_ml"] = np.nan
    table.loc[3, "lvi"] = np.nan
    table.loc[:30, "histology"] = "ductal"
    table.loc[5, "histology"] = None
    encoder = ClinicalEncoder.fit(table, ["train"] * len(table))
    assert encoder.n_imputed == {"cea_ng_ml": 2, "lvi": 1, "histology": 1}
    assert encoder.count_missing(table) == encoder.n_imputed
    encoded = encoder.transform(table)
    assert encoded["cea_ng_ml"].iloc[1] == table["cea_ng_ml"].median()
    assert encoded["histology_ductal"].iloc[5] == 1.0
    assert np.isfinite(encoded.to_numpy()).all()


def test_standardised_columns_have_mean_0_and_sd_1(make_table: MakeTable) -> None:
    table = make_table()
    table["er"] = 1.0
    encoded = ClinicalEncoder.fit(table, ["train"] * len(table), standardise=True).transform(table)
    assert np.allclose(encoded.mean(), 0, atol=1e-12)
    assert np.allclose(encoded.drop(columns="er").std(ddof=0), 1)
    assert (encoded["er"] == 0).all()


def test_other_rows_change_nothing(make_table: MakeTable) -> None:
    table = make_table()
    encoder = ClinicalEncoder.fit(table.head(30), ["train"] * 30, standardise=True)
    changed = table.copy()
    changed.loc[30:, "sfi_cm2_m2"] = 900.0
    assert ClinicalEncoder.fit(changed.head(30), ["train"] * 30, standardise=True) == encoder
    alone = encoder.transform(table.iloc[[7]])
    assert alone.iloc[0].tolist() == encoder.transform(table).iloc[7].tolist()


def test_test_rows_are_refused(make_table: MakeTable) -> None:
    table = make_table()
    for splits in (["train"] * 39 + ["test"], ["train"] * 39):
        with pytest.raises(LeakageError):
            ClinicalEncoder.fit(table, splits)


def test_a_column_nobody_has_carries_nothing(make_table: MakeTable) -> None:
    table = make_table()
    later = table.copy()
    table["ca153_u_ml"], table["subtype"] = np.nan, None
    encoder = ClinicalEncoder.fit(table, ["train"] * len(table), standardise=True)
    assert encoder.unobserved == ("subtype", "ca153_u_ml")
    assert (encoder.transform(later)[["ca153_u_ml", "subtype_triple_negative"]] == 0).all(axis=None)


def test_json_round_trip_is_exact(make_table: MakeTable) -> None:
    table = make_table()
    table.loc[2, "age_years"] = np.nan
    for standardise in (False, True):
        encoder = ClinicalEncoder.fit(table, None, standardise)
        again = ClinicalEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
        assert again == encoder
        pd.testing.assert_frame_equal(again.transform(table), encoder.transform(table), check_exact=True)


def test_bad_input_is_refused(make_table: MakeTable) -> None:
    table = make_table()
    encoder = ClinicalEncoder.fit(table, None)
    with pytest.raises(InputDataError, match="pr is missing"):
        encoder.transform(table.drop(columns="pr"))
    with pytest.raises(InputDataError, match="unknown level 'N9'"):
        encoder.transform(table.assign(n_stage="N9"))
    for value in ({}, [], {**encoder.to_json(), "fill": {"age_years": 1.0}}, {**encoder.to_json(), "mean": {"a": "x"}}):
        with pytest.raises(CorruptFileError):
            ClinicalEncoder.from_json(value)
