"""Packaged configs by name, other configs by path."""

import os
import runpy
from pathlib import Path

import pytest

from bonemet_jax import config_files
from bonemet_jax.config import Config, load_config
from bonemet_jax.config_files import describe, find_config, list_configs
from bonemet_jax.errors import UsageError

FOLDER = Path(__file__).parents[1] / "configs"
TEXT = "from bonemet_jax.config import Config\nconfig = Config(name='mine')\n"


def test_every_file_in_the_folder_has_a_name() -> None:
    assert set(list_configs().values()) == set(FOLDER.rglob("*.py"))
    assert list_configs()["ablation/ct"] == FOLDER / "ablation" / "ct.py"
    assert list(list_configs())[:3] == ["paper", "released_code", "smoke"]


@pytest.mark.parametrize("name", list_configs())
def test_every_description_is_one_sentence(name: str) -> None:
    line = describe(list_configs()[name])
    assert 20 < len(line) < 120 and line.endswith(".")


def test_in_a_wheel_the_configs_are_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "other.py").write_text(TEXT)
    monkeypatch.setattr(config_files, "_PACKAGE", tmp_path)
    assert list(list_configs()) == ["other"] and load_config("other") == Config(name="mine")


def test_a_name_means_the_packaged_config_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Config files are code: a file that happens to have a packaged config's name is not run."""
    monkeypatch.chdir(tmp_path)
    for name in ("smoke", "smoke.py", "mine", "ablation/ct"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(TEXT)
    assert load_config("smoke").name == "smoke" and load_config("ablation/ct").name == "ct"
    for given in ("./smoke", "smoke.py", "mine", "./ablation/ct", tmp_path / "smoke", Path("smoke")):
        assert load_config(given).name == "mine"


@pytest.mark.parametrize(("given", "similar"), [
    ("smok", "smoke"), ("Smoke", "smoke"), ("smoke.py", "smoke"), ("configs/smoke.py", "smoke"), ("./smoke", "smoke"),
    ("ct", "ablation/ct"), ("configs/ablation/hog.py", "ablation/hog"), ("mask-bias", "ablation/mask_bias"),
    ("papr", "paper"), ("released", "released_code"), (".", ""), ("", ""), ("warp", ""), ("/", ""),
])
def test_a_config_that_is_not_there(
    given: str, similar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        find_config(given)
    line = str(caught.value)
    assert f"'{given}'" in line and "\n" not in line and line.endswith(", ".join(list_configs()))
    assert (f"did you mean {similar}" in line) if similar else ("did you mean" not in line)


def test_a_copy_of_any_config_runs_elsewhere(tmp_path: Path) -> None:
    for path in list_configs().values():
        (tmp_path / "copy.py").write_bytes(path.read_bytes())
        assert runpy.run_path(os.fspath(tmp_path / "copy.py"))["config"].name == path.stem


def test_files_that_are_no_configs_do_not_stop_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs" / "folder.py").mkdir(parents=True)
    (tmp_path / "configs" / ".#good.py").symlink_to("nobody@nowhere")
    for name, data in (("good", TEXT.encode()), ("half", b"config = (\n"), ("other", b"# \xff\n")):
        (tmp_path / "configs" / f"{name}.py").write_bytes(data)
    monkeypatch.setattr(config_files, "_PACKAGE", tmp_path)
    assert list(list_configs()) == ["good", "half", "other"]
    assert all(describe(list_configs()[name]).startswith("(cannot be read: ") for name in ("half", "other"))
