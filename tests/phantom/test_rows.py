"""The clinical row: consistent with itself, drawn from Table 1."""

import numpy as np
import pytest

from bonemet_jax import schema
from data_pipelines.phantom import marginals, rows


@pytest.fixture(scope="module")
def repaired():
    return rows.draw_rows(np.random.default_rng(3), 40_000, None, 0.0064)


def test_columns_ranges_and_levels(repaired):
    table, _ = repaired
    assert list(table) == [*schema.clinical_names(), "height_m"]
    assert not table.isna().any().any()
    for column in schema.CLINICAL:
        if column.kind == "category":
            assert set(table[column.name]) <= set(column.levels)
        else:
            assert table[column.name].between(column.low, column.high).all(), column.name


def test_indices_are_area_over_height_squared(repaired):
    table, _ = repaired
    for index, area in schema.INDEX_OF_AREA.items():
        np.testing.assert_allclose(table[index], table[area] / table["height_m"] ** 2)


def test_pooled_marginals(repaired):
    table, redrawn = repaired
    assert 0 < redrawn < 0.03 * len(table)
    for name in ("age_years", "bmi_kg_m2", "cea_ng_ml", "esma_cm2", "sfa_cm2", "vfa_cm2"):
        mean, sd, *_ = marginals.pooled_moments(marginals.CONTINUOUS[name])
        assert table[name].mean() == pytest.approx(mean, rel=0.05), name
        assert table[name].std() == pytest.approx(sd, rel=0.12), name
    for name in ("lvi", "ki67_high", "her2", "chemotherapy"):
        assert table[name].mean() == pytest.approx(marginals.pooled_share(name), abs=0.01)
    assert table["ca153_u_ml"].median() == pytest.approx(12, rel=0.03)
    assert table["height_m"].mean() == pytest.approx(1.60, abs=0.005)


def test_plausible_correlations(repaired):
    table, _ = repaired
    assert table["bmi_kg_m2"].corr(table["sfa_cm2"], method="spearman") > 0.6
    assert table["vfa_cm2"].corr(table["sfa_cm2"], method="spearman") > 0.35
    for hidden in ("lvi", "ki67_high", "cea_ng_ml"):  # what risk.py relies on
        for shown in (*rows.AREAS, "bmi_kg_m2", "height_m"):
            assert abs(table[hidden].corr(table[shown], method="spearman")) < 0.025


def test_subtype_follows_the_receptors(repaired):
    table, _ = repaired
    hormone = (table["er"] == 1) | (table["pr"] == 1)
    assert (table.loc[~hormone & (table["her2"] == 0), "subtype"] == "triple_negative").all()
    assert (table.loc[~hormone & (table["her2"] == 1), "subtype"] == "HER2-enriched").all()
    assert table.loc[hormone, "subtype"].isin(["luminal_A", "luminal_B"]).all()


def test_as_printed_has_table_1_by_outcome():
    yes = np.arange(40_000) % 4 == 0
    table, _ = rows.draw_rows(np.random.default_rng(4), yes.size, yes, 0.0064)
    for group, mine in (("no", table[~yes]), ("yes", table[yes])):
        for name in ("age_years", "cea_ng_ml", "sfi_cm2_m2", "esma_cm2", "sfa_cm2", "vfa_cm2"):
            mean, sd = getattr(marginals.CONTINUOUS[name], group)[:2]
            assert mine[name].mean() == pytest.approx(mean, rel=0.05), (name, group)
            assert mine[name].std() == pytest.approx(sd, rel=0.15), (name, group)
        for name in ("lvi", "multifocal", "chemotherapy"):
            assert mine[name].mean() == pytest.approx(marginals.group_share(name, group), abs=0.015)
        shares = mine["subtype"].value_counts(normalize=True)
        for level, share in zip(marginals.SUBTYPE_COUNTS, marginals.subtype_shares(group), strict=True):
            assert shares[level] == pytest.approx(share, abs=0.015)
    # The printed contradiction (paper.md section 2): SFA / SFI of the metastasis group implies 6.7 m2.
    assert table.loc[yes, "sfa_cm2"].mean() / table.loc[yes, "sfi_cm2_m2"].mean() > 6


def test_areas_too_large_or_too_small_for_the_grid_fit_no_body(repaired):
    table, _ = repaired
    row = table.head(3).copy()
    row.loc[0, ["sfa_cm2", "vfa_cm2", "esma_cm2"]] = [500.0, 200.0, 40.0]
    row.loc[1, ["sfa_cm2", "vfa_cm2", "esma_cm2"]] = [150.0, 1.1, 30.0]
    assert rows.fits_body(row, 0.04).tolist() == [False, False, True]
    assert rows.fits_body(row, 0.0064).tolist() == [False, True, True]
