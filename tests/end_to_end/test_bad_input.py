"""Bad input: one line that says what, where and how to mend; the documented exit code; nothing written."""

from pathlib import Path

import pytest

from bonemet_jax.cli import main

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "configs" / "smoke.py")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def csv_without_id(tmp_path: Path) -> Path:
    file = tmp_path / "clinical.csv"
    file.write_text("name,age_years\nx,50\n")
    return file


@pytest.fixture
def good_csv(tmp_path: Path) -> Path:
    file = tmp_path / "good.csv"
    file.write_text("patient_id,age_years\nempty,50\n")
    return file


CASES: dict[str, tuple[list[str], int, str]] = {
    "no verb": (["frobnicate"], 2, "frobnicate"),
    "unknown flag": (["run", SMOKE, "-o", "{out}", "--bogus"], 2, "--bogus"),
    "flag that is no number": (["run", SMOKE, "-o", "{out}", "--train.epochs", "many"], 2, "--train.epochs"),
    "choice that does not exist": (["run", SMOKE, "-o", "{out}", "--model.network", "vgg"], 2, "vgg"),
    "config value out of range": (["run", SMOKE, "-o", "{out}", "--optim.lr", "-1"], 2, "optim.lr"),
    "phantom value out of range": (["phantom", "-o", "{out}", "--n", "1"], 2, "phantom.n"),
    "missing config file": (["run", "absent.py", "-o", "{out}"], 2, "absent.py"),
    "config file comes first": (["run", "-o", "{out}"], 2, "config first"),
    "no output": (["run", SMOKE], 2, "-o RUN"),
    "dry run of a stage": (["cv", SMOKE, "-o", "{out}", "--dry-run"], 2, "--dry-run"),
    "folds file that is not there": (["run", SMOKE, "-o", "{out}", "--folds.file", "{empty}/f"], 2, "folds.file"),
    "run into a file": (["phantom", "-o", "{csv}/c", "--n", "12", "--spacing-mm", "3", "--height", "112",
                         "--width", "144"], 2, "clinical.csv"),
    "stage before its inputs": (["fuse", SMOKE, "-o", "{out}"], 2, "cohort"),
    "predict without a run": (["predict", "--run", "{empty}", "-i", "{empty}", "-o", "{out}"], 2, "config.json"),
    "device that is not there": (["run", SMOKE, "-o", "{out}", "--device", "tpu"], 3, "tpu"),
    "build from an empty folder": (["build", "-i", "{empty}", "-o", "{out}"], 8, "empty"),
    "run on a cohort that is not there": (["run", SMOKE, "-o", "{out}", "--cohort-dir", "{empty}"], 8, "empty"),
    "ingest an empty folder": (["ingest", "-i", "{empty}", "-o", "{out}"], 8, "empty"),
    "ingest a missing folder": (["ingest", "-i", "{empty}/absent", "-o", "{out}"], 8, "absent"),
    "measure an empty folder": (["measure", "-i", "{empty}", "-o", "{out}"], 8, "empty"),
    "verify nothing": (["verify"], 2, "--clinical"),
    "verify into the input": (["verify", "-i", "{empty}", "-o", "{empty}/out"], 2, "-o"),
    "no worker": (["measure", "-i", "{empty}", "-o", "{out}", "--workers", "0"], 2, "--workers"),
    "code of a column that does not exist": (["ingest", "-i", "{empty}", "-o", "{out}", "--clinical", "{good_csv}",
                                              "--missing", "shoes=9"], 2, "shoes"),
    "vertebra that does not exist": (["ingest", "-i", "{empty}", "-o", "{out}", "--level", "T13"], 2, "T13"),
    "CSV that is not there": (["ingest", "-i", "{empty}", "--clinical", "{empty}/absent", "-o", "{out}"], 8, "absent"),
    "CSV without patient_id": (["ingest", "-i", "{empty}", "--clinical", "{csv}", "-o", "{out}"], 8, "patient_id"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_exit_code_and_nothing_written(
    name: str, tmp_path: Path, empty: Path, csv_without_id: Path, good_csv: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv, code, said = CASES[name]
    out = tmp_path / "out"
    if "--device" in argv:
        pytest.importorskip("jax")
        _refuse_other_platforms(monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    filled = [part.format(out=out, empty=empty, csv=csv_without_id, good_csv=good_csv) for part in argv]
    assert main(filled) == code
    told = capfd.readouterr().err.strip().splitlines()
    print(told)
    assert len(told) == 1, told
    assert told[0].startswith("bonemet: ")
    assert said in told[0]
    assert sorted(tmp_path.rglob("*")) == before


def _refuse_other_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one process jax starts once; the check itself is what is tested here."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
