"""The locks: each installs what pyproject.toml asks for on every Python, the same versions on every device."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13")
#: Pythons of each lock: jax with CUDA 13 needs XGBoost 3.4, and this Python 3.12.
LOCKS = {"cpu": PYTHONS, "core": PYTHONS, "cuda12": PYTHONS, "cuda13": PYTHONS[1:], "tpu": PYTHONS}
EVERY = [(kind, python) for kind, pythons in LOCKS.items() for python in pythons]
#: Packages of a device alone.
OWN = {"cuda12": r"jax-cuda12-.+|nvidia-.+|xgboost", "cuda13": r"jax-cuda13-.+|nvidia-.+|xgboost", "tpu": r"libtpu"}


def _describe_host(python: str, machine: str) -> dict[str, str]:
    return dict(default_environment()) | {
        "python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux",
        "platform_system": "Linux", "platform_machine": machine, "os_name": "posix", "extra": "",
        "implementation_name": "cpython", "platform_python_implementation": "CPython"}


def load_lock(kind: str, python: str, machine: str = "x86_64") -> dict[str, tuple[str, int]]:
    """Version and number of hashes of every package that the lock installs on this Python."""
    text = (ROOT / "requirements" / f"{kind}.lock").read_text()
    host, found = _describe_host(python, machine), dict[str, tuple[str, int]]()
    for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]:
        wanted = Requirement(entry.splitlines()[0].removesuffix("\\"))
        if wanted.marker is None or wanted.marker.evaluate(host):
            assert wanted.name not in found
            (version,) = wanted.specifier
            found[wanted.name] = version.version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
    return found


@pytest.mark.parametrize(("kind", "python"), EVERY)
def test_every_package_has_hashes(kind: str, python: str) -> None:
    lock = load_lock(kind, python)
    assert len(lock) > (30 if kind == "core" else 100) and all(n for _, n in lock.values())


@pytest.mark.parametrize(("kind", "python"), [(k, p) for k, p in EVERY if k in OWN])
def test_versions_are_those_that_are_tested_on_the_cpu(kind: str, python: str) -> None:
    cpu, lock = load_lock("cpu", python), load_lock(kind, python)
    shared = {name for name in cpu.keys() | lock.keys() if not re.fullmatch(f"nvidia-nccl-.+|{OWN[kind]}", name)}
    assert {name: lock.get(name) for name in shared} == {name: cpu.get(name) for name in shared}
    plugin = "libtpu" if kind == "tpu" else f"jax-{kind}-plugin"
    assert plugin in lock and (kind == "tpu" or lock[plugin][0] == lock["jax"][0] == lock["jaxlib"][0])


@pytest.mark.parametrize("python", PYTHONS)
def test_the_core_is_a_part_of_the_whole(python: str) -> None:
    cpu, core = load_lock("cpu", python), load_lock("core", python)
    assert core.items() <= cpu.items()


@pytest.mark.parametrize(("kind", "python"), EVERY)
def test_one_nccl(kind: str, python: str) -> None:
    """Both builds of NCCL are one folder: the later one installed would replace the other's library."""
    assert len([name for name in load_lock(kind, python) if name.startswith("nvidia-nccl")]) <= 1


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(("kind", "python"), [(k, p) for k, p in EVERY if k != "core"])
def test_the_lock_is_of_this_pyproject(kind: str, python: str, machine: str) -> None:
    """What pyproject.toml asks for is there in a version that it allows: nobody forgot `make lock`."""
    extras = PROJECT["optional-dependencies"]
    host, lock = _describe_host(python, machine), load_lock(kind, python, machine)
    for text in (*PROJECT["dependencies"], *(r for e in (kind, "dicom-seg", "distributed", "dev")
                                             for r in extras.get(e, ()))):
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate(host):
            assert wanted.specifier.contains(lock[canonicalize_name(wanted.name)][0]), text


def test_supported_pythons_are_the_same_everywhere() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(8, 20) if allowed.contains(f"3.{minor}.0")] == list(PYTHONS)
    finder = (ROOT / "requirements" / "find_python.sh").read_text()
    assert f'SUPPORTED="{" ".join(reversed(PYTHONS))}"' in finder
    classifiers = [c for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", c)]
    assert classifiers == [f"Programming Language :: Python :: {python}" for python in PYTHONS]


def _find_python(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", ROOT / "requirements" / "find_python.sh", *given], text=True, capture_output=True,
                          env={"PATH": f"{folder}:/usr/bin:/bin" if given else str(folder)}, check=False)


def _make_python(folder: Path, name: str, version: str) -> None:
    """A stand-in that answers as this Python would; one without a version runs nothing, as a version manager's name."""
    answer = f'case "$2" in *version_info*) echo {version};; esac' if version else "exit 127"
    (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(("pythons", "found"), [
    ({"python3.11": "3.11", "python3.13": "3.13"}, "python3.13"),
    ({"python3.13": "", "python3.12": "3.12"}, "python3.12"),
    ({"python3": "3.12", "python3.11": "3.11"}, "python3"),
    ({"python3.14": "3.14", "python3": "3.10"}, ""),
    ({}, ""),
])  # fmt: skip
def test_the_newest_python_that_runs_is_taken(pythons: dict[str, str], found: str, tmp_path: Path) -> None:
    for name in ("bash", "env"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    for name, version in pythons.items():
        _make_python(tmp_path, name, version)
    done = subprocess.run(["/bin/bash", ROOT / "requirements" / "find_python.sh"], text=True, capture_output=True,
                          env={"PATH": str(tmp_path)}, check=False)
    assert done.stdout.strip() == (str(tmp_path / found) if found else "")
    assert bool(done.returncode) is not bool(found)
    assert done.stderr == "" or ("make PYTHON=" in done.stderr and done.stderr.count("\n") == 1)


def test_a_python_that_is_asked_for_is_taken_or_refused(tmp_path: Path) -> None:
    _make_python(tmp_path, "old", "3.10")
    _make_python(tmp_path, "new", "3.12")
    assert _find_python(tmp_path, str(tmp_path / "new")).stdout.strip() == str(tmp_path / "new")
    for name, word in (("old", "is Python 3.10; use one of 3.13, 3.12, 3.11"), ("gone", "does not run")):
        done = _find_python(tmp_path, str(tmp_path / name))
        assert done.returncode == 1 and not done.stdout and word in done.stderr and done.stderr.count("\n") == 1


def _make_environment(folder: Path, device: str, given: str = "") -> subprocess.CompletedProcess[str]:
    script = ROOT / "requirements" / "make_environment.sh"
    return subprocess.run(["/bin/bash", script, folder / "env", device, *([given] if given else [])], text=True,
                          capture_output=True, env={"PATH": f"{folder}:/usr/bin:/bin"}, check=False)  # fmt: skip


@pytest.mark.parametrize(("version", "device", "stamp", "given", "told"), [
    ("3.10", "cpu", "cpu", "", "holds Python 3.10, which is not supported: remove it with `rm -rf "),
    ("3.12", "cpu", "cpu", "new", "holds Python 3.12, not 3.13: remove it with `rm -rf "),
    ("3.12", "cuda13", "cuda12", "", "holds the packages of DEVICE=cuda12, and both sets do not go together"),
    ("3.11", "cuda13", "cuda13", "", "DEVICE=cuda13 needs Python 3.12 or 3.13; use one of them"),
])  # fmt: skip
def test_an_environment_that_does_not_fit_is_refused(
    version: str, device: str, stamp: str, given: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    _make_python(tmp_path / "env" / "bin", "python", version)
    _make_python(tmp_path, "new", "3.13")
    (tmp_path / "env" / f".installed-{stamp}").touch()
    done = _make_environment(tmp_path, device, str(tmp_path / given) if given else "")
    assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "env" / f".installed-{stamp}").exists()


def test_an_environment_that_fits_is_kept(tmp_path: Path) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    _make_python(tmp_path / "env" / "bin", "python", "3.12")
    (tmp_path / "env" / ".installed-cuda13").touch()
    done = _make_environment(tmp_path, "cuda13")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("using ")


@pytest.mark.parametrize(("versions", "told"), [
    (["3.13"], "Python 3.13 needs a C compiler, to build ecos (of scikit-survival): install gcc, or add PYTHON="),
    (["3.13", "3.12"], "note: Python 3.13, if there is one, is passed over: it needs a C compiler here"),
])  # fmt: skip
def test_without_a_compiler_an_older_python_is_taken(versions: list[str], told: str, tmp_path: Path) -> None:
    for name in ("bash", "env", "dirname", "grep"):
        program = shutil.which(name)
        assert program
        (tmp_path / name).symlink_to(program)
    for version in versions:
        _make_python(tmp_path, f"python{version}", version)
    done = subprocess.run([tmp_path / "bash", ROOT / "requirements" / "make_environment.sh", tmp_path / "new", "cpu"],
                          text=True, capture_output=True, env={"PATH": str(tmp_path)}, check=False)  # fmt: skip
    assert told in done.stdout + done.stderr
    core = subprocess.run([tmp_path / "bash", ROOT / "requirements" / "make_environment.sh", tmp_path / "new", "core"],
                          text=True, capture_output=True, env={"PATH": str(tmp_path)}, check=False)  # fmt: skip
    assert "C compiler" not in core.stdout + core.stderr
