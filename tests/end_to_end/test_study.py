"""Every verb end to end on a small synthetic cohort and tiny images, in the order data walks."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bonemet_jax import artifacts, schema
from bonemet_jax.cli import main
from bonemet_jax.errors import NumericsError
from bonemet_jax.study import runner

SMOKE = str(Path(__file__).parents[2] / "configs" / "smoke.py")
#: A smoke run small enough for a test: same config, fewer patients, bigger pixels, two epochs.
SMALL = ["--phantom.n", "36", "--phantom.spacing-mm", "3.0",
         "--phantom.height", "112", "--phantom.width", "144",
         "--records.height", "112", "--records.width", "144", "--records.spacing-mm", "3.0",
         "--records.patients-per-shard", "18", "--train.epochs", "2", "--train.batch-size", "8"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small run; every test of this file reads it."""
    run = tmp_path_factory.mktemp("study") / "run"
    assert main(["run", SMOKE, "-o", str(run), *SMALL]) == 0
    return run


def test_run_leaves_every_artefact(run_dir: Path) -> None:
    for name in ("config.json", "folds.json", "embeddings.npz", "scores.parquet", "report.html", "report.json",
                 "cohort/truth.json", "fold_0/done.json", "fold_2/metrics.jsonl", "stats/roc.json", "stats/km.json",
                 "gradcam.npz", "gradcam.json", "figures/gradcam_against.svg"):
        assert (run_dir / name).is_file(), name
    embeddings = artifacts.load_npz(run_dir / "embeddings.npz")
    assert embeddings["embedding"].shape == (3, 36, 16)
    scores = artifacts.load_table(run_dir / "scores.parquet")
    assert len(scores) == 36 * 3 * 9
    assert not list(run_dir.rglob("*.partial*"))


def test_second_run_does_nothing_and_ends_with_the_page(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {f: f.stat().st_mtime_ns for f in run_dir.rglob("*") if f.is_file() and f.name != "config.json"}
    assert main(["run", SMOKE, "-o", str(run_dir), *SMALL]) == 0
    captured = capfd.readouterr()
    assert captured.out.strip().splitlines()[-1] == str(run_dir / "report.html")
    assert captured.err.count("already done") == 11
    assert before == {f: f.stat().st_mtime_ns for f in run_dir.rglob("*") if f.is_file() and f.name != "config.json"}


@pytest.mark.every_change
def test_changed_fusion_setting_repeats_fuse_and_what_follows_only(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    assert main(["run", SMOKE, "-o", str(copy), *SMALL, "--fusion.seed", "5"]) == 0
    told = capfd.readouterr().err
    assert told.count("already done") == 8
    assert (copy / "report.html").is_file()


def test_single_stage_verbs_repeat_what_is_damaged(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    wanted = (copy / "embeddings.npz").read_bytes()
    (copy / "embeddings.npz").write_bytes(wanted[:100])
    for verb in ("cv", "embed", "fuse", "report"):
        assert main([verb, SMOKE, "-o", str(copy), *SMALL]) == 0
    assert (copy / "embeddings.npz").read_bytes() == wanted


def _damage(run: Path) -> Path:
    """One bit of one shard, the other way round."""
    shard = next(run.glob("tfds/*/*/*/*.array_record-*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    return shard


@pytest.mark.parametrize("verb", ["run", "cv"])
def test_damaged_records_stop_a_run(
    run_dir: Path, tmp_path: Path, verb: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where nothing is left to train: nobody learns from a report that its records rot."""
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    shard = _damage(copy)
    before = {f: f.stat().st_mtime_ns for f in copy.rglob("*") if f.name != "config.json"}
    capfd.readouterr()
    for more in ([], ["--train.epochs", "1"]):
        assert main([verb, SMOKE, "-o", str(copy), *SMALL, *more]) == 4
        told = capfd.readouterr().err.strip().splitlines()
        assert str(shard) in told[-1] and f"delete {copy / 'tfds'}" in told[-1], told
        assert not any("fold 0" in line for line in told), told
    assert before == {f: f.stat().st_mtime_ns for f in copy.rglob("*") if f.name != "config.json"}


def test_records_deleted_as_told_are_made_again(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    shutil.rmtree(copy / "tfds")
    capfd.readouterr()
    assert main(["embed", SMOKE, "-o", str(copy), *SMALL]) == 2
    assert main(["run", SMOKE, "-o", str(copy), *SMALL]) == 0
    assert capfd.readouterr().err.count("already done") == 10, "equal bytes: nothing after them is done again"


def test_a_shard_there_twice_stops_training(run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    shard = min(copy.glob("tfds/*/*/*/*.array_record-*"))
    extra = shard.with_name(shard.name.replace("-00000-", "-00002-"))
    shutil.copy(shard, extra)
    capfd.readouterr()
    assert main(["run", SMOKE, "-o", str(copy), *SMALL, "--train.epochs", "1"]) == 4
    told = capfd.readouterr().err
    assert f"not in the manifest; {extra}" in told
    assert "fold 0" not in told


@pytest.mark.every_change
def test_predict_refuses_networks_and_classifiers_that_do_not_belong_together(
    run_dir: Path, shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    assert main(["cv", SMOKE, "-o", str(copy), *SMALL, "--train.epochs", "1"]) == 0
    source = str(shared / "data" / "ct_t11_dicom")
    capfd.readouterr()
    assert main(["predict", "--run", str(copy), "--allow-synthetic", "-i", source, "--slice-z", "-768.5",
                 "-o", str(tmp_path / "p")]) == 2  # fmt: skip
    assert "stage 'embed' is not done" in capfd.readouterr().err
    assert not (tmp_path / "p").exists()


def flip_label(file: Path) -> None:
    table = artifacts.load_table(file)
    table.loc[0, schema.LABEL] = 1 - table.loc[0, schema.LABEL]
    artifacts.save_table(file, table)


def rotate_folds(file: Path) -> None:
    """Every patient's folds moved on by one: a valid file, of another run."""
    value = artifacts.load_json(file)
    del value["sha256"]
    for patient in value["patients"].values():
        patient["test_fold"] = (patient["test_fold"] + 1) % 3
        patient["splits"] = patient["splits"][-1:] + patient["splits"][:-1]
    artifacts.write_json(file, value)


def reverse_embeddings(file: Path) -> None:
    arrays = artifacts.load_npz(file)
    artifacts.save_npz(file, arrays | {"embedding": arrays["embedding"][:, ::-1]})


def flip_scores(file: Path) -> None:
    table = artifacts.load_table(file)
    table["score"] = 1 - table["score"]
    artifacts.save_table(file, table)


def improve_metrics(file: Path) -> None:
    file.write_text(file.read_text().replace('"val_auc": 0.', '"val_auc": 0.9'))


SWAPS = {
    # file: (how it is replaced, single-stage verbs that use it)
    "cohort/cohort.parquet": (flip_label, ("fuse", "report")),
    "folds.json": (rotate_folds, ("embed", "fuse")),
    "embeddings.npz": (reverse_embeddings, ("fuse", "report")),
    "fold_1/metrics.jsonl": (improve_metrics, ("report",)),
    "scores.parquet": (flip_scores, ("report",)),
}


@pytest.mark.parametrize(("name", "verb"), [(name, verb) for name, (_, verbs) in SWAPS.items() for verb in verbs])
def test_a_file_of_another_run_is_refused(
    run_dir: Path, tmp_path: Path, name: str, verb: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The stages of the verb are to do again, so that they would use the file."""
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    for stage in ("fuse", "stats", "report")[0 if verb == "fuse" else 1:]:
        (copy / "stages" / f"{stage}.json").unlink()
    before = (copy / name).read_bytes()
    SWAPS[name][0](copy / name)
    assert (copy / name).read_bytes() != before
    capfd.readouterr()
    assert main([verb, SMOKE, "-o", str(copy), *SMALL]) == 4
    assert str(copy / name) in capfd.readouterr().err.splitlines()[-1]


def test_cv_makes_cohort_and_records_in_a_new_folder(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not trained here: that takes a minute, and the networks follow from cohort, records and folds."""
    done: list[str] = []
    monkeypatch.setattr(runner, "_do", lambda run, stage, keys: done.append(stage.name) or 0.0)
    assert main(["cv", SMOKE, "-o", str(tmp_path / "run"), *SMALL]) == 0
    assert done == ["cohort", "build", "near_duplicates", "folds", "cv", "cross"]


def test_given_cohort_is_never_edited_in_place(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cohort, run = tmp_path / "cohort", tmp_path / "run"
    shutil.copytree(run_dir / "cohort", cohort)
    table = artifacts.load_table(cohort / "cohort.parquet")
    table.loc[0, schema.LABEL] = 1 - table.loc[0, schema.LABEL]
    artifacts.save_table(cohort / "cohort.parquet", table)
    assert main(["run", SMOKE, "-o", str(run), *SMALL, "--cohort-dir", str(cohort)]) == 4
    assert "cohort.parquet" in capfd.readouterr().err
    assert not run.exists()


@pytest.mark.every_change
def test_folds_of_another_run_are_obeyed_and_old_folds_swept(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    value = artifacts.load_json(copy / "folds.json")
    del value["sha256"]  # made by hand
    value["n_folds"] = 2
    for i, patient in enumerate(value["patients"].values()):
        patient.update(test_fold=i % 2, splits=["test", "val" if i % 4 else "train"] if i % 2 == 0
                       else ["val" if i % 5 == 0 else "train", "test"])
    artifacts.write_json(tmp_path / "mine.json", value)
    mine = ["--folds.file", str(tmp_path / "mine.json"), "--folds.n-folds", "2"]
    assert main(["cv", SMOKE, "-o", str(copy), *SMALL, *mine, "--train.epochs", "1"]) == 0
    assert artifacts.load_json(copy / "folds.json")["patients"] == value["patients"]
    assert sorted(f.name for f in copy.glob("fold_*")) == ["fold_0", "fold_1"]


@pytest.mark.every_change
def test_changing_which_epoch_is_used_trains_nothing_again(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    before = {file: file.stat().st_mtime_ns for file in copy.glob("fold_*/**/*") if file.is_file()}
    assert main(["embed", SMOKE, "-o", str(copy), *SMALL, "--train.embed-epoch", "best"]) == 0
    assert before == {file: file.stat().st_mtime_ns for file in copy.glob("fold_*/**/*") if file.is_file()}


def test_phantom_then_build_by_hand(tmp_path: Path) -> None:
    size = ["--height", "112", "--width", "144", "--spacing-mm", "3.0"]
    report = tmp_path / "report.json"
    assert main(["phantom", "-o", str(tmp_path / "c"), "--n", "12", *size]) == 0
    assert main(["build", "-i", str(tmp_path / "c"), "-o", str(tmp_path / "r"), *size, "--report", str(report)]) == 0
    told = artifacts.load_json(report)
    assert told["schema"] == "bonemet-report/1"
    assert told["command"][:2] == ["bonemet", "build"]
    assert told["outputs"]
    assert set(told["versions"]) >= {"jax", "python", "bonemet-jax"}


@pytest.mark.every_change
def test_real_slice_ingest_measure_predict(
    run_dir: Path, shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = str(shared / "data" / "ct_t11_dicom")
    where = ["-i", source, "--slice-z", "-768.5"]
    assert main(["ingest", *where, "-o", str(tmp_path / "cohort")]) == 0
    assert main(["measure", *where, "-o", str(tmp_path / "areas")]) == 0
    capfd.readouterr()
    out = tmp_path / "prediction"
    (tmp_path / "other.dcm").write_text("no image")
    where[1:2] = [source, str(tmp_path / "other.dcm")]
    assert main(["predict", "--run", str(run_dir), *where, "-o", str(out)]) == 2
    assert "trained on synthetic patients" in capfd.readouterr().err and not out.exists()
    assert main(["predict", "--run", str(run_dir), "--allow-synthetic", *where, "-o", str(out)]) == 8
    printed, said = capfd.readouterr()
    assert "failed: input 2 of 2: " in said
    assert "SFA" in printed and "all fat of the trunk 157." in printed
    facts = next(iter(json.loads((out / "predictions.json").read_text())["patients"].values()))
    areas = facts["areas"]
    assert abs(areas["trunk_fat_cm2"] - 157.6) / 157.6 < 0.03
    assert 0 < areas["sfa_cm2"] + areas["vfa_cm2"] < areas["trunk_fat_cm2"]
    assert areas["esma_cm2"] is None, "no label, no muscle"
    assert 0 < facts["score_imaging"] < 1
    _check_explained(run_dir, out, facts, printed)
    (overlay,) = (out / "cohort" / "overlays").glob("*.png")
    with Image.open(out / "gradcam" / overlay.name) as maps:
        assert maps.width > maps.height > 300
        assert len(np.unique(np.asarray(maps.convert("RGB")).reshape(-1, 3), axis=0)) > 1000, "an empty picture"


def _check_explained(run_dir: Path, out: Path, facts: dict[str, Any], printed: str) -> None:
    """Entry, index.csv and index.html agree, name files that exist, and carry the warning."""
    results = artifacts.load_json(out / "predictions.json")
    assert "SYNTHETIC" in results["warning"] and results["warning"] in printed
    assert facts["class"] == int(facts["score"] >= facts["threshold"]) and facts["score"] == facts["score_imaging"]
    label = artifacts.load_table(run_dir / "cohort" / "cohort.parquet")[schema.LABEL]
    assert facts["training"] == {"n_patients": len(label), "n_events": int(label.sum())}
    assert facts["threshold"] == pytest.approx(np.mean(results["models"]["imaging"]["fold_thresholds"]), abs=2e-6)
    assert facts["score"] == pytest.approx(np.mean(facts["fold_scores"]), abs=2e-6)
    risk = facts["risk"]
    assert risk["reason"] or 0 <= risk["ci95"][0] <= risk["observed"] <= risk["ci95"][1] <= 1
    assert bool(risk["reason"]) == (risk["ci95"] is None)
    assert "observed share among similar held-out patients" in printed
    row, not_read = csv.DictReader((out / "index.csv").read_text().splitlines())
    assert (not_read["patient_id"], not_read["status"], not_read["class"]) == ("other", "not read", "")
    assert [one["patient_id"] for one in results["failed"]] == ["other"] and not_read["reason"]
    assert (row["patient_id"], row["class"]) == ("ct_t11_dicom", str(facts["class"]))
    assert float(row["score"]) == facts["score"] and row["notice"] == results["warning"]
    page = (out / "index.html").read_text()
    for file in facts["files"].values():
        assert (out / file).is_file() and file in page and file in row.values()
    assert "Trained on SYNTHETIC patients" in page and "://" not in page and "src=\"data:image/jpeg" in page
    artifacts.check_manifest(out)
    assert not list(out.parent.glob(".*partial*"))


@pytest.mark.every_change
def test_failed_prediction_leaves_the_earlier_one(
    run_dir: Path, shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure after the cohort is written: nothing of it stays, and an output that is no prediction is kept."""
    def fail(*_: object, **__: object) -> None:
        raise NumericsError("a score is not finite", "here", "stop")

    monkeypatch.setattr("bonemet_jax.cli.predict.predict", fail)
    argv = ["predict", "--run", str(run_dir), "--allow-synthetic", "-i", str(shared / "data" / "ct_t11_dicom"),
            "--slice-z", "-768.5", "-o", str(tmp_path / "p")]  # fmt: skip
    assert main(argv) == 6
    assert not list(tmp_path.iterdir())
    artifacts.write_json(tmp_path / "earlier" / "predictions.json", {"patients": {}})
    artifacts.write_manifest(tmp_path / "earlier", {"kind": "predictions", "n": 0})
    assert main([*argv[:-1], str(tmp_path / "earlier")]) == 6, "it may be replaced, and is not"
    artifacts.check_manifest(tmp_path / "earlier")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine.txt").write_text("mine")
    assert main(argv) == 2
    assert "not an earlier output" in capfd.readouterr().err and (tmp_path / "p" / "mine.txt").read_text() == "mine"


@pytest.mark.every_change
def test_predict_with_clinical_data_tells_what_was_filled_in(run_dir: Path, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("patient_id,age_years,height_m,lvi\nct_t11_dicom,51,1.62,1\n")
    source = ["-i", str(shared / "data" / "ct_t11_dicom"), "--slice-z", "-768.5"]
    out = tmp_path / "p"
    assert main(["predict", "--run", str(run_dir), "--allow-synthetic", *source, "--clinical", str(tmp_path / "c.csv"),
                 "-o", str(out)]) == 0  # fmt: skip
    facts = artifacts.load_json(out / "predictions.json")["patients"]["ct_t11_dicom"]
    assert 0 < facts["score_both"] < 1
    assert facts["score"] == facts["score_both"] and "clinical" in facts["model"]
    assert any(line.startswith("18 of 24 clinical values are missing") for line in facts["warnings"]), facts


def test_no_row_joins_by_position(run_dir: Path) -> None:
    """Scores carry the cohort's own labels, patient by patient."""
    cohort = artifacts.load_table(run_dir / "cohort" / "cohort.parquet").set_index(schema.PATIENT_ID)[schema.LABEL]
    scores = artifacts.load_table(run_dir / "scores.parquet")
    assert (scores["label"].to_numpy() == cohort.loc[scores[schema.PATIENT_ID]].to_numpy()).all()
