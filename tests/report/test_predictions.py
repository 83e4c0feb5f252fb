"""Page and table of predictions: self-contained, escaped, safe in a spreadsheet, with files that exist."""

import csv
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bonemet_jax.report.predictions import make_rows, render_predictions
from data_pipelines.ingest.cohort import make_csv

HOSTILE = "<script>alert(1)</script>"


def _entry(name: str, score: float) -> dict[str, Any]:
    return {
        "areas": {"sfa_cm2": 85.0, "vfa_cm2": None}, "sources": {"sfa_source": "hu"}, "z_mm": -768.5, "level": "T11",
        "warnings": [HOSTILE], "score_network": 0.4, "score_imaging": score, "score": score, "threshold": 0.5,
        "class": int(score >= 0.5), "class_label": "bone metastasis" if score >= 0.5 else "no bone metastasis",
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
    failed = [{"input": 3, "of": 3, "what": HOSTILE, "fact": "", "mend": "x"}]
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
    for part in ("Trained on SYNTHETIC patients", "not a medical device", "0.200 [0.100, 0.300]", "no bone metastasis",
                 "36 patients, 9 of them", "3 of 3"):  # fmt: skip
        assert part in page, part


def test_table_is_safe_in_a_spreadsheet(results: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(make_csv(make_rows(results)))))
    assert [row["patient_id"] for row in rows] == ["'=1+1", HOSTILE]
    assert [(row["class"], row["score"], row["threshold"]) for row in rows] == [
        ("0", "0.400000", "0.500000"), ("1", "0.600000", "0.500000")]
    assert {row["notice"] for row in rows} == {results["warning"]}
