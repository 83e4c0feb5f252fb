"""Do the 95 % intervals of hazard ratios hold the planted ones? The cohort's table alone, one cohort a seed."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bonemet_jax.config import PhantomConfig
from bonemet_jax.progress import track
from bonemet_jax.schema import EVENT, TIME
from bonemet_jax.stats.cox import fit_cox
from bonemet_jax.stats.intervals import compute_wilson
from data_pipelines.phantom import risk
from data_pipelines.phantom.tabular import draw_cohort


def study_coverage(seeds: Iterable[int], n: int = 431) -> dict[str, Any]:
    """Unpenalised Cox (Efron) on every planted covariate, texture factor included: covered intervals, all and by term.

    Leaving the texture out would draw the others towards 1; it is drawn with the cohort, so it is known here.
    """
    planted = risk.LOG_HAZARD_RATIOS | {"texture": risk.calibrate().texture_log_hr}
    names = list(planted)
    covered: list[list[bool]] = []
    estimates: list[list[float]] = []
    for seed in track(list(seeds), "coverage", len(list(seeds))):
        table, texture, _ = draw_cohort(PhantomConfig(n=n, seed=seed))
        values = table.assign(histology_ductal=(table["histology"] == "ductal").astype(float), texture=texture)
        fit = fit_cox(table[TIME], table[EVENT], values[names].to_numpy(float), names)
        covered.append([term.ci95[0] <= np.exp(planted[term.name]) <= term.ci95[1] for term in fit.terms])
        estimates.append([term.coef for term in fit.terms])
    hits = np.array(covered)
    pooled = compute_wilson(int(hits.sum()), hits.size)
    return {
        "n": n, "n_seeds": len(hits), "coverage": pooled.value, "ci95": pooled.ci95,
        "terms": {name: {"coverage": float(hits[:, i].mean()), "planted": planted[name],
                         "mean_coef": float(np.array(estimates)[:, i].mean())} for i, name in enumerate(names)},
    }
