"""The wheel holds what the commands need, and its README needs no repository."""

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from bonemet_jax.config_files import list_configs
from hatch_build import make_urls, render_readme

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout, unpacked as an installer does."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True,
                   capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def metadata(unpacked: Path) -> Message:
    (file,) = unpacked.glob("*.dist-info/METADATA")
    return message_from_bytes(file.read_bytes())


def _run(unpacked: Path, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from bonemet_jax.cli import main; sys.exit(main())"
    env = os.environ | {"PYTHONPATH": str(unpacked)}
    return subprocess.run([sys.executable, "-c", code, *argv], cwd=folder, env=env, text=True, capture_output=True,
                          check=False)


def test_every_file_of_the_packages_is_in_the_wheel(unpacked: Path) -> None:
    listed = [file.relative_to(ROOT) for package in ("bonemet_jax", "data_pipelines")
              for file in (ROOT / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert listed and not [name for name in listed if not (unpacked / name).is_file()]
    assert (unpacked / "bonemet_jax" / "published.yaml").is_file()
    assert list(unpacked.glob("*.dist-info/licenses/LICENSE"))
    tops = {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"}
    assert tops == {"bonemet_jax", "data_pipelines"}


def test_configs_are_found_in_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    done = _run(unpacked, tmp_path, "configs", "list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(list_configs()), done.stderr
    for name, path in list_configs().items():
        assert (unpacked / "bonemet_jax" / "configs" / f"{name}.py").read_bytes() == path.read_bytes()
    done = _run(unpacked, tmp_path, "run", "ablation/ct")
    assert done.returncode == 2 and "no run directory given" in done.stderr  # the config was loaded


def test_the_readme_has_no_relative_link(metadata: Message) -> None:
    text = str(metadata.get_payload())
    assert text.startswith("# bonemet_jax") and "docs/contracts.md" in text
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links and all(re.match(r"https?://", link) for link in links)


def test_there_is_no_address_until_one_is_set(metadata: Message) -> None:
    """No URL is invented, and no field is left open."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    address = re.findall(r'^web_address = "(.*?)"', pyproject, re.M)[0]
    assert bool(metadata.get_all("Project-URL")) is bool(address)
    assert metadata["Dynamic"] is None and metadata["License-Expression"] == "Apache-2.0"


LINKS = "[a](docs/a.md#b) ([how](docs/a.md)) [docs](docs) ![two words](x.png) [web](https://x.org/y) [top](#top)"


def test_links_become_text_without_an_address() -> None:
    assert render_readme(LINKS, "") == (
        "a (docs/a.md#b) (how: docs/a.md) docs *Picture in the repository: two words.* [web](https://x.org/y) "
        "[top](#top)")


def test_links_lead_to_the_repository_with_an_address() -> None:
    assert render_readme(LINKS, "https://host/p") == (
        "[a](https://host/p/blob/HEAD/docs/a.md#b) ([how](https://host/p/blob/HEAD/docs/a.md)) "
        "[docs](https://host/p/blob/HEAD/docs) ![two words](https://host/p/raw/HEAD/x.png) [web](https://x.org/y) "
        "[top](#top)")
    assert all(url.startswith("https://host/p") for url in make_urls("https://host/p").values())
