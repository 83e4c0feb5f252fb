"""gradcam.json against means by hand and a plain loop over resampled patients."""

import json
from typing import Any

import numpy as np
import pytest

from bonemet_jax.stats.bootstrap import draw_patients
from bonemet_jax.stats.gradcam_results import compute_gradcam_results

N = 30


def _draw() -> dict[str, Any]:
    """Thirty patients, two stages, three regions, of which the last is nobody's; two maps are zero everywhere."""
    random = np.random.default_rng(0)
    share = np.concatenate([random.dirichlet((3, 1), (2, 2, N)), np.zeros((2, 2, N, 1))], axis=-1)
    area = np.concatenate([random.dirichlet((1, 4), N), np.zeros((N, 1))], axis=-1)
    share[0, 1, [4, 9]] = np.nan
    return {"evidence": np.array(["for", "against"]), "stage": np.array(["stage1", "stage2"]), "share": share,
            "region": np.array(["sat", "body", "fat_unsegmented"]), "area_share": area, "label": np.arange(N) % 3 == 0,
            "region_label": np.array(["subcutaneous fat", "rest", "unsegmented"]),
            "mass": random.gamma(2, size=(2, 2, N))}  # fmt: skip


def _row(results: dict[str, Any], *key: str) -> dict[str, Any]:
    return next(row for row in results["rows"] if (row["evidence"], row["stage"], row["region"]) == key)


def test_means_and_intervals_are_those_of_a_plain_loop() -> None:
    arrays = _draw()
    row = _row(compute_gradcam_results(arrays, n_draws=400, seed=3), "against", "stage1", "sat")
    share, area = arrays["share"][1, 0, :, 0], arrays["area_share"][:, 0]
    assert (row["n"], row["n_missing"], row["reason"]) == (N, 0, None)
    assert row["share"] == pytest.approx(share.mean()) and row["area_share"] == pytest.approx(area.mean())
    assert row["difference"] == pytest.approx((share - area).mean())
    assert row["enrichment"] == pytest.approx(share.mean() / area.mean())
    drawn = []
    for weight in draw_patients(arrays["label"], 400, 3).weight.astype(int):
        rows = np.repeat(np.arange(N), weight)
        drawn.append((share[rows].mean(), (share[rows] - area[rows]).mean(), share[rows].mean() / area[rows].mean()))
    for name, values in zip(("share", "difference", "enrichment"), zip(*drawn, strict=True), strict=True):
        np.testing.assert_allclose(row[f"{name}_ci95"], np.percentile(values, (2.5, 97.5)), rtol=1e-9)


def test_patients_without_a_map_are_counted_and_left_out_of_both_means() -> None:
    arrays = _draw()
    row = _row(compute_gradcam_results(arrays, n_draws=50), "for", "stage2", "sat")
    known = np.isfinite(arrays["share"][0, 1, :, 0])
    assert (row["n"], row["n_missing"]) == (28, 2) and row["reason"] == "the map of 2 patients is zero everywhere"
    assert row["share"] == pytest.approx(arrays["share"][0, 1, known, 0].mean())
    assert row["area_share"] == pytest.approx(arrays["area_share"][known, 0].mean())


def test_where_every_map_is_zero_no_number_is_made_up() -> None:
    arrays = _draw()
    arrays["share"][0, 0] = np.nan
    row = _row(compute_gradcam_results(arrays, n_draws=50), "for", "stage1", "body")
    assert (row["n"], row["n_missing"], row["reason"]) == (0, N, "every map is zero everywhere")
    assert row["share"] is row["share_ci95"] is row["enrichment"] is None


def test_one_class_has_means_without_intervals() -> None:
    results = compute_gradcam_results(_draw() | {"label": np.zeros(N, int)}, n_draws=50)
    row = _row(results, "for", "stage1", "sat")
    assert row["share"] is not None and row["share_ci95"] is None
    assert row["reason"] == "no interval: label has only one class"


def test_regions_keep_their_order_and_those_of_nobody_are_left_out() -> None:
    arrays = _draw()
    results = compute_gradcam_results(arrays, n_draws=50)
    assert [region["name"] for region in results["regions"]] == ["sat", "body"] and len(results["rows"]) == 8
    assert results["n_patients"] == N and results["n_bootstrap"] == 50
    for s, stage in enumerate(("stage1", "stage2")):
        want = (arrays["mass"][0, s] / arrays["mass"][:, s].sum(0)).mean()
        assert results["for_share"][stage] == pytest.approx(want)
    json.dumps(results, allow_nan=False)
