"""`bonemet configs list | show | copy`."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.compiled.aot import make_parser
from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.cli.run import RunArgs, parse_run
from bonemet_jax.config import load_config
from bonemet_jax.config_files import list_configs


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_list_has_a_line_per_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "list", "--report", "r.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(list_configs())
    assert list(artifacts.load_json(Path("r.json"))["results"]["configs"]) == sorted(list_configs())


def test_show_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "show", "ablation/ct"]) == 0
    assert capsys.readouterr().out == list_configs()["ablation/ct"].read_text()


def test_a_copy_is_run_as_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "copy", "ablation/ct", "new/my.py", "--report", "r.json"]) == 0
    assert capsys.readouterr().out == "new/my.py\n"
    assert parse_run(RunArgs, "run", ["new/my.py", "-o", "r"]).config == load_config("ablation/ct")
    report = artifacts.load_json(Path("r.json"))
    assert list(report["outputs"]) == ["new/my.py"]
    assert list(report["outputs"].values()) == list(report["inputs"].values())


@pytest.mark.parametrize("text", ["", "mine", None])
def test_copy_replaces_nothing(text: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even an earlier copy: it may have been edited."""
    if text is None:
        shutil.copyfile(list_configs()["smoke"], "my.py")
    else:
        Path("my.py").write_text(text)
    before = Path("my.py").read_bytes()
    assert main(["configs", "copy", "smoke", "my.py"]) == 2
    told = capsys.readouterr().err
    assert told == "bonemet: PATH: this file exists; my.py; give another path: nothing is replaced\n"
    assert Path("my.py").read_bytes() == before


def test_a_file_that_appears_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def write_and_make_another(path: Path, data: bytes) -> int:
        Path("my.py").write_text("mine")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_and_make_another)
    assert main(["configs", "copy", "smoke", "my.py"]) == 2
    assert Path("my.py").read_text() == "mine" and list(Path().iterdir()) == [Path("my.py")]


def test_a_full_disk_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", fail)
    assert main(["configs", "copy", "smoke", "my.py"]) == 5
    assert "could not write (No space left on device); my.py, " in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("argv", "words"), [
    (["copy", "smoke", "paper"], "this name means the packaged config"),
    (["copy", "smok", "my.py"], "did you mean smoke?"), (["show", "ct"], "did you mean ablation/ct?"),
    (["show", "configs/smoke.py"], "no packaged config"), (["copy", "smoke", "."], "is a folder"), (["show"], "NAME"),
    ([], "no action given; use one of list, show NAME, copy NAME FILE"), (["print"], "no action 'print'"),
])
def test_mistakes_are_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", *argv]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize("verb", ["run", "cv", "embed", "fuse", "report", "doctor"])
def test_every_command_names_the_configs(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "smok"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("bonemet: no config 'smok': neither ")
    assert "did you mean smoke? packaged configs: paper, " in told and told.count("\n") == 1


def test_a_report_beside_a_folder_of_the_name_of_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    """The name is no path: a folder called paper is no input of the command."""
    Path("paper").mkdir()
    assert main(["configs", "show", "paper", "--report", "paper/r.json"]) == 0


def test_benchmarks_take_names_and_files() -> None:
    parser = make_parser("aot", "")
    assert parser.parse_args([]).config == list_configs()["paper"]
    assert parser.parse_args(["--config", "smoke"]).config == list_configs()["smoke"]
    assert parser.parse_args(["--config", "my.py"]).config == Path("my.py")
