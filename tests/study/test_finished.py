"""Whether a run was trained on synthetic patients, and what follows from it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli.predict import describe
from bonemet_jax.config import Config, to_dict
from bonemet_jax.errors import CorruptFileError, TryAgainError, UsageError
from bonemet_jax.study.finished import (
    SYNTHETIC_WARNING,
    check_training_patients,
    find_unfinished,
    is_trained_on_synthetic,
    open_finished,
)
from bonemet_jax.study.run import Run
from bonemet_jax.study.runner import stage_keys
from bonemet_jax.study.stage_cache import load_stamp, write_stamp
from tests.study.stamped import stamp_stages


def _make_run(tmp_path: Path, kind: str | None, planted: bool | None = None) -> Run:
    """A finished run on a cohort of this kind; None: its directory is gone. planted: what the run's statistics say."""
    run = Run(tmp_path / "run", replace(Config(name="x"), cohort_dir=str(tmp_path / "cohort")))
    artifacts.write_manifest(_mkdir(tmp_path / "cohort"), {"kind": kind})
    stats = run.directory / "stats" / "planted.json"
    if planted is not None:
        artifacts.write_json(stats, {"synthetic": planted})
    stamp_stages(run, ["stats" if planted is not None else "fuse"], {"stats": [stats]})
    if kind is None:
        shutil.rmtree(tmp_path / "cohort")
    return run


def _mkdir(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize(("kind", "expected"), [("synthetic", True), ("real", False), (None, None)])
def test_manifest_of_the_cohort_decides(tmp_path: Path, kind: str | None, expected: bool | None) -> None:
    assert is_trained_on_synthetic(_make_run(tmp_path, kind)) is expected


def test_run_without_a_cohort_directory_is_synthetic(tmp_path: Path) -> None:
    assert is_trained_on_synthetic(Run(tmp_path, Config(name="x"))) is True


@pytest.mark.parametrize("planted", [True, False])
def test_statistics_of_the_run_decide_where_the_cohort_is_gone(tmp_path: Path, planted: bool) -> None:
    assert is_trained_on_synthetic(_make_run(tmp_path, None, planted)) is planted


def test_another_cohort_in_the_same_place_does_not_decide(tmp_path: Path) -> None:
    run = _make_run(tmp_path, "synthetic", planted=True)
    artifacts.write_manifest(tmp_path / "cohort", {"kind": "real"})
    assert is_trained_on_synthetic(run) is True
    artifacts.write_json(run.directory / "stats" / "planted.json", {"synthetic": False})
    with pytest.raises(CorruptFileError, match=r"planted\.json"):
        is_trained_on_synthetic(run)


@pytest.mark.parametrize("given", ["folds", "weights"])
def test_a_run_is_read_when_a_file_that_it_was_given_is_gone(tmp_path: Path, given: str) -> None:
    file = tmp_path / "given"
    file.write_text("{}")
    config = Config(name="x")
    config = (replace(config, folds=replace(config.folds, file=str(file))) if given == "folds"
              else replace(config, model=replace(config.model, weights=str(file))))
    run = Run(tmp_path / "run", config)
    stamp_stages(run, ["fuse"], {})
    artifacts.write_json(run.directory / "config.json", {"fingerprint": config.fingerprint, "config": to_dict(config)})
    file.unlink()
    assert open_finished(run.directory).config == config
    with pytest.raises(UsageError, match=rf"no such file: .* = {file}"):  # a stage would need it
        stage_keys(run)


def test_refused_allowed_and_unknown(tmp_path: Path) -> None:
    run = _make_run(tmp_path, "synthetic")
    with pytest.raises(UsageError, match="--allow-synthetic"):
        check_training_patients(run, allow_synthetic=False)
    assert check_training_patients(run, allow_synthetic=True) == SYNTHETIC_WARNING
    assert check_training_patients(_make_run(tmp_path / "b", "real"), allow_synthetic=False) == ""
    assert "not known" in check_training_patients(_make_run(tmp_path / "c", None), allow_synthetic=False)


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """A run whose stages up to `stats` are stamped, those from the training on with one file each."""
    config = Config(name="x")
    artifacts.write_json(tmp_path / "config.json", {"config": to_dict(config), "fingerprint": config.fingerprint})
    run = Run(tmp_path, config)
    files = {name: [tmp_path / f"of_{name}.bin"] for name in ("cv", "embed", "cross", "fuse", "stats")}
    for (file,) in files.values():
        artifacts.write_bytes(file, b"whole")
    stamp_stages(run, ["stats"], files)
    return run


@pytest.mark.parametrize("change", [
    lambda config: replace(config, records=replace(config.records, height=64)),
    lambda config: replace(config, folds=replace(config.folds, seed=9)),
    lambda config: replace(config, phantom=replace(config.phantom, n=99)),
    lambda config: replace(config, train=replace(config.train, embed_epoch="best")),
])  # fmt: skip
def test_a_config_of_another_run_is_refused(finished: Run, change: Callable[[Config], Config]) -> None:
    """Also where only the stages before the training obey the part that differs: patients are read by it."""
    config = change(finished.config)
    artifacts.write_json(finished.directory / "config.json",
                         {"config": to_dict(config), "fingerprint": config.fingerprint})
    with pytest.raises(UsageError, match="is not done with the config"):
        open_finished(finished.directory)


def test_results_of_another_run_with_their_stamp_are_refused(finished: Run) -> None:
    """Embeddings that the classifiers never read, though every file agrees with its stamp and every key is right."""
    artifacts.write_bytes(finished.directory / "of_embed.bin", b"other")
    stamp = load_stamp(finished.directory, "embed")
    assert stamp is not None
    write_stamp(finished.directory, "embed", stamp["key"], ["cv"], [finished.directory / "of_embed.bin"], 0)
    with pytest.raises(UsageError, match="stage 'fuse' is not done"):
        open_finished(finished.directory)
    assert open_finished(finished.directory, ["embed"]).config == finished.config


@pytest.mark.parametrize("stage", ["cv", "embed", "fuse"])
def test_damage_to_a_finished_run_is_a_corrupt_file(finished: Run, stage: str) -> None:
    """Exit 4 with the file's name; a stage that was never done, or of another config, is exit 2 as before."""
    file = finished.directory / f"of_{stage}.bin"
    assert open_finished(finished.directory).config == finished.config
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


def test_a_run_that_changes_while_it_is_read_is_noticed(finished: Run) -> None:
    """As another process that trains again does: it removes stamps, and writes them anew at the end."""
    run = open_finished(finished.directory)
    with run.unchanged():
        pass
    stamp = finished.directory / "stages" / "cv.json"
    told = stamp.read_text()
    with pytest.raises(TryAgainError, match="another process changed the run while it was read"), run.unchanged():
        stamp.unlink()
    stamp.write_text(told)
    with run.unchanged():  # the same again
        stamp.touch()
    with pytest.raises(TryAgainError), run.unchanged():
        stamp.write_text(told.replace('"key"', '"key" ').replace(load_stamp(finished.directory, "cv")["key"], "0" * 16))
