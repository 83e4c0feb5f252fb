"""Bars of mean |SHAP|: largest on top, network features told apart, any number of folds."""

from typing import Any

import pytest

from bonemet_jax.report.contributions_figure import draw_contributions


def _make_summary(n_folds: int) -> dict[str, Any]:
    features = [{"name": name, "label": name, "mean_abs": 0.5 / (i + 1)}
                for i, name in enumerate(("lvi", "X3", "X1", "sfi_cm2_m2"))]  # fmt: skip
    rows = [{"name": name, "label": name, "mean_abs": mean, "mean_abs_folds": [own] * n_folds}
            for name, mean, own in (("imaging", 0.6, 0.5), ("lvi", 0.2, None))]  # fmt: skip
    return {"n_patients": 431, "rows": rows, "folds": [{"n": 144, "features": features}] * n_folds}


@pytest.mark.parametrize("n_folds", [1, 3, 5])
def test_equal_numbers_give_equal_bytes(n_folds: int) -> None:
    drawing = draw_contributions(_make_summary(n_folds))
    assert drawing == draw_contributions(_make_summary(n_folds)) and b"<text" not in drawing
    # Orange bars: the network features together, and X3 and X1 of at most three folds.
    assert drawing.count(b"fill: #d55e00") == 1 + 2 * min(n_folds, 3)
