"""`--report`: written whether a command ends well or not, so that no older success stands for a failure."""

import hashlib
import json
from pathlib import Path

import pytest

from bonemet_jax.cli import main
from bonemet_jax.cli.verb_report import find_path


def _load(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())


def test_a_failure_replaces_an_older_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, table = tmp_path / "report.json", tmp_path / "clinical.csv"
    table.write_text("patient_id,age_years\na,50\n")
    assert main(["verify", "--clinical", str(table), f"--report={report}"]) == 0
    good = _load(report)
    assert good["exit_code"] == 0 and str(good["started"]).endswith("+00:00")
    assert good["inputs"] == {str(table): hashlib.sha256(table.read_bytes()).hexdigest()}
    assert isinstance(good["results"], dict) and good["results"]["verdict"] == "good"
    assert good["results"]["strict"] is False
    capsys.readouterr()
    assert main(["measure", "-i", str(tmp_path / "gone"), "-o", str(tmp_path / "out"), "--report", str(report)]) == 8
    assert len(capsys.readouterr().err.splitlines()) == 1
    told = _load(report)
    assert told["exit_code"] == 8 and told["schema"] == good["schema"] and "results" not in told
    assert told["error"] == {"what": "no such file or folder", "where": str(tmp_path / "gone"),
                             "mend": "check the path", "code": "file-missing", "fact": ""}


@pytest.mark.parametrize("argv", [["measure", "--no-such-flag"], ["nope"], ["run", "gone.py", "-o", "x"]])
def test_usage_errors_are_reported_too(argv: list[str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code = main([*argv, "--report", str(report)])
    assert code == 2 == _load(report)["exit_code"]


def test_interruption_and_faults_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report.json"
    argv = ["info", "--report", str(report)]
    for error, code in ((KeyboardInterrupt(), 130), (ZeroDivisionError(), 1)):
        def fail(error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("bonemet_jax.cli.info.collect_info", fail)
        if code == 130:
            assert main(argv) == code
        else:
            with pytest.raises(ZeroDivisionError):
                main(argv)
        assert _load(report)["exit_code"] == code


def test_a_missing_folder_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["phantom", "-o", str(tmp_path / "cohort"), "--report", str(tmp_path / "no" / "report.json")]
    assert main(argv) == 2
    assert capsys.readouterr().err.startswith("bonemet: no such folder for the report; ")
    assert not list(tmp_path.iterdir())


def test_the_first_error_stays_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nope", "--report", str(tmp_path / "no" / "report.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bonemet: no verb 'nope'; ")


def test_the_flag_is_found_where_nothing_parses() -> None:
    assert find_path(["info", "--report", "a", "--report=b"]) == Path("b")
    assert find_path(["info", "--report=a", "--report", "b"]) == Path("b")
    assert find_path(["info", "--report", "--json"]) is None and find_path(["info", "--report="]) is None


def test_folders_have_one_digest_and_no_file_names(tmp_path: Path) -> None:
    folder, gone = tmp_path / "patient", tmp_path / "gone"
    folder.mkdir()
    for name in ("SMITH.dcm", "b.dcm"):
        (folder / name).write_text(name)
    report = tmp_path / "report.json"
    assert main(["verify", "-i", str(folder), str(gone), "--workers", "1", "--report", str(report)]) == 8
    told = _load(report)
    parts = sorted(hashlib.sha256(name.encode()).hexdigest() for name in ("SMITH.dcm", "b.dcm"))
    assert told["inputs"] == {str(folder): hashlib.sha256("".join(parts).encode()).hexdigest(), str(gone): None}
    assert "SMITH" not in report.read_text()
