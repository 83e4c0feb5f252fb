"""The cohort's table."""

import time

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import schema
from bonemet_jax.config import PhantomConfig
from data_pipelines.phantom import make_table, tabular


def test_shape_of_the_table_and_of_the_texture():
    table, length_mm = make_table(PhantomConfig(n=37))
    assert list(table) == [
        "patient_id", "slice_id", *schema.clinical_names(), "height_m", "dmfs_months", "dmfs_event", "bone_metastasis",
    ]  # fmt: skip
    assert table["patient_id"].tolist()[:2] == ["P000001", "P000002"]
    assert length_mm.shape == (37,)
    assert (length_mm > 0).all()


@pytest.mark.parametrize("generator", ["repaired", "as_printed"])
def test_times_are_visits_and_events_are_the_label(generator):
    table, _ = make_table(PhantomConfig(n=4000, generator=generator))
    events = table["dmfs_event"] == 1
    assert (table["bone_metastasis"] == table["dmfs_event"]).all()
    assert (table.loc[~events, "dmfs_months"] == 60).all()
    assert set(table.loc[events, "dmfs_months"]) == set(tabular.VISITS_MONTHS)
    assert set(tabular.VISITS_MONTHS) == {3, 6, 9, 12, 15, 18, 21, 24, 30, 36, 42, 48, 54, 60}


def test_same_seed_same_table_other_seed_another():
    first, again, other = (make_table(PhantomConfig(n=20, seed=s))[0] for s in (7, 7, 8))
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["sfa_cm2"], other["sfa_cm2"])


def test_texture_is_independent_of_the_row():
    table, factor, _ = tabular.draw_cohort(PhantomConfig(n=20_000))
    numbers = table.select_dtypes("number").drop(columns=["dmfs_months", "dmfs_event", "bone_metastasis"])
    assert numbers.corrwith(pd.Series(factor), method="spearman").abs().max() < 0.03


def test_five_thousand_rows_take_seconds():
    make_table(PhantomConfig(n=12))  # calibration, once a process
    start = time.process_time()
    table, _ = make_table(PhantomConfig(n=5000))
    assert len(table) == 5000
    print(f"5,000 rows: {time.process_time() - start:.2f} s")
