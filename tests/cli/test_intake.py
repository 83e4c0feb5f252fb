"""The verbs of intake after a bad patient: what could be read is written, the others are listed last, exit code 8."""

import re
import shutil
from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.cli.ingest import SourceArgs
from bonemet_jax.cli.parse import parse
from bonemet_jax.config import PhantomConfig
from data_pipelines.ingest import Choice
from data_pipelines.ingest.picture import Picture
from data_pipelines.phantom import make_cohort
from data_pipelines.phantom.dicom import save_dicom_cohort


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients as DICOM, and P000003, whose only file is no DICOM."""
    folder = tmp_path_factory.mktemp("intake")
    make_cohort(PhantomConfig(n=12, height=112, width=144, spacing_mm=3.0), folder / "cohort")
    save_dicom_cohort(folder / "cohort", folder / "export")
    for patient in sorted((folder / "export" / "patients").iterdir())[3:]:
        shutil.rmtree(patient)
    (folder / "export" / "patients" / "P000003" / "slice.dcm").write_text("no image")
    return folder / "export" / "patients"


@pytest.mark.parametrize("verb", ["ingest", "measure"])
def test_a_failed_patient_is_listed_last(
    verb: str, patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = map(str, sorted(patients.iterdir(), reverse=True))
    argv = [verb, "-i", *inputs, "-o", str(tmp_path / "out"), "--report", str(tmp_path / "report.json"),
            "--workers", "1"]
    assert main(argv) == 8
    out, err = capsys.readouterr()
    print(out, err)
    assert err.splitlines()[-1].startswith("failed: input 1 of 3: ")
    assert len([line for line in out.splitlines() if re.search(r"[0-9.]+ cm2.*; T11 assumed, z 0.0 mm", line)]) == 2
    assert out.splitlines()[-1].startswith("written: ") and out.splitlines()[-1].endswith(", 2 overlays)")
    assert "P00000" not in out + err
    told = artifacts.load_json(tmp_path / "report.json")
    assert told["exit_code"] == 8 and len(told["inputs"]) == 3
    results = told["results"]
    assert [failure["input"] for failure in results["failed"]] == [1]
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 2


def test_flags_reach_the_reader() -> None:
    argv = ["-i", "a", "b", "-o", "out", "--masks", "m", "--rois", "r", "--slice-index", "3", "--series", "2",
            "--acquisition", "4", "--trust-geometry",
            "--level", "t12", "--segment", "none", "--hu-convention", "boa", "--missing", "999", "lvi=9",
            "--picture-window", "-160", "240", "--picture-spacing", "0.7", "0.8",
            "--workers", "2", "--seconds", "5", "--memory-gib", "1"]
    assert parse(SourceArgs, "ingest", argv).choice() == {
        "masks": Path("m"), "rois": Path("r"), "clinical": None, "missing": ("999", "lvi=9"),
        "choice": Choice("T12", None, 3, 2, "none", Picture((0.7, 0.8), (-160.0, 240.0)), 4, True), "convention": "boa",
        "workers": 2, "seconds": 5.0, "memory_gib": 1.0,
    }
