"""The page as a whole: complete, self-contained, escaped, honest about what is missing."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.config import Config, to_dict
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.report.channel_pictures import make_channel_pictures
from bonemet_jax.report.render import render_report
from bonemet_jax.report.tables import make_performance_row, make_table1, make_table2

from .conftest import STATS, write_fake_run

Run = tuple[Path, Path]
ATTACK = "<script>alert(1)</script>"


class _Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"} and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of a whole fake run, rendered once; not to be changed."""
    run, cohort = write_fake_run(tmp_path_factory.mktemp("rendered"))
    render_report(run, cohort)
    return run


def test_page_reads_like_a_results_section(rendered: Path) -> None:
    page = _Page(rendered / "report.html")
    for wanted in ("SYNTHETIC cohort", "Not a medical device", "Table 1.", "Table 2.", "Table 3.", "Table 4.",
                   "Table 5.", "Figure 1.", "Figure 2.", "Figure S1.", "Figure 4a.", "Figure 4b.", "Figure 5.",
                   "Figure 7.", "Figure 6a.", "Figure 6b.", "Figure 6c.",
                   "Bayes-optimal AUC", "No pretrained weights", "Wall time of each stage", "Limits",
                   "config " + artifacts.load_json(rendered / "config.json")["fingerprint"]):
        assert wanted in page.text, wanted


def test_nine_models_in_three_cohorts_with_intervals(rendered: Path) -> None:
    page = _Page(rendered / "report.html")
    name = re.compile(r"(GBDT|SVM|RF), (training|validation|test)")
    rows = [row for row in page.rows if row and name.fullmatch(row[0])]
    assert len(rows) == 27
    interval = r"\[\d+\.\d+, \d+\.\d+\]"
    for row in rows:
        assert re.fullmatch(interval, row[2]), row
        assert all(re.fullmatch(r"\d+\.\d" + interval, cell) for cell in row[4:7]), row
        if row[0].endswith("test"):
            assert re.fullmatch(r"0\.\d{3}" + interval, row[1]), row


def test_table2_shows_each_variables_test_of_proportional_hazards(rendered: Path) -> None:
    page = _Page(rendered / "report.html")
    header = next(row for row in page.rows if row and row[0] == "Variable" and "PH p" in row)
    lvi = next(row for row in page.rows if len(row) == len(header) and row[0] == "lvi")
    assert lvi[header.index("PH p")] == "0.424" and "of all variables together 0.310" in page.text
    table2 = STATS["table2"]()
    table2["refit"].update(schoenfeld_global_p=None, schoenfeld_reason="too few event times")
    assert "–: not available, too few event times." in make_table2(table2).notes


def test_tables_say_whom_they_leave_out() -> None:
    whole = STATS["table1"]()
    gaps = whole | {"n_left_out": 4}
    gaps["variables"] = [v | ({"n": [370, 50], "n_missing": [9, 2]} if v["name"] in ("cea_ng_ml", "lvi") else {})
                         for v in whole["variables"]]
    plain, table = make_table1(whole), make_table1(gaps)
    labels = {v["name"]: v["label"] for v in whole["variables"]}
    named = [row[0].text for row in table.rows if "(n = 370, 50)" in row[0].text]
    assert [name.removesuffix(" (n = 370, 50)") for name in named] == [
        v["label"] for v in whole["variables"] if v["name"] in ("cea_ng_ml", "lvi")]
    assert any(note.startswith("Missing values: ") and f"{labels['lvi']} 11" in note for note in table.notes)
    assert any(note.startswith("4 more patients of the cohort are not in folds.json") for note in table.notes)
    assert "No value is missing." in plain.notes and not any("(n = 3" in row[0].text for row in plain.rows)

    table2 = STATS["table2"]()
    assert not any("left out" in note or "filled" in note for note in make_table2(table2).notes)
    notes = make_table2(table2 | {"n_cohort": table2["n"] + 5, "n_imputed": {"lvi": 3, "menopause": 0}}).notes
    wanted = f"of {table2['n'] + 5}; the others have no follow-up time and are left out"
    assert any(wanted in note for note in notes)
    assert "Missing values, filled by the median or mode: lvi 3." in notes

    row = next(row for row in STATS["roc"]()["rows"] if row["split"] == "test")
    assert make_performance_row("x", row)[3].detail == ""
    found = make_performance_row("x", row | {"auc_folds": [0.7, None, 0.8]})[3]
    assert found.detail == "2 of 3 folds, the others have one class"


def test_calibration_and_clinical_use(rendered: Path) -> None:
    page = _Page(rendered / "report.html")
    calibration, decision = (artifacts.load_json(rendered / "stats" / f"{name}.json")
                             for name in ("calibration", "decision_curve"))
    for wanted in ("Calibration and clinical use", "Calibration of test probabilities", "Net benefit by threshold",
                   "Platt", "Decision curves on test patients"):
        assert wanted in page.text, wanted
    named = [row for row in page.rows if row and row[0] in {"Network alone, imaging", "RF, imaging and clinical"}]
    calibrated, benefits = [row for row in named if len(row) == 9], [row for row in named if len(row) == 5]
    assert len(calibrated) == len(benefits) == 2
    slope = calibration["rows"][0]["recalibrated"]["slope"]
    assert calibrated[0][2].startswith(f"{slope['value']:.2f}[") and "−" in calibrated[0][5], "raw: far too high"
    ten = round(1000 * decision["rows"][0]["net_benefit"][9])
    assert benefits[0][2].startswith(f"{ten}[")
    paired = next(row for row in page.rows if len(row) == 8 and row[1] == "both against clinical")
    assert paired[-1] == "0.012"


@pytest.mark.every_change
def test_calibration_that_cannot_be_had_says_why(fake_run: Run) -> None:
    run = fake_run[0]
    calibration, decision = json.loads(json.dumps([STATS["calibration"](), STATS["decision_curve"]()]))
    for row in calibration["rows"]:
        row.update(raw=None, recalibrated=None, reason="label has only one class")
    decision.update(rows=[], treat_all=None, treat_all_standardised=None, reason="label has only one class")
    artifacts.write_json(run / "stats" / "calibration.json", calibration)
    artifacts.write_json(run / "stats" / "decision_curve.json", decision)
    text = _Page(render_report(*fake_run)).text
    assert "Decision curves: not available: label has only one class" in text
    calibration, decision = json.loads(json.dumps([STATS["calibration"](), STATS["decision_curve"]()]))
    calibration["rows"][0]["recalibrated"].update(slope=None, curve=None, reason="all predictions are equal")
    calibration["rows"][1].update(recalibrated=None, reason="no map")
    decision["rows"][2].update(dict.fromkeys(("net_benefit", "lower", "upper")), reason="no curve")
    artifacts.write_json(run / "stats" / "calibration.json", calibration)
    artifacts.write_json(run / "stats" / "decision_curve.json", decision)
    text = _Page(render_report(*fake_run)).text
    for reason in ("all predictions are equal", "not available, no map", "not available, no curve"):
        assert reason in text, reason


def test_real_cohort_is_not_called_synthetic(tmp_path: Path) -> None:
    facts = {"kind": "real", "n": 431, "flags": {"field-touched": 3, "dicom-lossy": 12}}
    artifacts.write_json(tmp_path / "cohort" / "manifest.json", {"files": {}, "facts": facts})
    text = _Page(render_report(tmp_path, tmp_path / "cohort")).text
    assert "SYNTHETIC" not in text and "unknown kind" not in text and "Not a medical device" in text
    assert "dicom-lossy: 12, field-touched: 3" in text


def test_page_loads_and_runs_nothing(rendered: Path) -> None:
    page = _Page(rendered / "report.html")
    assert page.addresses and all(address.startswith("data:image/") for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "form", "base"} and not page.handlers
    assert not re.search(r"https?:|//[a-z]|url\(|@import|javascript:", page.source)


def test_figures_draw_nothing_from_outside(rendered: Path) -> None:
    drawings = sorted((rendered / "figures").glob("*.svg"))
    assert [p.stem for p in drawings] == ["calibration", "channels", "correlation", "decision_curve", "gradcam_against",
                                          "gradcam_for", "gradcam_shares", "kaplan_meier", "leakage", "loss", "planted",
                                          "roc_classifiers", "roc_network", "shap"]
    for path in drawings:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r'href="(?!#|data:image/png;)|<script|<text', source)


@pytest.mark.every_change
def test_outside_text_is_escaped(tmp_path: Path) -> None:
    """A script in the run's name, a slice id, a CSV header, a level and a note shows as text."""
    run, cohort = write_fake_run(tmp_path, name=ATTACK, slice_id="<script>alert(1)<∕script>")
    table1 = STATS["table1"]()
    table1["variables"][0]["label"] = ATTACK
    table1["variables"][5]["levels"][0] = ATTACK
    artifacts.write_json(run / "stats" / "table1.json", table1)
    table2 = STATS["table2"]()
    table2["terms"][3]["label"] = ATTACK
    table2["notes"].append('"><img src=x onerror=alert(1)>')
    artifacts.write_json(run / "stats" / "table2.json", table2)
    correlation = STATS["correlation"]()
    correlation["labels"][0] = "$x^2$ " + ATTACK
    artifacts.write_json(run / "stats" / "correlation.json", correlation)
    page = _Page(render_report(run, cohort))
    assert "script" not in page.tags and not page.handlers
    assert "<script" not in page.source and page.text.count(ATTACK) >= 4
    assert html.escape(ATTACK) in page.source


MISSING = (
    "roc.json is missing", "table1.json is missing", "table2.json is missing", "km.json is missing",
    "planted.json is missing", "correlation.json is missing", "calibration.json is missing",
    "decision_curve.json is missing", "config.json is missing",
    "near_duplicates.json is missing",
    "Audit of the own tables: not available: table1.json, table2.json, roc.json, km.json missing",
    "Training curves: not available", "Screening: not available", "Figure 1, tissue overlays: not available",
    "Figure 2, LBP and HOG pictures: not available", "Wall time of each stage: not available",
    "Figure 6, Grad-CAM: not available", "Grad-CAM by tissue: not available: gradcam.json is missing",
    "Trained on: not available", "Cohort of unknown kind",
)


def test_every_missing_part_is_named(tmp_path: Path) -> None:
    """An empty run still gives a page, which says what is not there and why."""
    page = _Page(render_report(tmp_path, tmp_path / "cohort"))
    for said in MISSING:
        assert said in page.text, said
    assert "Not a medical device" in page.text


@pytest.mark.parametrize("part", ["stats/roc.json", "fold_1/metrics.jsonl", "config.json"])
def test_damaged_file_is_named(fake_run: Run, part: str) -> None:
    (fake_run[0] / part).write_text("{ not json")
    with pytest.raises(CorruptFileError, match=Path(part).name):
        render_report(*fake_run)
    assert not (fake_run[0] / "report.html").exists()


@pytest.mark.every_change
def test_near_duplicates_are_counted_not_named(rendered: Path, fake_run: Run) -> None:
    text = _Page(rendered / "report.html").text
    assert "Pairs of patients who share an image, of 431 patients: 2, 1 in every pixel" in text
    assert "P000007" not in text + (rendered / "report.json").read_text()
    artifacts.write_json(fake_run[0] / "near_duplicates.json", {"n": 431, "pairs": []})
    assert "No two of 431 patients share an image" in _Page(render_report(*fake_run)).text


@pytest.mark.every_change
def test_nothing_computable_still_renders(fake_run: Run) -> None:
    """Every number null with a reason: dashes and reasons, no crash."""
    run = fake_run[0]
    roc, km, table1 = (STATS[name]() for name in ("roc", "km", "table1"))
    for row in roc["rows"]:
        row.update(auc=None, auc_ci95_delong=None, auc_ci95_bootstrap=None, auc_fold_mean=None, auc_fold_sd=None,
                   curve=None, reason="one class")
        for name in ("acc", "sens", "spec"):
            row[name] = {"value": None, "ci95": None, "k": 0, "n": 0}
    for row in roc["paired"]:
        row.update(dict.fromkeys(("auc_a", "auc_b", "difference", "ci95", "z", "p")), reason="one class")
    for cutoff in km["cutoffs"]:
        cutoff.update(groups=[], logrank_chisq=None, logrank_p=None, cutoff=None, reason="no events")
    for variable in table1["variables"]:
        variable["reason"] = "one group"
        for name in set(variable) & {"student_p", "chisq_p"}:
            variable[name] = None
    planted = STATS["planted"]()
    for row in planted["rows"]:
        row.update(auc=None, ci95_delong=None, gap=None, reason="one class")
    planted.update(hazard_ratios=[], hazard_ratios_reason="no hazard ratio was planted")
    table2 = STATS["table2"]()
    table2.update(lambda_chosen=None, path=[], terms=[], refit=None, reason="no events")
    for name, value in (("roc", roc), ("km", km), ("table1", table1), ("planted", planted), ("table2", table2)):
        artifacts.write_json(run / "stats" / f"{name}.json", value)
    text = _Page(render_report(*fake_run)).text
    for reason in ("not available, one class", "not available, no events", "no hazard ratio was planted",
                   "no cut-off splits the cohort"):
        assert reason in text, reason


def test_json_holds_every_number(rendered: Path) -> None:
    page = _Page(rendered / "report.html")
    report = artifacts.load_json(rendered / "report.json")
    for name in STATS:
        assert report["stats"][name] == artifacts.load_json(rendered / "stats" / f"{name}.json")
    assert report["gradcam"] == artifacts.load_json(rendered / "gradcam.json")
    assert len(report["training"]["2"]["epochs"]) == 25 and report["training"]["2"]["timing"]["device"]["kind"] == "cpu"
    assert report["stage_seconds"]["cv"] == 195.0 and report["missing"] == {}
    assert report["config"] == artifacts.load_json(rendered / "config.json")
    flat = json.dumps(report)
    for row in page.rows:
        for number in re.findall(r"^0\.\d{3}$", row[1] if len(row) > 1 else ""):
            assert number.rstrip("0") in flat, number


def test_nan_in_the_training_log_is_missing_not_a_number(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    config = Config("x")
    artifacts.write_json(tmp_path / "config.json", {"fingerprint": config.fingerprint, "config": to_dict(config)})
    artifacts.append_line(tmp_path / "fold_0" / "metrics.jsonl",
                          '{"epoch": 1, "train_loss": 0.3, "val_loss": NaN, "val_auc": NaN, "seconds": 1}')
    render_report(tmp_path, tmp_path / "cohort")
    assert artifacts.load_json(tmp_path / "report.json")["training"]["0"]["epochs"][-1]["val_loss"] is None


@pytest.mark.every_change
def test_same_run_same_bytes(rendered: Path, fake_run: Run) -> None:
    assert render_report(*fake_run).read_bytes() == (rendered / "report.html").read_bytes()


def test_channels_of_the_first_overlay_that_has_a_slice() -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-300, 400, (64, 80)).astype(np.int16)
    tissue = np.zeros((64, 80), np.uint8)
    tissue[10:20] = schema.TISSUE_SAT
    pictures = make_channel_pictures(hu, tissue)
    assert list(pictures) == ["CT", "LBP", "HOG", "Fat mask"] and {p.shape for p in pictures.values()} == {(64, 80)}
    assert pictures["CT"].dtype == np.uint8 and pictures["Fat mask"].sum() == 800
    assert pictures["LBP"].max() < 2**24


def test_null_cohort_is_said(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "stats" / "planted.json", STATS["planted"]() | {"null_cohort": True})
    assert "This is a null cohort" in _Page(render_report(tmp_path, tmp_path / "cohort")).text


def test_reporting_sheet_fills_what_the_run_knows(rendered: Path) -> None:
    found = (row for row in _Page(rendered / "report.html").rows if len(row) == 3)
    rows = {row[0]: row[2] for row in found if re.match(r"\d+[a-c]?", row[0])}
    assert rows["10"].startswith("431 patients, 52 with the outcome") and "0.890" in rows["23a"]
    assert rows["17"] == rows["5b"] == "author must fill" and "3 stratified folds" in rows["12a"]


def test_reporting_sheet_of_an_empty_run_claims_nothing(tmp_path: Path) -> None:
    render_report(tmp_path, tmp_path / "cohort")
    page = (tmp_path / "report.html").read_text()
    assert "not known to this run" in page and "author must fill" in page
