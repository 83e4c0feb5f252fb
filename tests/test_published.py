"""The paper's printed numbers: as typed by hand from the paper, by the cohort's names, and refused where damaged."""

import contextlib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bonemet_jax import artifacts, published, schema
from bonemet_jax.audit.audit import audit_path
from bonemet_jax.errors import BonemetError, CorruptFileError, InputDataError
from bonemet_jax.published import PATH, load_published
from bonemet_jax.report.render import render_report
from bonemet_jax.stats.survival_results import compute_table2


def _use(monkeypatch: pytest.MonkeyPatch, path: Path, content: str | bytes | None = None) -> Path:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(published, "PATH", path)
    return path


def test_table1_by_hand() -> None:
    found = load_published()
    assert found.groups == (379, 52)
    assert len(found.table1_mean_sd) == 10 and len(found.table1_counts) == 27
    assert found.table1_mean_sd["age_years"] == ((50.0, 8.4), (52.1, 8.6), "0.097")
    assert found.table1_mean_sd["sfi_cm2_m2"] == ((60.2, 23.6), (20.9, 5.6), "<0.001")
    assert found.table1_mean_sd["vfi_cm2_m2"] == ((27.6, 18.4), (17.6, 16.2), "<0.001")
    by_hand = {
        ("menopause", "post"): (190, 30), ("n_stage", "N1+"): (203, 35), ("lvi", "1"): (109, 36),
        ("lvi", "0"): (270, 16), ("ki67_high", "1"): (218, 36), ("ki67_high", "0"): (161, 16),
        ("subtype", "HER2-enriched"): (121, 29), ("multifocal", "1"): (11, 15), ("er", "1"): (234, 29),
        ("er", "0"): (145, 23), ("chemotherapy", "0"): (32, 0), ("histology", "ductal"): (304, 36),
    }
    assert {key: found.table1_counts[key] for key in by_hand} == by_hand
    assert ("subtype", "triple_negative") not in found.table1_counts and "ca153_u_ml" not in found.table1_mean_sd


def test_tables_2_to_4_and_the_cut_off_by_hand() -> None:
    found = load_published()
    assert found.table2["ki67_high"] == {"lasso_coef": 0.1003, "hr": 2.045, "ci95": [1.076, 3.887], "p": "0.028"}
    assert found.table2["histology_ductal"] == {
        "lasso_coef": -1.0255, "hr": 0.216, "ci95": [0.110, 0.421], "p": "<0.001"}
    assert set(found.table2) == {"lvi", "ki67_high", "histology_ductal", "cea_ng_ml", "bmi_kg_m2", "sfa_cm2",
                                 "sfi_cm2_m2"}
    assert found.test_auc["imaging", "network"] == (0.699, 0.586, 0.803)
    assert found.test_auc["both", "gbdt"] == (0.922, 0.843, 0.964)
    assert found.test_auc["clinical", "rf"] == (0.785, 0.688, 0.865) and len(found.test_auc) == 10
    assert found.sfi_cutoff == {"sens": 0.727, "sens_ci95": [0.694, 0.751], "spec": 0.743, "spec_ci95": [0.701, 0.785]}
    assert yaml.safe_load(PATH.read_text())["sfi_cutoff"]["value_cm2_m2"] == schema.PAPER_SFI_CUTOFF_CM2_M2


def test_table5_by_hand() -> None:
    found = load_published().table5
    assert [(work.name, work.reference) for work in found] == [
        ("ours", None), ("ml", 40), ("ml", 41), ("multi_feature_fusion", 42), ("cox", 43),
        ("deep_learning_signature", 44), ("cox", 45), ("clinical", 46)]
    assert found[0].measures == (0.922, 0.831, 0.827, 0.832) and found[2].measures == (0.870, 0.830, None, None)
    assert found[4].measures == (0.715, None, 0.957, 0.423)


def test_the_reference_copy_says_the_same(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = load_published()
    _use(monkeypatch, shared / "golden" / "paper_tables.yaml")
    assert load_published() == ours


TEXT = PATH.read_text()
#: What is done to the file.
DAMAGED: dict[str, str | bytes] = {
    "empty": "", "no text": b"\xff\xfe\x00\x81", "not YAML": TEXT.replace("groups: {", "groups: {{", 1),
    "deep": "[" * 50_000, "half of it": TEXT[: len(TEXT) // 2], "a table gone": TEXT.replace("table2:", "table_2:"),
    "a bare no": TEXT.replace('groups: {"no"', "groups: {no"),
    "a misspelt level": TEXT.replace('{positive: {"no": [234', '{positif: {"no": [234'),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DAMAGED[name] != TEXT
    path = _use(monkeypatch, tmp_path / "published.yaml", DAMAGED[name])
    with pytest.raises(CorruptFileError) as caught:
        load_published()
    line = str(caught.value)
    assert str(path) in line and "install bonemet-jax again" in line and "\n" not in line


def test_a_missing_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, tmp_path / "published.yaml")
    with pytest.raises(CorruptFileError, match="No such file"):
        load_published()


def test_damaged_characters_never_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 499th character replaced: numbers or one line, never a traceback."""
    for i, place in enumerate(range(0, len(TEXT), 499)):
        _use(monkeypatch, tmp_path / f"{i}.yaml", TEXT[:place] + "]}:,\"-x0&*"[i % 10] + TEXT[place + 1:])
        with contextlib.suppress(CorruptFileError):
            load_published()


def test_every_reader_refuses_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics, page and audit alike: one line, the file's name in it, nothing written."""
    path = _use(monkeypatch, tmp_path / "published.yaml", DAMAGED["not YAML"])
    artifacts.write_json(tmp_path / "stats" / "table1.json", {
        "groups": [], "variables": [{"kind": "continuous", "name": "age_years", "label": "Age", "mean": [1.0, 1.0],
                                     "sd": [1.0, 1.0], "student_p": 0.5, "n_missing": [0, 0], "reason": None}]})
    nobody = pd.DataFrame({schema.TIME: [], schema.EVENT: []})
    readers = {"stats": lambda: compute_table2(nobody, {}), "page": lambda: render_report(tmp_path, tmp_path),
               "audit": lambda: audit_path(published.PATH)}
    for name, read in readers.items():
        with pytest.raises(BonemetError) as caught:
            read()
        assert isinstance(caught.value, InputDataError if name == "audit" else CorruptFileError), name
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), name
    assert not (tmp_path / "report.html").exists()
