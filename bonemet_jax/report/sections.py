"""The page's text: sections of paragraphs, tables and figures, made from a run's facts."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bonemet_jax import schema
from bonemet_jax.report import calibration_figures, clinical_use_tables, figures, tables
from bonemet_jax.report import gradcam_figure as figure6
from bonemet_jax.report.blocks import Block, Bullets, Figure, Missing, Section, Text, make_photo, present
from bonemet_jax.report.channel_pictures import make_channel_pictures
from bonemet_jax.report.contributions_figure import draw_contributions
from bonemet_jax.report.formats import format_device, format_interval, format_label, format_number
from bonemet_jax.report.leakage import draw_leakage, make_leakage_table
from bonemet_jax.report.own_audit import describe_own_audit, make_findings_tables
from bonemet_jax.report.related_work import make_related_table
from bonemet_jax.report.sources import RunFacts
from bonemet_jax.report.tripod import make_tripod_table


def make_sections(facts: RunFacts) -> list[Section]:
    """Every section of the page, in order; a part without its file says so instead of vanishing."""
    makers: tuple[tuple[str, Callable[[RunFacts], Iterator[Block]]], ...] = (
        ("Summary", _summary),
        ("Patients", _patients),
        ("Images", _images),
        ("The network", _network),
        ("Where the network looks", _looking),
        ("Nine models", _models),
        ("What the gradient boosting uses", _contributions),
        ("Calibration and clinical use", _clinical_use),
        ("Leakage meter", _leakage),
        ("Planted truth", _planted),
        ("Survival", _survival),
        ("Network features and clinical data", _correlation),
        ("Whether the tables agree", _agreement),
        ("How to read the numbers", _reading),
        ("How this run was made", _making),
        ("Reporting sheet", lambda facts: iter([make_tripod_table(facts)])),
        ("Limits", _limits),
    )
    return [Section(title, tuple(make(facts))) for title, make in makers]


def is_synthetic(cohort: Mapping[str, Any] | None) -> bool:
    """True when the cohort's manifest says that it was drawn, not collected."""
    return cohort is not None and cohort.get("kind") == "synthetic"


# --- Building blocks ----------------------------------------------------------------------------------


def _stat(
    facts: RunFacts, name: str, title: str, make: Callable[[Mapping[str, Any]], Iterator[Block]]
) -> Iterator[Block]:
    if name in facts.stats:
        yield from make(facts.stats[name])
    else:
        yield Missing(title, facts.missing[name])


# --- Sections -----------------------------------------------------------------------------------------


def _summary(facts: RunFacts) -> Iterator[Block]:
    def lines(roc: Mapping[str, Any]) -> Iterator[Block]:
        yield Text(f"{roc['n_patients']} patients, {roc['n_positive']} with bone metastasis. Every patient is tested "
                   "once, by models that never saw that patient; AUC over the pooled test patients, 95 % interval by "
                   "DeLong's method:")
        found = [(f, c, tables.find_test_row(roc, f, c)) for f, c in tables.SUMMARY_MODELS]
        yield Bullets(tuple(
            f"{tables.name_model(f, c)}: {format_number(row['auc'])} "
            f"{format_interval(row['auc_ci95_delong'])}" for f, c, row in found if row is not None
        ))

    yield from _stat(facts, "roc", "Discrimination", lines)


def _patients(facts: RunFacts) -> Iterator[Block]:
    yield from _stat(facts, "table1", "Table 1", lambda stats: iter([tables.make_table1(stats)]))


def _images(facts: RunFacts) -> Iterator[Block]:
    if facts.overlays:
        photos = tuple(make_photo(path, f"CT slice {path.stem} with tissue outlines") for path in facts.overlays)
        yield Figure("overlays", "Figure 1. Tissue masks on the T11 slice: " + ", ".join(p.stem for p in facts.overlays)
                     + ".", photos)
    else:
        yield Missing("Figure 1, tissue overlays", facts.missing["overlays"])
    flags = (facts.cohort or {}).get("flags")
    if flags:
        told = (f"{code}: {count}" for code, count in sorted(flags.items(), key=lambda item: (-item[1], item[0])))
        yield Text(f"Quality flags of intake, slices each (docs/verdicts.md): {', '.join(told)}. Areas that the field "
                   "of view cuts count as missing.")
    if facts.near_duplicates is None:
        yield Missing("Near-duplicates", facts.missing["near_duplicates"])
    else:
        yield Text(_near_duplicates_statement(facts.near_duplicates))
    if facts.example is None:
        yield Missing("Figure 2, LBP and HOG pictures", facts.missing["example"])
    else:
        channels = make_channel_pictures(facts.example["hu"], facts.example["tissue"])
        yield present("channels", "Figure 2. The four input channels of one patient, on the grid of the slice: CT "
                      f"window {schema.CT_WINDOW_HU[0]} to {schema.CT_WINDOW_HU[1]} HU, local binary pattern, "
                      "histogram of oriented gradients, fat mask.",
                      "CT, LBP, HOG and mask pictures of one slice", figures.draw_channels(channels))


def _near_duplicates_statement(counts: Mapping[str, Any]) -> str:
    n, n_pairs = counts["n"], counts["n_pairs"]
    if not n_pairs:
        return f"No two of {n} patients share an image; flipped, moved and slightly changed copies were looked for."
    return (f"Pairs of patients who share an image, of {n} patients: {n_pairs}, {counts['n_exact']} in every pixel "
            "(near_duplicates.json). Both stand together in every fold, but each counts as a patient of its own.")


def _network(facts: RunFacts) -> Iterator[Block]:
    if facts.metrics:
        yield tables.make_training_table(facts.metrics, facts.timing)
        yield present("loss", "Figure S1. Loss of each fold's network; the test patients are in neither curve.",
                      "Training and validation loss by epoch, one panel a fold",
                      figures.draw_loss_curves(facts.metrics))
    else:
        yield Missing("Training curves", facts.missing["training"])
    yield Text(_weights_statement(facts))

    def roc_blocks(roc: Mapping[str, Any]) -> Iterator[Block]:
        if tables.find_test_row(roc, "imaging", "network") is None:
            yield Missing("The network alone", "not available: roc.json has no row for the network's own score")
            return
        yield tables.make_network_table(roc)
        yield present("roc_network", "Figure 4a. ROC of the network's own score.",
                      "ROC curves of the network in training, validation and test", figures.draw_network_roc(roc))

    yield from _stat(facts, "roc", "The network alone", roc_blocks)


def _weights_statement(facts: RunFacts) -> str:
    model = (facts.config or {}).get("config", {}).get("model", {})
    given = model.get("weights")
    if given:
        return f"The network started from pretrained weights: {given}."
    return ("No pretrained weights: the network started from random weights (He-normal). The paper's started from "
            "ImageNet weights, so its figures and these are not like for like.")


def _looking(facts: RunFacts) -> Iterator[Block]:
    yield Text("Grad-CAM marks where feature maps raise the network's logit of bone metastasis, its counterfactual "
               "where they lower it. Both must be read: a network may know patients by what is missing, and then only "
               "the counterfactual shows where it looks. Maps of early stages are finer, but less bound to the outcome."
               " A map shows where a score comes from, not that it is right.")
    if facts.cams is None:
        yield Missing("Figure 6, Grad-CAM", facts.missing["cams"])
    else:
        for letter, evidence, does in (("a", "for", "raises"), ("b", "against", "lowers")):
            yield present(f"gradcam_{evidence}", f"Figure 6{letter}. What {does} the score, stage by stage: in each "
                          "fold the test patient with the highest score and the one with the lowest.",
                          f"CT slices under maps of what {does} the score", figure6.draw_gradcam(facts.cams, evidence))
    if facts.gradcam is None:
        yield Missing("Grad-CAM by tissue", facts.missing["gradcam"])
    else:
        yield present("gradcam_shares", "Figure 6c. Share of the maps in each tissue beside the tissue's share of the "
                      "picture: means over test patients, 95 % intervals.",
                      "Share of Grad-CAM in each tissue, one panel a stage",
                      figure6.draw_gradcam_shares(facts.gradcam))
        yield tables.make_gradcam_table(facts.gradcam)


def _models(facts: RunFacts) -> Iterator[Block]:
    def blocks(roc: Mapping[str, Any]) -> Iterator[Block]:
        yield tables.make_models_table(roc)
        yield present("roc_classifiers", "Figure 4b. ROC of classifiers and feature sets, pooled test patients.",
                      "ROC curves, one panel a classifier, one line a feature set", figures.draw_classifier_roc(roc))
        yield from (tables.make_paired_table(roc), make_related_table(roc))

    yield from _stat(facts, "roc", "Tables 4 and 5, ROC curves", blocks)
    if facts.models:
        yield Bullets(tuple(
            f"Fold {fold}: {model['screening_reason']} ({', '.join(model['screened_columns'])})."
            for fold, model in facts.models.items()
        ))
    else:
        yield Missing("Screening", facts.missing["models"])


def _contributions(facts: RunFacts) -> Iterator[Block]:
    summary = (facts.shap or {}).get("both")
    if summary is None:
        yield Missing("SHAP values", facts.missing.get("shap", "not available: no gradient boosting on both"))
        return
    yield present("shap", "Mean |SHAP| of the gradient boosting on imaging and clinical data, test patients. "
                  + " ".join(summary["notes"]), "Bars of mean absolute SHAP values, all folds and each fold",
                  draw_contributions(summary))


def _leakage(facts: RunFacts) -> Iterator[Block]:
    def blocks(leakage: Mapping[str, Any]) -> Iterator[Block]:
        if not leakage["rows"]:
            yield Missing("Leakage meter", f"not available: {leakage['reason']}")
            return
        yield make_leakage_table(leakage)
        yield present("leakage", "Optimism of every model, 95 % intervals.", "Optimism of models, one mark a mode",
                      draw_leakage(leakage))
        if leakage["reason"]:
            yield Missing("Cross-fitted mode beside it", f"not available: {leakage['reason']}")

    yield from _stat(facts, "leakage", "Leakage meter", blocks)


def _clinical_use(facts: RunFacts) -> Iterator[Block]:
    def calibration_blocks(calibration: Mapping[str, Any]) -> Iterator[Block]:
        yield clinical_use_tables.make_calibration_table(calibration)
        if any(row["raw"] for row in calibration["rows"]):
            yield present("calibration", "Calibration on test patients: observed share by predicted probability. "
                          "Points are tenths of the patients with 95 % intervals, lines are smoothed with 95 % bands, "
                          "the diagonal is perfect.", "Calibration curves, one panel a model",
                          calibration_figures.draw_calibration(calibration))

    def decision_blocks(decision: Mapping[str, Any]) -> Iterator[Block]:
        if decision["reason"]:
            yield Missing("Decision curves", f"not available: {decision['reason']}")
            return
        yield present("decision_curve", "Decision curves on test patients, recalibrated probabilities: net benefit "
                      "over the prevalence, 95 % bands. A model is of use at a threshold where it lies above both "
                      "treating all and treating none.", "Decision curves, one panel a classifier",
                      calibration_figures.draw_decision_curve(decision))
        yield clinical_use_tables.make_net_benefit_table(decision)

    yield from _stat(facts, "calibration", "Calibration", calibration_blocks)
    yield from _stat(facts, "decision_curve", "Decision curves", decision_blocks)


def _planted(facts: RunFacts) -> Iterator[Block]:
    def blocks(planted: Mapping[str, Any]) -> Iterator[Block]:
        if not planted["synthetic"]:
            yield Missing("Planted truth", f"not available: {planted.get('reason') or 'the cohort is not synthetic'}")
            return
        yield Text("The synthetic cohort was drawn with a known risk. The Bayes-optimal AUC is what the true risk "
                   "itself reaches on the same features; a model can pass it by chance only."
                   + (" This is a null cohort: the outcome depends on nothing." if planted["null_cohort"] else ""))
        yield tables.make_planted_table(planted)
        if any(row["auc"] is not None for row in planted["rows"]):
            yield present("planted", "Test AUC beside the Bayes-optimal AUC.", "Test AUC and Bayes-optimal AUC",
                          figures.draw_planted(planted))
        if planted["hazard_ratios"]:
            yield tables.make_planted_hazard_table(planted)
        else:
            yield Missing("Planted hazard ratios", f"not available: {planted['hazard_ratios_reason']}")

    yield from _stat(facts, "planted", "Planted truth", blocks)


def _survival(facts: RunFacts) -> Iterator[Block]:
    yield from _stat(facts, "table2", "Table 2", lambda stats: iter([tables.make_table2(stats)]))

    def km_blocks(km: Mapping[str, Any]) -> Iterator[Block]:
        yield tables.make_cutoff_table(km)
        drawn = [c for c in km["cutoffs"] if c["groups"]]
        if not drawn:
            yield Missing("Figure 7, Kaplan-Meier", "not available: no cut-off splits the cohort into groups")
            return
        yield present("kaplan_meier", f"Figure 7. Distant-metastasis-free survival by {format_label(km['label'])}. "
                      "Bands are 95 % intervals, ticks are censored patients, the numbers below are patients at risk.",
                      "Kaplan-Meier curves with patients at risk", figures.draw_kaplan_meier(km))
        yield from (tables.make_survival_table(cutoff) for cutoff in drawn)

    yield from _stat(facts, "km", "Kaplan-Meier", km_blocks)


def _correlation(facts: RunFacts) -> Iterator[Block]:
    def blocks(correlation: Mapping[str, Any]) -> Iterator[Block]:
        yield present("correlation", f"Figure 5. Pearson r of network features and clinical columns, n = "
                      f"{correlation['n']}; absolute values of 0.3 and more are printed. Grey: a constant column has "
                      "no r. The pooled values are in report.json.",
                      "Heat map of correlations", figures.draw_correlation(correlation))
        yield Bullets(tuple(correlation["notes"]))

    yield from _stat(facts, "correlation", "Figure 5, Pearson heat map", blocks)


def _agreement(facts: RunFacts) -> Iterator[Block]:
    yield from _stat(facts, "own_audit", "Audit of the own tables",
                     lambda own: iter([Text(describe_own_audit(own)), *make_findings_tables(own)]))


def _reading(facts: RunFacts) -> Iterator[Block]:
    yield Bullets((
        "Fitting sees the training patients of a fold, choosing sees its validation patients too, the test patients "
        "are scored once.",
        "Pooled ACC, SENS and SPEC count each fold's own decisions: its threshold is applied unchanged to all three "
        "cohorts.",
        "Lasso-Cox screens the clinical columns inside each training part. Classifiers weigh both classes alike; their "
        "scores rank patients and are not calibrated probabilities.",
        "As published, a network's training patients also train the classifiers. Their scores are over-fitted, so "
        "training performance, and a threshold chosen on it, look better than they are.",
        *facts.stats.get("roc", {}).get("notes", ()),
    ))
    yield Text("Numbers of tables and figures follow the paper (doi 10.3233/CBM-230219): its figure 3 is a flow chart.")


def _making(facts: RunFacts) -> Iterator[Block]:
    if facts.config is None:
        yield Missing("Config", facts.missing["config"])
    else:
        yield Text(f"Config fingerprint {facts.config['fingerprint']}.")
        yield tables.make_config_table(facts.config["config"])
    devices = sorted({format_device(timing) for timing in facts.timing.values()})
    yield Text(f"Trained on: {', '.join(devices) if devices else 'not available: no fold has written its timing'}. "
               "Versions: " + ", ".join(f"{name} {version}" for name, version in facts.versions.items()) + ".")
    if facts.stage_seconds:
        yield tables.make_stages_table(facts.stage_seconds)
    else:
        yield Missing("Wall time of each stage", "not available: no stage has been stamped")


def _limits(facts: RunFacts) -> Iterator[Block]:
    n_positive = facts.stats.get("roc", {}).get("n_positive")
    items = [
        "Research software. Not a medical device: no figure here may guide the care of a patient.",
        "One slice a patient, one cohort, internal cross-validation only; no external test.",
        "The paper's patients are not public. Its printed figures stand beside ours for orientation; they come from "
        "other patients and cannot be reproduced or refuted here.",
    ]
    if is_synthetic(facts.cohort):
        items.insert(1, "Synthetic patients: results show what the method finds of what was planted, nothing about "
                        "disease.")
    if n_positive is not None:
        items.append(f"{n_positive} patients with bone metastasis: intervals are wide, small differences mean nothing.")
    yield Bullets(tuple(items))
