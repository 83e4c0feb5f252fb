"""`bonemet run` of a finished run with more epochs: it goes on, or says why it cannot."""

import shutil
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from tests.end_to_end.small_run import SMALL, SMOKE, digest_results

pytestmark = pytest.mark.slow


def _run(run: Path, *more: str) -> None:
    assert main(["run", SMOKE, "-o", str(run), *SMALL, *more]) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch at a constant rate."""
    run = tmp_path_factory.mktemp("longer") / "run"
    _run(run, "--optim.schedule", "constant")
    return run


@pytest.mark.parametrize(("schedule", "mode"), [
    ("constant", "paper"), pytest.param("step", "honest", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_longer_run_equals_one_that_was_asked_for_at_once(tmp_path: Path, schedule: str, mode: str) -> None:
    """Every file but for recorded times; the networks of two folds each go on as well."""
    options = ["--optim.schedule", schedule, "--optim.step-epochs", "1", "--fusion.mode", mode]
    _run(tmp_path / "run", *options)
    _run(tmp_path / "run", *options, "--train.epochs", "3")
    _run(tmp_path / "whole", *options, "--train.epochs", "3")
    assert digest_results(tmp_path / "run") == digest_results(tmp_path / "whole")
    for fold in [*(tmp_path / "run").glob("fold_*"), *(tmp_path / "run" / "cross").glob("fold_*")]:
        assert artifacts.load_json(fold / "timing.json")["resumed_after_epoch"] == 1, fold


@pytest.mark.parametrize(("change", "reason"), [
    (["--optim.schedule", "cosine"], "as optim.schedule constant is now cosine"),
    (["--optim.schedule", "constant", "--train.seed", "4"], "as train.seed 0 is now 4"),
    (["--optim.schedule", "constant", "--folds.seed", "4"], "as the records, the folds or an earlier stage changed"),
])  # fmt: skip
def test_a_training_that_starts_anew_says_why(
    finished: Path, tmp_path: Path, change: list[str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    capfd.readouterr()
    assert main(["cv", SMOKE, "-o", str(run), *SMALL, *change]) == 0
    assert f"cv: trained anew, {reason}" in capfd.readouterr().err


def test_more_epochs_with_the_cosine_schedule_are_explained(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """smoke.py has this schedule."""
    assert main(["cv", SMOKE, "-o", str(tmp_path / "run"), *SMALL]) == 0
    capfd.readouterr()
    assert main(["cv", SMOKE, "-o", str(tmp_path / "run"), *SMALL, "--train.epochs", "2"]) == 0
    told = capfd.readouterr().err
    assert ("cv: trained anew, as train.epochs 1 is now 2: with the cosine schedule every learning rate depends on the "
            "number of epochs") in told
