"""Three Pythons, two versions of jax, a light installation, the wheel, hostile environments, the check of a device."""

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.evidence.harness import Show, lint

#: Newest first. Found among pyenv's, or on PATH.
PYTHONS = ("3.13", "3.12", "3.11")
#: Another user's, without rights.
_NOBODY = "--user"


def find_python(version: str) -> str:
    """Path of an interpreter of this version. Raises: AssertionError when there is none."""
    folders = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin"))
    found = [str(folder / f"python{version}") for folder in folders] + [shutil.which(f"python{version}") or ""]
    assert found[0], f"no Python {version} here"
    return found[0]


def only(show: Show, version: str) -> str:
    """PATH of the system's programs with this Python alone, for `env`."""
    folder = show.clone.parent / f"only-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for source in (Path("/usr/local/bin"), Path("/usr/bin"), Path("/bin")):
        for program in source.iterdir():
            if not program.name.startswith(("python", "pip", "uv")) and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    (folder / f"python{version}").symlink_to(find_python(version))
    return f"env -u VIRTUAL_ENV -u PYENV_VERSION PATH={folder}"


def on_python(show: Show, version: str) -> str:
    """A clone of its own, this Python alone on PATH: make demo and make test exit 0."""
    clone = show.clone.parent / f"clone-{version}"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(show.clone), str(clone)], check=True)
    here = f"cd {clone} && {only(show, version)}"
    installed = show.ok(f"{here} make install")
    assert f"using Python {version}." in installed.out
    demo, tests = show.ok(f"{here} make demo"), show.ok(f"{here} make test TESTS='-rs'")
    report = next(row for row in reversed(demo.out.splitlines()) if row and not row.startswith("#"))
    assert report.endswith("report.html"), report
    assert demo.seconds <= 300 and tests.seconds <= 720, f"demo {demo.seconds:.0f} s, tests {tests.seconds:.0f} s"
    closing = next(row for row in reversed(tests.out.splitlines()) if "passed" in row)
    skipped = [row for row in tests.out.splitlines() if row.startswith("SKIPPED")]
    return (f"install {installed.seconds:.0f} s, demo {demo.seconds:.0f} s, tests {tests.seconds:.0f} s: "
            f"{closing.strip('= ')}" + "".join(f"; {row}" for row in skipped))


def parity(show: Show) -> str:
    """float64 parity with PyTorch, and with the numbers saved on the CPU, on the oldest and the newest jax.

    At the paper's size, and over ten steps, `make test-slow` has it.
    """
    found = []
    for version in ("3.11", "3.13"):
        python = f"{show.clone.parent}/clone-{version}/.venv/bin/python"
        show.ok(f"cd {show.clone.parent}/clone-{version} && make peers")
        jax = show.ok(f"{python} -c 'import jax; print(jax.__version__)'").out.splitlines()[0]
        chosen = "(float64 or parity) and not papers_size and not torchs and not ten_steps"
        done = show.ok(f"cd {show.clone.parent}/clone-{version} && {python} -m pytest -m '' -rs -k '{chosen}' "
                       "--timeout 1800 tests/models tests/benchmarks/test_on_device.py tests/train/test_parallel.py")
        closing = next(row for row in reversed(done.out.splitlines()) if "passed" in row)
        found.append(f"jax {jax}: {closing.strip('= ')}")
    return "; ".join(found)


def aucs(show: Show) -> str:
    """AUCs of the demo of each version, and what it takes to tell them apart."""
    runs = [str(show.clone.parent / f"clone-{version}" / "runs" / "smoke") for version in ("3.11", "3.13")]
    return "; ".join(show.ok([".venv/bin/python", "-m", "tests.compare_runs", *runs]).out.splitlines()[:-1])


def across(show: Show) -> str:
    """Records, exports, checkpoints and a half-finished training of one version, read by the other."""
    pythons = [f"{show.clone.parent}/clone-{version}/.venv/bin/python" for version in ("3.11", "3.13")]
    done = show.ok(f".venv/bin/python -m tests.across_versions {show.clone.parent}/across {' '.join(pythons)}")
    return "; ".join(row for row in done.out.splitlines() if row.startswith("ok"))


def core(show: Show) -> str:
    """The light installation: its size, the benchmarks, `bonemet cv` on existing records."""
    done = show.ok(f"make core-check CORE_PYTHON={find_python('3.13')}", timeout=4000)
    return "; ".join(row for row in done.out.splitlines() if row.startswith(("ok", "0 of")))


def device(show: Show) -> str:
    """The check of a device, rehearsed in the light installation on the CPU within its minutes."""
    out = show.clone.parent / "device"
    shutil.rmtree(out, ignore_errors=True)
    python = show.clone / "runs" / "core-check" / "env" / "bin" / "python"
    done = show.ok(f"PYTHON={python} benchmarks/device.sh --out {out} --quick --minutes 8")
    assert done.seconds <= 8 * 60, done.seconds
    return f"{done.seconds:.0f} s; " + "; ".join(done.out.splitlines()[:-1])


def dist(show: Show) -> str:
    """sdist and wheel, installed and tried on three Pythons; `pip check`."""
    done = show.ok(f"make dist PYTHONS='{' '.join(map(find_python, PYTHONS))}'", timeout=6000)
    return "; ".join(row for row in done.out.splitlines() if "ok" in row or "passed" in row)


def hostile_and_twice(show: Show) -> str:
    """The fast tests twice at the same time: as this user in the clone; and as one without rights, on a read-only copy,
    with ports taken, no network, no home, another time zone and locale."""
    as_usual = ".venv/bin/python -m pytest -n 1 --dist loadfile"
    done = show.ok(f"tests/hostile_environment.sh {_NOBODY} -n 1 --dist loadfile > hostile.log 2>&1 & a=$!; "
                   f"{as_usual} > usual.log 2>&1; b=$?; wait $a; a=$?; tail -qn 1 hostile.log usual.log; "
                   "exit $((a + b))", timeout=6000)  # fmt: skip
    return "; ".join(row.strip("= ") for row in done.out.splitlines() if "passed" in row)


def install(show: Show) -> str:
    """The locked requirements on the oldest Python."""
    return f"{show.ok(f'make install PYTHON={find_python(PYTHONS[-1])}').seconds:.0f} s"


def second_python(show: Show) -> str:
    """The part of the tests that every change runs on the newest Python too: at most 6 minutes."""
    done = show.ok(f"PATH={Path(find_python('3.13')).parent}:$PATH make test-newest")
    assert done.seconds <= 360, f"{done.seconds:.0f} s"
    closing = next(row for row in reversed(done.out.splitlines()) if "passed" in row)
    return f"{closing.strip('= ')}; {done.seconds:.0f} s"


SHOWS: dict[str, Callable[[Show], str]] = {
    "install": install,
    **{f"python_{version}": partial(on_python, version=version) for version in PYTHONS},
    **{work.__name__: work for work in (
        parity, aucs, across, core, device, dist, hostile_and_twice, second_python, lint)},
}
