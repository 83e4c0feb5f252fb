"""The TRIPOD+AI sheet: what the run knows is filled in, what only its authors know is left to them, and says so.

Source: Collins et al., "TRIPOD+AI statement", BMJ 385 (2024) e078378; numbers are its items, topics in our words.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bonemet_jax.report.formats import format_interval, format_number
from bonemet_jax.report.sources import RunFacts
from bonemet_jax.report.tables import Cell, Table

AUTHOR = "author must fill"
_NOT_KNOWN = "not known to this run"


def make_tripod_table(facts: RunFacts) -> Table:
    """One row an item: number, topic, what the run says of it."""
    rows = tuple((Cell(item), Cell(topic), Cell(answer(facts))) for item, topic, answer in _ITEMS)
    n_open = sum(row[2].text == AUTHOR for row in rows)
    note = f"{len(rows) - n_open} of {len(rows)} items filled from the run's own files; {n_open} are its authors'."
    return Table("TRIPOD+AI", ("Item", "Topic", "This run"), rows, (note,), may_break=True, n_text=3)


def _author(_facts: RunFacts) -> str:
    return AUTHOR


def _say(text: str) -> Callable[[RunFacts], str]:
    return lambda _facts: text


def _config(facts: RunFacts) -> Mapping[str, Any]:
    return (facts.config or {}).get("config", {})


def _participants(facts: RunFacts) -> str:
    roc = facts.stats.get("roc")
    return f"{roc['n_patients']} patients, {roc['n_positive']} with the outcome; Table 1" if roc else _NOT_KNOWN


def _source(facts: RunFacts) -> str:
    kind = (facts.cohort or {}).get("kind")
    return {"synthetic": "synthetic cohort, drawn by a program (phantom section of the settings)",
            "real": f"real cohort, intake manifest at hand; origin and dates: {AUTHOR}"}.get(str(kind), _NOT_KNOWN)


def _missing(facts: RunFacts) -> str:
    table1 = facts.stats.get("table1")
    if table1 is None:
        return _NOT_KNOWN
    n = sum(sum(variable["n_missing"]) for variable in table1["variables"])
    return (f"{n} missing clinical values; filled by the median or mode of each training part (models/fold_k.json), "
            "left out of Table 1")


def _folds(facts: RunFacts) -> str:
    folds = _config(facts).get("folds")
    if not folds:
        return _NOT_KNOWN
    return (f"{folds['n_folds']} stratified folds, {100 * folds['val_fraction']:.0f} % of each training part "
            "validates; folds.json; no external data")


def _methods(facts: RunFacts) -> str:
    config = _config(facts)
    if not config:
        return _NOT_KNOWN
    mask_bias = "on" if config["model"]["mask_bias"]["enabled"] else "off"
    return (f"{config['model']['network']} with mask bias {mask_bias}, "
            f"{config['train']['epochs']} epochs; {', '.join(config['fusion']['classifiers'])} on "
            f"{', '.join(config['fusion']['feature_sets'])}, mode {config['fusion'].get('mode', 'paper')}; Settings")


def _imbalance(facts: RunFacts) -> str:
    weight = _config(facts).get("train", {}).get("class_weight")
    return f"network loss weighted: {weight}; classifiers weigh both classes alike, nothing is resampled; recalibrated"


def _performance(facts: RunFacts) -> str:
    rows = facts.stats.get("roc", {}).get("rows", [])
    found = next((r for r in rows if (r["feature_set"], r["classifier"], r["split"]) == ("both", "gbdt", "test")), None)
    if found is None:
        return _NOT_KNOWN
    return (f"GBDT on imaging and clinical data, test AUC {format_number(found['auc'])} "
            f"{format_interval(found['auc_ci95_delong'])}; Tables 3 and 4, calibration, decision curves")


def _code(facts: RunFacts) -> str:
    version = facts.versions.get("bonemet_jax") or facts.versions.get("bonemet-jax")
    return f"bonemet_jax {version or ''}, config fingerprint {(facts.config or {}).get('fingerprint', _NOT_KNOWN)}"


_ITEMS: tuple[tuple[str, str, Callable[[RunFacts], str]], ...] = (
    ("1", "Title: a prediction model, its outcome and population", _author),
    ("2", "Abstract", _author),
    ("3a", "Health context and reason for the model", _author),
    ("3b", "Whom it is for and how it would be used", _author),
    ("3c", "Known inequalities between groups of patients", _author),
    ("4", "Objectives: development or evaluation", _say("development with internal cross-validation")),
    ("5a", "Sources of data", _source),
    ("5b", "Dates of data", _author),
    ("6a", "Setting and centres", _author),
    ("6b", "Who was eligible", _author),
    ("6c", "Treatments received", _say("endocrine, radio- and chemotherapy as recorded: Table 1")),
    ("7", "Data preparation", _say("one T11 slice a patient on an isotropic grid, LBP and HOG channels; Images")),
    ("8a", "Outcome and its time horizon", _say("bone metastasis 0/1; distant-metastasis-free survival, months")),
    ("8b", "Who assessed the outcome", _author),
    ("8c", "Blinding of that assessment", _author),
    ("9a", "Choice of predictors", _say("24 clinical variables, screened by Lasso-Cox in each training part; X1..Xn")),
    ("9b", "Definition of predictors", _say("docs/clinical-table.md; areas in cm2, indices in cm2/m2")),
    ("9c", "Who assessed them, how alike", _author),
    ("10", "Sample size and why", _participants),
    ("11", "Missing data", _missing),
    ("12a", "How data were divided", _folds),
    ("12b", "How predictors were handled", _say("continuous as they are, categories one a level; SVM standardises")),
    ("12c", "Type of model, building, tuning", _methods),
    ("12d", "Differences between clusters", _say("one cohort, none modelled")),
    ("12e", "Measures of performance", _say("AUC, calibration, net benefit, sensitivity and specificity, intervals")),
    ("12f", "Model updating", _say("recalibration learned on training and validation rows")),
    ("12g", "How predictions are computed", _say("`bonemet predict`; models/ and fold_k/checkpoints of the run")),
    ("13", "Class imbalance", _imbalance),
    ("14", "Fairness between groups", _author),
    ("15", "Output of the model", _say("a score in [0, 1] and a threshold chosen without test patients")),
    ("16", "Training against evaluation data", _say("the same cohort, patients apart; Leakage meter")),
    ("17", "Ethical approval", _author),
    ("18a-d", "Funding, conflicts, protocol, registration", _author),
    ("18e", "Data availability", _author),
    ("18f", "Code", _code),
    ("19", "Involvement of patients and public", _author),
    ("20a", "Flow of participants", _participants),
    ("20b", "Characteristics, missing values by group", _say("Table 1")),
    ("20c", "Development against evaluation data", _say("one cohort; every patient is tested once")),
    ("21", "Numbers in each analysis", _participants),
    ("22", "Full model", _say("models/fold_k.json and .ubj; Table 2 for the Cox model")),
    ("23a", "Performance with intervals", _performance),
    ("23b", "Heterogeneity between clusters", _say("AUC by fold, mean and SD: Tables 3 and 4")),
    ("24", "Results of updating", _say("raw beside recalibrated: Calibration and clinical use")),
    ("25", "Interpretation", _author),
    ("26", "Limitations", _say("Limits, below; more: " + AUTHOR)),
    ("27a-c", "Usability: poor input, user interaction, next steps", _author),
)
