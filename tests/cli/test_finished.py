"""Whether a run was trained on synthetic patients, and what follows from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import stamps
from bonemet_jax.cli.finished import (
    SYNTHETIC_WARNING,
    check_training_patients,
    find_unfinished,
    is_trained_on_synthetic,
    open_finished,
)
from bonemet_jax.cli.predict import describe
from bonemet_jax.cli.stages import BY_NAME, Run
from bonemet_jax.config import Config, to_dict
from bonemet_jax.errors import CorruptFileError, UsageError


def _make_run(tmp_path: Path, kind: str | None) -> Run:
    """A run on a cohort directory of this kind; None: the directory is gone."""
    if kind is not None:
        artifacts.write_json(tmp_path / "cohort" / "manifest.json", {"files": {}, "facts": {"kind": kind}})
    return Run(tmp_path / "run", replace(Config(name="x"), cohort_dir=str(tmp_path / "cohort")))


@pytest.mark.parametrize(("kind", "expected"), [("synthetic", True), ("real", False), (None, None)])
def test_manifest_of_the_cohort_decides(tmp_path: Path, kind: str | None, expected: bool | None) -> None:
    assert is_trained_on_synthetic(_make_run(tmp_path, kind)) is expected


def test_run_without_a_cohort_directory_is_synthetic(tmp_path: Path) -> None:
    assert is_trained_on_synthetic(Run(tmp_path, Config(name="x"))) is True


@pytest.mark.parametrize(("name", "value"), [
    ("stats/planted.json", {"synthetic": True}), ("report.json", {"cohort": {"kind": "synthetic"}}),
])
def test_files_of_the_run_decide_where_the_cohort_is_gone(tmp_path: Path, name: str, value: object) -> None:
    run = _make_run(tmp_path, None)
    artifacts.write_json(run.directory / name, value)
    assert is_trained_on_synthetic(run) is True


def test_refused_allowed_and_unknown(tmp_path: Path) -> None:
    run = _make_run(tmp_path, "synthetic")
    with pytest.raises(UsageError, match="--allow-synthetic"):
        check_training_patients(run, allow_synthetic=False)
    assert check_training_patients(run, allow_synthetic=True) == SYNTHETIC_WARNING
    assert check_training_patients(_make_run(tmp_path / "b", "real"), allow_synthetic=False) == ""
    assert "not known" in check_training_patients(_make_run(tmp_path / "c", None), allow_synthetic=False)


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """A run whose stages after the folds are stamped, with one file each."""
    config = Config(name="x")
    artifacts.write_json(tmp_path / "config.json", {"config": to_dict(config), "fingerprint": config.fingerprint})
    run, keys = Run(tmp_path, config), {"build": "b", "near_duplicates": "n", "folds": "f"}
    for name in ("cv", "embed", "cross", "fuse", "stats"):
        stage, file = BY_NAME[name], tmp_path / f"of_{name}.bin"
        inputs = {need: keys[need] for need in stage.needs}
        keys[name] = stamps.make_key(name, stage.settings(run), inputs)
        artifacts.write_bytes(file, b"whole")
        stamps.stamp(tmp_path, name, keys[name], inputs, [file], 0)
    return run


@pytest.mark.parametrize("stage", ["cv", "embed", "fuse"])
def test_damage_to_a_finished_run_is_a_corrupt_file(finished: Run, stage: str) -> None:
    """Exit 4 with the file's name; a stage that was never done, or of another config, is exit 2 as before."""
    file = finished.directory / f"of_{stage}.bin"
    assert open_finished(finished.directory) == finished
    for damage, what in ((lambda: file.write_bytes(b"whOle"), r"changed since it was written \(sha256\)"),
                         (file.unlink, "missing")):  # fmt: skip
        damage()
        with pytest.raises(CorruptFileError, match=what) as caught:
            open_finished(finished.directory)
        assert caught.value.where == str(file) and caught.value.exit_code == 4
        assert caught.value.mend == "restore it, or run the same `bonemet run` again"
    (finished.directory / "stages" / f"{stage}.json").unlink()
    with pytest.raises(UsageError, match=f"stage '{stage}' is not done"):
        open_finished(finished.directory)


def test_statistics_of_a_run_are_checked_where_they_are_used(finished: Run) -> None:
    names = ("cv", "embed", "fuse", "stats")
    assert find_unfinished(finished, names) is None
    (finished.directory / "of_stats.bin").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="stage 'stats'"):
        find_unfinished(finished, names)
    (finished.directory / "stages" / "stats.json").unlink()
    assert find_unfinished(finished, names) == "stats"


def test_the_interval_on_the_terminal_is_that_of_the_observed_share() -> None:
    facts = {"areas": {}, "sources": {}, "score_network": 0.4, "class": 1, "class_label": "above threshold",
             "threshold": 0.15, "risk": {"value": 0.124, "observed": 0.595, "ci95": [0.154, 0.922], "reason": None}}
    said = describe("p", facts)
    assert said.endswith("class 1 (above threshold 0.150); risk 0.124; observed share among similar held-out patients: "
                         "0.595 (95 % interval 0.154 to 0.922)")  # fmt: skip
    facts["risk"] = {"value": 0.35, "observed": None, "ci95": None, "reason": "too few"}
    assert describe("p", facts).endswith("risk 0.350; observed share among similar held-out patients: – (too few)")
