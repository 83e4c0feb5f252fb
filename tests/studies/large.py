"""A large cohort: does gradient boosting reach the Bayes-optimal AUC when it is given what was planted?"""

from typing import Any

import numpy as np

from bonemet_jax.cohort.folds import make_folds
from bonemet_jax.config import FoldsConfig, PhantomConfig
from bonemet_jax.fusion.classifiers import list_candidates, make_classifier
from bonemet_jax.schema import LABEL, PATIENT_ID
from bonemet_jax.stats.roc import compute_auc, compute_auc_delong
from data_pipelines.phantom import risk
from data_pipelines.phantom.tabular import draw_cohort


def study_planted_factors(n: int = 5000, seed: int = 0) -> dict[str, Any]:
    """Pooled three-fold test AUC of gradient boosting on the planted covariates and the texture factor themselves.

    Hyper-parameters are chosen on each fold's validation patients, as the run does.
    """
    table, texture, _ = draw_cohort(PhantomConfig(n=n, seed=seed))
    values = table.assign(histology_ductal=(table["histology"] == "ductal").astype(float), texture=texture)
    x = values[[*risk.LOG_HAZARD_RATIOS, "texture"]].to_numpy(float)
    label, ids = table[LABEL].to_numpy(int), table[PATIENT_ID].tolist()
    folds = make_folds(ids, label.tolist(), FoldsConfig())
    score = np.full(n, np.nan)
    chosen = []
    for fold in range(folds.n_folds):
        train, val, test = ([i for i, p in enumerate(ids) if folds.split_of(p, fold) == split]
                            for split in ("train", "val", "test"))
        tried = [make_classifier("gbdt", s).fit(x[train], label[train], 0) for s in list_candidates("gbdt")]
        best = int(np.argmax([compute_auc(label[val], model.score(x[val])) for model in tried]))
        score[test] = tried[best].score(x[test])
        chosen.append(list_candidates("gbdt")[best])
    found = compute_auc_delong(label, score)
    bayes = risk.bayes_auc("repaired", null=False)["both"]
    own = risk.log_hazard(table) + risk.calibrate().texture_log_hr * texture
    return {"n": n, "auc": found.auc, "ci95": found.ci95, "bayes_auc": bayes, "gap": bayes - found.auc,
            "auc_of_the_planted_risk_on_these_patients": compute_auc(label, own), "chosen": chosen}
