"""One line, with one reason, for refused paths and tables of another format."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bonemet_jax.cli import main
from bonemet_jax.errors import InputDataError
from bonemet_jax.stats.csv_table import load_csv

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("argv", [["verify", "gs://b/c"], ["export", "s3://b/run", "-o", "out"], ["audit", "gs://b/x"]])
def test_a_positional_path_has_the_name_of_the_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bonemet: PATH: paths with a scheme are not supported; ")


@pytest.mark.parametrize("flags", [["-i", "run"], ["--clinical", "t.csv"]])
def test_a_refused_report_has_one_line(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps({"config": {}, "fingerprint": "x"}))
    (tmp_path / "t.csv").write_text("patient_id,age_years\na,50\n")
    assert main(["verify", *flags, "--report", "run/report.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bonemet: --report is ")
    assert not (tmp_path / "run/report.json").exists()


@pytest.mark.parametrize(("name", "noun"), [("cohort.parquet", "a Parquet table"), ("t.xlsx", "an Excel"),
                                            ("t.csv.gz", "a gzip archive")])  # fmt: skip
def test_a_table_of_another_format_is_named(tmp_path: Path, name: str, noun: str) -> None:
    frame, path = pd.DataFrame({"a": [1, 2]}), tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    elif name.endswith(".gz"):
        frame.to_csv(path, index=False)
    else:
        path.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputDataError, match=f"this is {noun}.*save it as CSV UTF-8"):
        load_csv(path)


def test_bytes_that_are_not_utf8_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xe9,1\n")
    with pytest.raises(InputDataError, match=r"\(not UTF-8\)"):
        load_csv(tmp_path / "t.csv")


@pytest.mark.parametrize("argv", [["phantom", "-o", "x", "--n", "24"], ["verify", "smoke"]])
def test_a_deleted_working_directory_is_one_line(argv: list[str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    program = "import os, sys; os.rmdir(os.getcwd()); from bonemet_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", program, *argv], cwd=tmp_path / "gone", capture_output=True,
                          encoding="utf-8", env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "bonemet: the working directory has been deleted; change to another one\n"
