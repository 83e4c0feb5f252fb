"""Cox and Lasso-Cox as a user of scikit-survival writes them (GPL-3: imported here and in bonemet_jax.stats alone)."""

import warnings

import numpy as np
from jaxtyping import Bool, Float
from sklearn.model_selection import StratifiedKFold
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

Times = Float[np.ndarray, " patient"]
Events = Bool[np.ndarray, " patient"]
Table = Float[np.ndarray, "patient covariate"]


def fit_cox_sksurv(time: Times, event: Events, x: Table) -> Float[np.ndarray, " covariate"]:
    """Coefficients of an unpenalised Cox model, Efron's ties; no standard errors, which it does not offer."""
    return CoxPHSurvivalAnalysis(ties="efron").fit(x, Surv.from_arrays(event, time)).coef_


def fit_lasso_sksurv(
    time: Times, event: Events, x: Table, penalties: Float[np.ndarray, " penalty"]
) -> Float[np.ndarray, "penalty covariate"]:
    """Path of the Lasso on standardised columns, and a choice of the penalty by concordance in ten folds.

    Its own tolerance. The choice is made, as in its user guide, and dropped: the path is what is compared.
    """
    z, outcome = (x - x.mean(axis=0)) / x.std(axis=0), Surv.from_arrays(event, time)
    worth = np.zeros(penalties.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "all coefficients are zero" at the largest penalties
        for kept, held_out in StratifiedKFold(10, shuffle=True, random_state=0).split(z, event):
            model = _fit_path(z[kept], outcome[kept], penalties)
            risk = z[held_out] @ model.coef_
            worth[: risk.shape[1]] += [
                concordance_index_censored(event[held_out], time[held_out], column)[0] for column in risk.T
            ]
        return _fit_path(z, outcome, penalties).coef_.T / x.std(axis=0)


def _fit_path(z: np.ndarray, outcome: np.ndarray, penalties: np.ndarray) -> CoxnetSurvivalAnalysis:
    return CoxnetSurvivalAnalysis(l1_ratio=1.0, alphas=penalties).fit(z, outcome)
