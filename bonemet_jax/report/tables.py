"""Tables of the page: stats/*.json in, rows of text out. Nothing is computed here but rounding (formats.py)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bonemet_jax import schema
from bonemet_jax.published import load_published
from bonemet_jax.report.formats import (
    DASH,
    format_count,
    format_device,
    format_interval,
    format_label,
    format_mean_sd,
    format_number,
    format_p,
    format_percent,
    format_percent_interval,
    format_plain,
    format_seconds,
    format_stage,
)

Json = Mapping[str, Any]
FEATURE_SET_NAMES = {"imaging": "Imaging", "clinical": "Clinical", "both": "Imaging and clinical"}
CLASSIFIER_NAMES = {"gbdt": "GBDT", "svm": "SVM", "rf": "RF", "network": "Network alone"}
#: Feature set and classifier of the models shown first; fixed beforehand, never the best of several.
SUMMARY_MODELS = (("imaging", "network"), ("imaging", "gbdt"), ("clinical", "gbdt"), ("both", "gbdt"))
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
#: How a level of a 0/1 column may be spelt -> as Published.table1_counts spells it.
_BINARY_CODES = {"no": "0", "yes": "1", "0.0": "0", "1.0": "1"}


def name_model(feature_set: str, classifier: str) -> str:
    """As a reader knows it: GBDT, imaging and clinical."""
    return f"{CLASSIFIER_NAMES[classifier]}, {FEATURE_SET_NAMES[feature_set].lower()}"


def find_test_row(roc: Json, feature_set: str, classifier: str) -> Json | None:
    """The model's row of roc.json over the pooled test patients; None where there is none."""
    wanted = (feature_set, classifier, "test")
    return next((r for r in roc["rows"] if (r["feature_set"], r["classifier"], r["split"]) == wanted), None)


@dataclass(frozen=True)
class Cell:
    """A value and, in small print below it, its interval or reason."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """A table as text. A row of one cell is a heading that spans the table."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    may_break: bool = False
    """In print, may go on on the next page."""
    n_text: int = 1
    """Columns of words, which come first and stand left; numbers stand right."""


def _cells(*texts: str | Cell) -> tuple[Cell, ...]:
    return tuple(text if isinstance(text, Cell) else Cell(format_label(text)) for text in texts)


def list_reasons(rows: Iterable[Json]) -> tuple[str, ...]:
    """Why rows are not available, each reason once, as notes of their table."""
    return tuple(dict.fromkeys(f"{DASH}: not available, {row['reason']}." for row in rows if row.get("reason")))


# --- Cohort -----------------------------------------------------------------------------------------


def make_table1(stats: Json) -> Table:
    """Table 1 (row H1): every variable by bone metastasis, our tests, the paper's printed values beside."""
    groups = stats["groups"]
    no, yes = load_published().groups
    header = ("", *(f"{_group_name(g)} (n = {g['n']})" for g in groups), "p",
              f"paper: no (n = {no})", f"paper: yes (n = {yes})", "paper: p")
    rows: list[tuple[Cell, ...]] = []
    for variable in stats["variables"]:
        rows += _continuous_row(variable) if variable["kind"] == "continuous" else _category_rows(variable)
    notes = (
        "Mean ± SD with Student's t (equal variance); n (%) with chi-square, uncorrected; of two levels one is shown. "
        "Welch, Wilcoxon, Yates and Fisher p values and the quartiles are in report.json.",
        f"{DASH}: the paper prints no value.",
        *_missing_note(stats["variables"]), *_left_out_note(stats.get("n_left_out")),
        *list_reasons(stats["variables"]),
    )
    return Table("Table 1. Patients by bone metastasis", header, tuple(rows), notes, may_break=True)


def _group_name(group: Json) -> str:
    return {"no": "No metastasis", "yes": "Metastasis"}.get(group["label"], group["label"])


def _name_variable(variable: Json, suffix: str = "") -> str:
    """The variable's label, with each group's n where some values are missing."""
    n = f" (n = {', '.join(map(str, variable['n']))})" if sum(variable["n_missing"]) else ""
    return f"{variable['label']}{suffix}{n}"


def _continuous_row(variable: Json) -> list[tuple[Cell, ...]]:
    values = [format_mean_sd(m, s) for m, s in zip(variable["mean"], variable["sd"], strict=True)]
    return [_cells(_name_variable(variable), *values, format_p(variable["student_p"]),
                   *_printed_means(variable["name"]))]


def _printed_means(name: str) -> tuple[str, str, str]:
    no, yes, p = load_published().table1_mean_sd.get(name, ((None, None), (None, None), DASH))
    return format_mean_sd(*no), format_mean_sd(*yes), p


def _category_rows(variable: Json) -> list[tuple[Cell, ...]]:
    """One row for two levels (the second is shown), a row a level for more."""
    levels, p = variable["levels"], format_p(variable["chisq_p"])
    if len(levels) == 2:
        return [_level_row(variable, 1, f"{_name_variable(variable, _level_suffix(levels[1]))}", p)]
    head = _cells(_name_variable(variable), "", "", p, "", "", "")
    return [head, *(_level_row(variable, i, f"   {_level_name(level)}", "") for i, level in enumerate(levels))]


def _level_row(variable: Json, index: int, name: str, p: str) -> tuple[Cell, ...]:
    counts = zip(variable["counts"], variable["percent"], strict=True)
    ours = [format_count(count[index], percent[index]) for count, percent in counts]
    level = _BINARY_CODES.get(str(variable["levels"][index]), str(variable["levels"][index]))
    printed = load_published().table1_counts.get((variable["name"], level))
    return _cells(name, *ours, p, *(map(str, printed) if printed else (DASH, DASH)), "")


def _level_name(level: str) -> str:
    return str(level).replace("_", " ")


def _level_suffix(level: str) -> str:
    return "" if str(level) in {"1", "1.0", "yes"} else f": {_level_name(level)}"


def _missing_note(variables: Sequence[Json]) -> tuple[str, ...]:
    missing = {v["label"]: sum(v["n_missing"]) for v in variables if sum(v["n_missing"])}
    if not missing:
        return ("No value is missing.",)
    named = ", ".join(f"{label} {n}" for label, n in missing.items())
    return (f"Missing values: {named}. Each variable is compared over the patients whose value is known; n after its "
            "name counts them by group.",)


def _left_out_note(n_left_out: int | None) -> tuple[str, ...]:
    if not n_left_out:
        return ()
    return (f"{n_left_out} more patients of the cohort are not in folds.json: this page leaves them out throughout.",)


# --- Discrimination ---------------------------------------------------------------------------------


#: Note of every table with `make_performance_row`.
BOOTSTRAP_NOTE = "Bootstrap intervals: patients are drawn with replacement, each outcome class on its own (stratified)."


def make_network_table(roc: Json) -> Table:
    """Table 3 (row H3): the network's own score in the three cohorts."""
    found = _pick(roc, "imaging", "network")
    rows = tuple(make_performance_row(SPLIT_NAMES[r["split"]].capitalize(), r) for r in found)
    return Table("Table 3. The network alone", make_performance_header("Cohort"), rows,
                 (*_count_notes(found), BOOTSTRAP_NOTE, "The paper's value is its ResNet101's, CT alone.",
                  *list_reasons(found)))


def make_models_table(roc: Json) -> Table:
    """Table 4 (row H3): nine models in three cohorts."""
    rows: list[tuple[Cell, ...]] = []
    sources: list[Json] = []
    for feature_set in schema.FEATURE_SETS:
        found = [row for classifier in schema.CLASSIFIERS for row in _pick(roc, feature_set, classifier)]
        if found:
            rows.append(_cells(FEATURE_SET_NAMES[feature_set]))
        rows += [make_performance_row(f"{CLASSIFIER_NAMES[r['classifier']]}, {SPLIT_NAMES[r['split']]}", r)
                 for r in found]
        sources += found
    notes = ("RF: random forest.", *_count_notes(sources), BOOTSTRAP_NOTE, *list_reasons(sources))
    return Table("Table 4. Nine models in three cohorts", make_performance_header("Model, cohort"), tuple(rows), notes)


def _count_notes(rows: Iterable[Json]) -> tuple[str, ...]:
    """How many rows and patients stand behind each cohort."""
    return tuple(dict.fromkeys(
        f"{SPLIT_NAMES[r['split']].capitalize()}: {r['n_rows']} rows of {r['n_patients']} patients." for r in rows
    ))


def _pick(roc: Json, feature_set: str, classifier: str) -> list[Json]:
    found = {r["split"]: r for r in roc["rows"] if (r["feature_set"], r["classifier"]) == (feature_set, classifier)}
    return [found[split] for split in schema.SPLITS if split in found]


def make_performance_header(first: str) -> tuple[str, ...]:
    """Header of `make_performance_row`."""
    return (first, "AUC [DeLong]", "AUC, bootstrap interval", "AUC by fold, mean ± SD", "ACC %", "SENS %", "SPEC %",
            "paper: AUC")


def make_performance_row(name: str, row: Json) -> tuple[Cell, ...]:
    """One row of roc.json: AUC with its intervals, ACC, SENS, SPEC, the paper's AUC."""
    shares = (_share(row[name]) for name in ("acc", "sens", "spec"))
    model = (row["feature_set"], row["classifier"])
    printed = load_published().test_auc.get(model) if row["split"] == "test" else None
    return _cells(
        name,
        Cell(format_number(row["auc"]), format_interval(row["auc_ci95_delong"])),
        Cell("", format_interval(row["auc_ci95_bootstrap"])),
        Cell(format_mean_sd(row["auc_fold_mean"], row["auc_fold_sd"], 3), _count_folds(row.get("auc_folds", ()))),
        *shares,
        Cell(format_number(printed[0]), format_interval(printed[1:])) if printed else Cell(""),
    )


def _count_folds(auc_folds: Sequence[float | None]) -> str:
    """How many folds have an AUC, where some have one class alone."""
    n_known = sum(auc is not None for auc in auc_folds)
    return "" if n_known == len(auc_folds) else f"{n_known} of {len(auc_folds)} folds, the others have one class"


def _share(proportion: Json) -> Cell:
    return Cell(format_percent(proportion["value"]), format_percent_interval(proportion["ci95"]))


def make_paired_table(roc: Json) -> Table:
    """Paired DeLong tests of the feature sets on the pooled test patients."""
    rows = tuple(
        _cells(
            CLASSIFIER_NAMES[r["classifier"]], f"{r['a']} against {r['b']}",
            format_number(r["auc_a"]), format_number(r["auc_b"]),
            Cell(format_number(r["difference"]), format_interval(r["ci95"])), format_number(r["z"], 2),
            format_p(r["p"]), format_p(r.get("permutation_p")),
        )
        for r in roc["paired"]
    )
    header = ("Classifier", "Comparison", "AUC, first", "AUC, second", "Difference [95 % CI]", "z", "p",
              "p, permutation")
    return Table("Paired comparison of feature sets, test cohort (DeLong)", header, rows,
                 list_reasons(roc["paired"]), n_text=2)


def make_planted_table(planted: Json) -> Table:
    """Test AUC beside the best that any model could reach on the synthetic cohort."""
    rows = tuple(
        _cells(
            FEATURE_SET_NAMES[r["feature_set"]], CLASSIFIER_NAMES[r["classifier"]],
            Cell(format_number(r["auc"]), format_interval(r["ci95_delong"])),
            format_number(r["bayes_auc"]), format_number(r["gap"]),
        )
        for r in planted["rows"]
    )
    header = ("Features", "Model", "Test AUC [DeLong]", "Bayes-optimal AUC", "Difference")
    return Table("Planted truth: discrimination", header, rows, list_reasons(planted["rows"]), n_text=2)


def make_planted_hazard_table(planted: Json) -> Table:
    """Hazard ratios planted in the synthetic cohort beside those an unpenalised Cox model finds."""
    rows = tuple(
        _cells(r["label"], format_number(r["planted_hr"]), Cell(format_number(r["hr"]), format_interval(r["ci95"])),
               "yes" if r["covered"] else "no")
        for r in planted["hazard_ratios"]
    )
    header = ("Variable", "Planted HR", "Estimated HR [95 % CI]", "Interval covers it")
    return Table("Planted truth: hazard ratios", header, rows)


def make_gradcam_table(gradcam: Json) -> Table:
    """Share of each stage's maps in each tissue, for and against, beside the tissue's share of the picture."""
    found = {(row["stage"], row["region"], row["evidence"]): row for row in gradcam["rows"]}
    rows: list[tuple[Cell, ...]] = []
    for stage in gradcam["stages"]:
        rows.append(_cells(format_stage(stage)))
        for region in gradcam["regions"]:
            both = [found[stage, region["name"], evidence] for evidence in ("for", "against")]
            area = next((row["area_share"] for row in both if row["area_share"] is not None), None)
            rows.append(_cells(region["label"], format_percent(area), *(cell for row in both for cell in _cam(row))))
    header = ("Tissue", "Share of the picture %", "For metastasis: share of the map %", "enrichment",
              "Against metastasis: share of the map %", "enrichment")
    weighed = "; ".join(f"{format_stage(stage)} {format_percent(share)} %" for stage, share in
                        ((stage, gradcam["for_share"][stage]) for stage in gradcam["stages"]))
    notes = (*gradcam["notes"], f"Of both maps together, for metastasis (mean): {weighed}.",
             *list_reasons(gradcam["rows"]))
    return Table("Grad-CAM by tissue, test patients [95 % CI]", header, tuple(rows), notes)


def _cam(row: Json) -> tuple[Cell, Cell]:
    return (Cell(format_percent(row["share"]), format_percent_interval(row["share_ci95"])),
            Cell(format_number(row["enrichment"], 2), format_interval(row["enrichment_ci95"], 2)))


# --- Survival ---------------------------------------------------------------------------------------


def make_table2(stats: Json) -> Table:
    """Table 2 (row H2): Lasso-Cox selection and unpenalised refit, the paper's printed values beside."""
    chosen = [t for t in stats["terms"] if t["lasso_coef"] or t["paper"] or t["planted_hr"] is not None]
    rows = tuple(_term_row(term) for term in chosen)
    left_out = [format_label(t["label"]) for t in stats["terms"] if t not in chosen]
    notes = (f"Coefficient 0 in every column, not shown: {', '.join(left_out)}.",) if left_out else ()
    header = ("Variable", "Lasso coefficient", "HR, refit [95 % CI]", "p", "PH p", "planted HR",
              "paper: coefficient", "paper: HR [95 % CI]", "paper: p")
    return Table("Table 2. Lasso-Cox and unpenalised refit", header, rows, (*notes, *_lasso_notes(stats)))


def _term_row(term: Json) -> tuple[Cell, ...]:
    printed = term["paper"] or {"lasso_coef": None, "hr": None, "ci95": None, "p": DASH}
    return _cells(
        term["label"], format_number(term["lasso_coef"], 4) if term["lasso_coef"] else "0",
        Cell(format_number(term["hr"]), format_interval(term["ci95"])), format_p(term["p"]),
        format_p(term.get("schoenfeld_p")), format_number(term["planted_hr"]), format_number(printed["lasso_coef"], 4),
        Cell(format_number(printed["hr"]), format_interval(printed["ci95"])), str(printed["p"]),
    )


def _lasso_notes(stats: Json) -> list[str]:
    n_cohort = stats.get("n_cohort", stats["n"])
    left_out = f" of {n_cohort}; the others have no follow-up time and are left out" if n_cohort > stats["n"] else ""
    notes = [f"{stats['n']} patients{left_out}; {stats['n_events']} events; {stats['endpoint']}."]
    filled = ", ".join(f"{name} {n}" for name, n in stats["n_imputed"].items() if n)
    if filled:
        notes.append(f"Missing values, filled by the median or mode: {filled}.")
    if stats["lambda_chosen"] is not None:
        notes.append(f"Lambda {stats['lambda_chosen']:.4g} of {len(stats['path'])} ({stats['lambda_rule']}).")
    refit = stats["refit"]
    if refit and refit.get("concordance") is not None:
        notes.append(f"Refit: {refit['ties']} ties, concordance {format_number(refit['concordance'])}.")
        notes.append("PH p: of proportional hazards, that is a hazard ratio which stays the same over time "
                     "(Schoenfeld's test, 1 − Kaplan-Meier for time); of all variables together "
                     f"{format_p(refit['schoenfeld_global_p'])}.")
    reasons = [stats, *([refit, {"reason": refit.get("schoenfeld_reason")}] if refit else [])]
    return [*notes, *list_reasons(reasons), *stats["notes"]]


def make_cutoff_table(km: Json) -> Table:
    """SFI cut-offs (row H4): the paper's and the learned one."""
    rows: list[tuple[Cell, ...]] = []
    for cutoff in km["cutoffs"]:
        rows.append(_cutoff_row(f"{cutoff['source']}: {format_number(cutoff['cutoff'], 1)}", cutoff,
                                format_number(cutoff["logrank_chisq"], 2), format_p(cutoff["logrank_p"])))
        if cutoff["held_out"]:
            values = ", ".join(format_number(value, 1) for value in cutoff["held_out"]["cutoffs"])
            rows.append(_cutoff_row(f"learned in each fold ({values}), held-out patients", cutoff["held_out"], "", ""))
        if cutoff["printed"]:
            rows.append(_printed_cutoff_row(cutoff["printed"]))
    header = ("Cut-off (cm²/m²)", "SENS %", "SPEC %", "log-rank χ²", "p")
    return Table(f"{format_label(km['label'])} cut-offs", header, tuple(rows),
                 (*list_reasons(km["cutoffs"]), *km["notes"]))


def _cutoff_row(name: str, value: Json, *rest: str) -> tuple[Cell, ...]:
    return _cells(name, _share(value["sens"]), _share(value["spec"]), *rest)


def _printed_cutoff_row(printed: Json) -> tuple[Cell, ...]:
    shares = (_share({"value": printed[k], "ci95": printed[f"{k}_ci95"]}) for k in ("sens", "spec"))
    return _cells("paper, as printed", *shares, "", "")


def make_survival_table(cutoff: Json) -> Table:
    """Kaplan-Meier estimates at the at-risk times: two columns a group."""
    groups = cutoff["groups"]
    header = ["Months"]
    notes: list[str] = []
    for group in groups:
        header += [f"{format_label(group['label'])}: at risk", "free of metastasis %"]
        median = f"{format_number(group['median'], 1)} months" if group["median"] is not None else "not reached"
        notes.append(f"{format_label(group['label'])}: n = {group['n']}, {group['n_events']} events, median {median} "
                     f"{format_interval(group['median_ci95'], 1) if group['median'] is not None else ''}".strip() + ".")
    rows = tuple(
        _cells(format_number(month, 0), *(cell for group in groups for cell in _estimate(group, i)))
        for i, month in enumerate(groups[0]["times"])
    )
    caption = f"Kaplan-Meier estimates, cut-off {format_number(cutoff['cutoff'], 1)} cm²/m² ({cutoff['source']})"
    return Table(caption, tuple(header), rows, tuple(notes))


def _estimate(group: Json, index: int) -> tuple[Cell, Cell]:
    interval = _pair(group["lower"][index], group["upper"][index])
    return (Cell(str(group["n_risk"][index])),
            Cell(format_percent(group["survival"][index]), format_percent_interval(interval)))


def _pair(low: float | None, high: float | None) -> list[float] | None:
    return None if low is None or high is None else [low, high]


# --- How it was made ----------------------------------------------------------------------------------


def make_stages_table(seconds: Mapping[str, float]) -> Table:
    """Wall time of the stages."""
    rows = (*(_cells(name, format_seconds(s)) for name, s in seconds.items()),
            _cells("all", format_seconds(sum(seconds.values()))))
    return Table("Wall time of each stage", ("Stage", "Wall time"), rows)


def make_training_table(metrics: Mapping[int, Sequence[Json]], timing: Mapping[int, Json]) -> Table:
    """Last epoch of every fold."""
    rows: list[tuple[Cell, ...]] = []
    for fold, epochs in metrics.items():
        last = epochs[-1]
        rows.append(_cells(
            str(fold), str(last["epoch"]), *(format_number(last.get(k)) for k in ("train_loss", "val_loss", "val_auc")),
            format_number(last.get("images_per_s"), 1), format_seconds(sum(e.get("seconds") or 0 for e in epochs)),
            format_device(timing.get(fold, {})),
        ))
    header = ("Fold", "Last epoch", "Training loss", "Validation loss", "Validation AUC", "Images/s", "Time", "Device")
    return Table("Training, one network a fold", header, tuple(rows))


def make_config_table(config: Json) -> Table:
    """Every setting, one row for each part."""
    parts = {"run": {name: value for name, value in config.items() if not isinstance(value, dict)}}
    parts |= {name: value for name, value in config.items() if isinstance(value, dict)}
    rows = tuple(
        _cells(part, "; ".join(f"{name} {format_plain(value)}" for name, value in _flatten(settings)))
        for part, settings in parts.items()
    )
    return Table("Settings", ("Part", "Settings"), rows)


def _flatten(settings: Json, prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in settings.items():
        flat += _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return flat
