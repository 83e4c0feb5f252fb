"""Page and table of predictions: self-contained, escaped, safe in a spreadsheet, with files that exist."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bonemet_jax.report import predictions
from bonemet_jax.report.predictions import make_rows, render_predictions
from data_pipelines.ingest.cohort import make_csv

HOSTILE = "<script>alert(1)</script>"


def _entry(name: str, score: float) -> dict[str, Any]:
    return {
        "areas": {"sfa_cm2": 85.0, "vfa_cm2": None}, "sources": {"sfa_source": "hu"}, "z_mm": -768.5, "level": "T11",
        "warnings": [HOSTILE], "score_network": 0.4, "score_imaging": score, "score": score, "threshold": 0.5,
        "class": int(score >= 0.5), "class_label": "above threshold" if score >= 0.5 else "below threshold",
        "model": "gradient boosting on imaging, mean of 3 folds", "fold_scores": [score] * 3, "n_folds_positive": 0,
        "risk": {"value": 0.2, "observed": 0.2, "ci95": [0.1, 0.3], "reason": None},
        "training": {"n_patients": 36, "n_events": 9},
        "files": {"overlay": f"cohort/overlays/{name}.png", "gradcam": f"gradcam/{name}.png"},
    }  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    patients = {"=1+1": _entry("a", 0.4), HOSTILE: _entry("b", 0.6)}
    for entry in patients.values():
        for file in entry["files"].values():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / file)
    rule = {"model": "gradient boosting on imaging, mean of 3 folds", "threshold": 0.5, "threshold_rule": "r",
            "risk_rule": "r",
            "training": {"n_patients": 36, "n_events": 9, "n_folds": 3, "n_train_per_fold": [20]}}
    patients[HOSTILE]["risk"] = {"value": 0.1, "observed": None, "ci95": None, "reason": "too few"}
    failed = [{"patient_id": "lost", "input": 3, "of": 4, "what": HOSTILE, "fact": "20 slices", "mend": "x"},
              {"input": 4, "of": 4, "what": "no image", "fact": "", "mend": "y"}]
    return {"run": HOSTILE, "fingerprint": "f", "warning": "trained on SYNTHETIC patients", "models": {"imaging": rule},
            "patients": patients, "failed": failed}  # fmt: skip


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "srcset")]


def test_page_is_self_contained_and_escaped(results: dict[str, Any], tmp_path: Path) -> None:
    page = render_predictions(results, tmp_path).read_text()
    parser = _Links()
    parser.feed(page)
    assert not {"script", "link", "iframe", "object"} & set(parser.tags) and "alert(1)" in page
    files = [link for link in parser.links if not link.startswith(("data:image/jpeg;base64,", "#"))]
    assert files and all((tmp_path / link).is_file() for link in files)
    assert "://" not in page and "url(" not in page
    for part in ("Trained on SYNTHETIC patients", "not a medical device", "0.200 (95 % interval 0.100 to 0.300)",
                 "– (too few)", "36 patients, 9 of them", ">lost<", ">input 4 of 4<"):  # fmt: skip
        assert part in page, part
    assert "95 % CI" not in page and page.count("<span class=\"badge synthetic\">") == 2
    assert page.index("Trained on SYNTHETIC") < page.index("<h1>")


def test_the_model_is_named_once_and_per_patient_only_where_models_differ(
    results: dict[str, Any], tmp_path: Path
) -> None:
    assert render_predictions(results, tmp_path).read_text().count(results["models"]["imaging"]["model"]) == 1
    both = "gradient boosting on imaging and clinical data, mean of 3 folds"
    results["models"]["both"] = results["models"]["imaging"] | {"model": both}
    results["patients"][HOSTILE] |= {"model": both, "score_both": 0.6}
    page = render_predictions(results, tmp_path).read_text()
    assert page.count(both) == 0 and page.count("<span>by imaging and clinical data</span>") == 1


def test_no_column_of_a_card_is_narrower_than_its_content() -> None:
    """Grid columns may shrink below their content: a column that may not covers its neighbour."""
    style = (Path(predictions.__file__).parent / "predictions.html.j2").read_text()
    columns = re.findall(r"grid-template-columns: (.+?);", style)
    assert len(columns) == 3 and all(column.replace("minmax(0, ", "").count("minmax") == 0 for column in columns)
    assert all(len(column.split(") ")) == column.count("minmax(0, ") for column in columns), columns
    assert re.search(r"\.facts \{ table-layout: fixed", style) and not re.search(r"\.facts [^\n]*nowrap", style)


def test_table_is_safe_in_a_spreadsheet(results: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(make_csv(make_rows(results)))))
    assert [row["patient_id"] for row in rows] == ["'=1+1", HOSTILE, "lost", "input 4 of 4"]
    assert [(row["class"], row["score"], row["threshold"]) for row in rows] == [
        ("0", "0.400000", "0.500000"), ("1", "0.600000", "0.500000"), ("", "", ""), ("", "", "")]
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("predicted", ""), ("predicted", ""), ("not read", f"{HOSTILE} (20 slices); x"), ("not read", "no image; y")]
    names = [f"observed_share_{end}" for end in ("similar_held_out", "ci95_low", "ci95_high", "reason")]
    assert [[row[name] for name in names] for row in rows[:2]] == [
        ["0.200000", "0.100000", "0.300000", ""], ["", "", "", "too few"]]
    assert not any("risk_ci" in name for name in rows[0])
    assert {row["notice"] for row in rows} == {results["warning"]}
