"""gradcam.json: how much of the network's Grad-CAM lies in which tissue, beside the tissue's share of the picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from bonemet_jax.stats.bootstrap import compute_percentile_interval, draw_patients
from bonemet_jax.stats.estimable import NotEstimableError
from bonemet_jax.stats.plain import make_plain

_N_DRAWS, _SEED = 2000, 0
_NOTES = (
    "Each patient's maps come from the network of the fold that holds the patient out.",
    "For: where the network's logit of bone metastasis is raised (Grad-CAM). Against: where it is lowered "
    "(its counterfactual).",
    "Enrichment: mean share of the map over mean share of the picture; 1 is a map without preference.",
    f"Intervals are percentiles of {_N_DRAWS} bootstrap draws of patients, stratified by outcome. They tell how far "
    "other patients would move the figure, not other trainings.",
)
_MEASURES = ("share", "area_share", "difference", "enrichment")


def compute_gradcam_results(arrays: Mapping[str, Any], n_draws: int = _N_DRAWS, seed: int = _SEED) -> dict[str, Any]:
    """Mean shares of every kind of evidence, stage and region, with patient bootstrap 95 % intervals.

    Args:
        arrays: Of gradcam.npz (docs/contracts.md).
        n_draws: Bootstrap draws, shared by all rows.
        seed: Of the draws.

    A map that is zero everywhere has no shares: its patient is left out of that row and counted in n_missing.
    """
    label = arrays["label"]
    try:
        weight, reason = draw_patients(label, n_draws, seed).weight.astype(float), None
    except NotEstimableError as error:
        weight, reason = np.empty((0, len(label))), f"no interval: {error.what}"
    rows = [
        {"evidence": evidence, "stage": stage, "region": region,
         **_compare(arrays["share"][e, s, :, r], arrays["area_share"][:, r], weight, reason)}
        for e, evidence in enumerate(arrays["evidence"].tolist())
        for s, stage in enumerate(arrays["stage"].tolist())
        for r, region in enumerate(arrays["region"].tolist()) if arrays["area_share"][:, r].any()
    ]
    found = {row["region"] for row in rows}
    named = zip(arrays["region"].tolist(), arrays["region_label"].tolist(), strict=True)
    return make_plain({
        "n_patients": len(label), "n_bootstrap": n_draws, "stages": arrays["stage"], "rows": rows,
        "regions": [{"name": name, "label": told} for name, told in named if name in found],
        "for_share": _weigh_evidence(arrays["stage"].tolist(), arrays["mass"]), "notes": _NOTES,
    })


def _compare(
    share: Float[np.ndarray, " patient"], area: Float[np.ndarray, " patient"],
    weight: Float[np.ndarray, "draw patient"], reason: str | None,
) -> dict[str, Any]:
    """Means over the patients who have a map, and the spread of the same over the draws."""
    known = np.isfinite(share)
    n, missing = int(known.sum()), int((~known).sum())
    found: dict[str, Any] = {"n": n, "n_missing": missing}
    if n == 0:
        names = [*_MEASURES, *(f"{name}_ci95" for name in _MEASURES)]
        return found | dict.fromkeys(names) | {"reason": "every map is zero everywhere"}
    values = _measure(np.ones((1, n)), share[known], area[known])
    spread = _measure(weight[:, known], share[known], area[known])
    for name, value, drawn in zip(_MEASURES, values[:, 0], spread, strict=True):
        found |= {name: value, f"{name}_ci95": compute_percentile_interval(drawn) if reason is None else None}
    left_out = f"the map of {missing} patients is zero everywhere" if missing else None
    return found | {"reason": reason or left_out}


def _measure(
    weight: Float[np.ndarray, "draw patient"], share: Float[np.ndarray, " patient"], area: Float[np.ndarray, " patient"]
) -> Float[np.ndarray, "measure draw"]:
    """_MEASURES of every draw; NaN where a draw holds nobody, or no such tissue."""
    total = weight.sum(1)
    means = [np.divide(weight @ x, total, out=np.full(total.shape, np.nan), where=total > 0) for x in (share, area)]
    ratio = np.divide(*means, out=np.full(total.shape, np.nan), where=means[1] > 0)
    return np.stack([*means, means[0] - means[1], ratio])


def _weigh_evidence(stages: Sequence[str], mass: Float[np.ndarray, "evidence stage patient"]) -> dict[str, float]:
    """Mean share of what speaks for bone metastasis in a stage's map, of both kinds of evidence together."""
    total = mass.sum(0)
    share = np.divide(mass[0], total, out=np.full(total.shape, np.nan), where=total > 0)
    return {stage: float(np.nanmean(own)) if np.isfinite(own).any() else np.nan
            for stage, own in zip(stages, share, strict=True)}
