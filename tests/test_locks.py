"""The locks for accelerators beside the CPU's: the same versions, every file by its hash, no package astray."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
#: Packages of a device alone.
OWN = {"cpu": r"xgboost-cpu", "gpu": r"xgboost|jax-cuda12-.+|nvidia-.+-cu12", "tpu": r"libtpu"}


def load_lock(kind: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of every package."""
    text = (ROOT / "requirements" / f"{kind}.lock").read_text()
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]:
        name, version = re.match(r"([a-z0-9._-]+)==(\S+)", entry).groups()
        assert name not in found
        found[name] = version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
    return found


@pytest.mark.parametrize("kind", OWN)
def test_every_package_has_hashes(kind: str) -> None:
    lock = load_lock(kind)
    assert len(lock) > 100 and all(n for _, n in lock.values())


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_versions_are_those_that_are_tested_on_the_cpu(kind: str) -> None:
    cpu, lock = load_lock("cpu"), load_lock(kind)
    only = {name for name in cpu.keys() ^ lock.keys() if not re.fullmatch(f"{OWN['cpu']}|{OWN[kind]}", name)}
    assert not only
    assert {name: lock[name] for name in lock.keys() & cpu.keys()} == {
        name: cpu[name] for name in lock.keys() & cpu.keys()}
    plugin = "jax-cuda12-plugin" if kind == "gpu" else "libtpu"
    assert plugin in lock and (kind == "tpu" or lock[plugin][0] == lock["jax"][0] == lock["jaxlib"][0])


@pytest.mark.parametrize("kind", OWN)
def test_the_lock_is_of_this_pyproject(kind: str) -> None:
    """What pyproject.toml asks for is there in a version that it allows: nobody forgot `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lock = load_lock(kind)
    for text in (*project["dependencies"], *(r for e in (kind, "dicom-seg", "distributed", "dev") for r in extras[e])):
        wanted = Requirement(text)
        assert wanted.specifier.contains(lock[canonicalize_name(wanted.name)][0]), text
